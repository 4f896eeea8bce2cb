"""
One BLAS thread a caller: our workers are the threads.

NumPy's wheels bring an OpenBLAS that spreads every product over all cores and lets its threads spin
in between. A Gram matrix of one user is far too small for that: with two workers on two cores the
batch run took 4.6 times the CPU and 3.2 times as long. It can only be changed through the library
itself once NumPy is loaded; the environment variable is read at import.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

_SETTERS: Final = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
)


def use_one_blas_thread() -> int:
    """
    Let NumPy's products run on the calling thread only, in this process from now on.

    Returns:
        How many libraries were told; 0 where NumPy was built on something else (then nothing
        changes and the environment variable of that library is the way).
    """
    told = 0
    for path in _libraries():
        library = ctypes.CDLL(str(path))  # loaded already: this only finds it
        setter = next((name for name in _SETTERS if hasattr(library, name)), None)
        if setter is not None:
            getattr(library, setter)(ctypes.c_int(1))
            told += 1
    return told


def _libraries() -> Iterator[Path]:
    """The BLAS libraries that NumPy's wheel brings."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        yield from sorted(folder.glob("*openblas*"))
