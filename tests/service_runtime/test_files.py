"""Files are replaced whole, locks are held by one."""

import threading
from pathlib import Path

from service_runtime.files import list_files, locked, write_synced


def test_write_synced_leaves_no_temporary_file(tmp_path: Path) -> None:
    """The file has the new content and nothing else is left behind."""
    write_synced(tmp_path / "CURRENT", b"one")
    write_synced(tmp_path / "CURRENT", b"two")

    assert [path.name for path in tmp_path.iterdir()] == ["CURRENT"]
    assert (tmp_path / "CURRENT").read_bytes() == b"two"


def test_listing_gives_files_only_sorted(tmp_path: Path) -> None:
    """Relative names at any depth; no folders, no links."""
    for name in ("b", "a/c", "a/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "b")

    assert list(list_files(tmp_path)) == ["a/b", "a/c", "b"]


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    """Twenty threads that read, wait and write a number lose no step."""
    number = tmp_path / "number"
    number.write_text("0")

    def add() -> None:
        with locked(tmp_path):
            number.write_text(str(int(number.read_text()) + 1))

    threads = [threading.Thread(target=add) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert number.read_text() == "20"
