"""Which faults may be over at the next try."""

import errno

import pytest

from service_runtime.errors import Corrupted, Exhausted, NotReady, Unavailable
from service_runtime.passing_faults import is_passing


def caused_by(cause: Exception) -> Corrupted:
    """What a reader makes of a fault."""
    error = Corrupted("cannot be read")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        *(OSError(number, "x") for number in (errno.EIO, errno.EMFILE, errno.ESTALE, errno.EACCES)),
        Unavailable("the store is away"),
        Exhausted("the disk is full"),
        caused_by(OSError(errno.EIO, "x")),
        caused_by(caused_by(MemoryError())),
    ],
    ids=repr,
)
def test_faults_of_the_machine_pass(fault: Exception) -> None:
    """Also behind what a reader raised from them."""
    assert is_passing(fault)


@pytest.mark.parametrize(
    "fault",
    [
        ValueError("no number"),
        Corrupted("a checksum"),
        NotReady("another one first"),
        OSError("Invalid: not a table"),
        FileNotFoundError(errno.ENOENT, "x"),
        caused_by(FileNotFoundError(errno.ENOENT, "x")),
        caused_by(ValueError("no number")),
    ],
    ids=repr,
)
def test_faults_of_the_content_last(fault: Exception) -> None:
    """What is wrong in a file, or missing from it, is wrong tomorrow too."""
    assert not is_passing(fault)
