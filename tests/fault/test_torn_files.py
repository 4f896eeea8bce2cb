"""A file that was cut is refused by name and with the remedy, not read past its end."""

from pathlib import Path

import pytest

from profile_service.store import ActionLog
from service_runtime.errors import Corrupted
from tests.profile_service.worlds import action, open_log

PAGE_BYTES = 4096


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A live action log of some pages."""
    log = open_log(tmp_path / "log")
    for number in range(10):
        log.append([action(f"{number}-{n}", user_id=f"user {n % 7}") for n in range(50)])
    log.close()
    return tmp_path / "log"


@pytest.mark.parametrize("kept_pages", [-1, -20, 8, 2])
@pytest.mark.parametrize("is_read_only", [False, True])
def test_cut_action_log_is_refused(folder: Path, kept_pages: int, *, is_read_only: bool) -> None:
    """LMDB alone would be killed by SIGBUS, at the start or at some later write."""
    file = folder / "data.mdb"
    file.write_bytes(file.read_bytes()[: kept_pages * PAGE_BYTES])

    with pytest.raises(Corrupted, match="was cut") as caught:
        ActionLog(folder, map_bytes=1 << 28, is_read_only=is_read_only)

    assert "backup" in caught.value.hint


def test_longer_action_log_is_whole(folder: Path) -> None:
    """Room that was never used is no fault, and a log that is opened again goes on."""
    file = folder / "data.mdb"
    with file.open("ab") as grown:
        grown.write(b"\0" * PAGE_BYTES)

    log = open_log(folder)
    log.append([action("more", user_id="user 0")])

    assert "more" in log.actions_of("user 0").action_ids
    log.close()
