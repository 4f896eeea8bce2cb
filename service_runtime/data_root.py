"""Whether a data root may be used: not one whose restore was begun and did not end."""

from pathlib import Path
from typing import Final

from service_runtime.errors import ProcessFailed

RESTORING: Final = ".restoring"
"""File in a data root from before the first byte of a restore until after its last."""


class DataRootUnfinished(ProcessFailed):
    """Only a part of what was backed up is there."""

    HINT = "run corkboard restore again: it begins anew"
    EXIT_CODE = 2


def check_data_root(data_root: Path) -> None:
    """
    Look whether services and jobs may use a data root; one that is not there yet they may.

    Raises:
        DataRootUnfinished: A restore into it did not end.
    """
    if (data_root / RESTORING).exists():
        raise DataRootUnfinished(f"{data_root} is not whole: a restore into it did not end")
