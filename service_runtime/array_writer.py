"""An array file whose length is known only when it is finished."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class ArrayWriter:
    """
    Writes a one-dimensional .npy file piece by piece.

    Use it as a context manager: what the file says of its length is true once it is left.

    Args:
        path: Written anew.
        dtype: Of the file; what is appended is converted to it.
    """

    def __init__(self, path: Path, dtype: type[np.generic]) -> None:
        self._dtype, self._count = np.dtype(dtype), 0
        self._file = path.open("wb")
        self._write_header()

    def append(self, values: NDArray[Any]) -> None:
        """Write values behind what is there."""
        self._file.write(np.ascontiguousarray(values, self._dtype).data)
        self._count += len(values)

    def _write_header(self) -> None:
        # numpy leaves room in a header for the first axis to grow, for just this.
        described = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": described, "fortran_order": False, "shape": (self._count,)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()
