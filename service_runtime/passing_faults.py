"""Which faults of opening a file say something about this moment, not about what the file holds."""

from __future__ import annotations

import errno
from typing import Final

from service_runtime.errors import Exhausted, Unavailable

_LASTING: Final = frozenset(
    {None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ENAMETOOLONG}
)
"""Numbers of an OSError that speak of what is there. None: a library's word for bad content."""


def is_passing(fault: BaseException) -> bool:
    """
    Whether the same may work later: too many open files, no memory, a disk that does not answer.

    Readers name what they could not read and raise that from what they met, so causes count.
    """
    seen: BaseException | None = fault
    while seen is not None:
        if isinstance(seen, MemoryError | Exhausted | Unavailable):
            return True
        if isinstance(seen, OSError) and seen.errno not in _LASTING:
            return True
        seen = seen.__cause__
    return False
