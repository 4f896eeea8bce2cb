"""What was imported before: one receipt an import, and the journal of one that was interrupted.

`catalogue/imports/<id>.json` is written when all files of an import are in place. Before the first
of them is moved there is `catalogue/imports/.pending.json`, which names every move; whoever imports
next finishes them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson
import xxhash

from service_runtime.errors import Corrupted
from service_runtime.files import locked, sync_path, write_synced

_PENDING: Final = ".pending.json"
_READ_BYTES: Final = 1 << 22
_SYNC_THREADS: Final = 16


def imports_folder(data_root: Path) -> Path:
    """Return the folder of receipts."""
    return data_root / "catalogue" / "imports"


@contextmanager
def import_lock(data_root: Path) -> Iterator[None]:
    """Let one import at a time change a data root; the lock falls with its process."""
    with locked(imports_folder(data_root)):
        yield


def read_receipts(data_root: Path) -> list[dict[str, Any]]:
    """
    Return all receipts, oldest first.

    Raises:
        Corrupted: If one is not readable.
    """
    receipts: list[dict[str, Any]] = []
    for path in imports_folder(data_root).glob("[!.]*.json"):
        try:
            receipts.append(orjson.loads(path.read_bytes()))
        except orjson.JSONDecodeError as fault:
            raise Corrupted(
                f"{path} is not a receipt: {fault}",
                hint="remove it and import that folder again: nothing is counted twice",
            ) from fault
    return sorted(receipts, key=lambda receipt: int(receipt["import_seq"]))


def imported_dimensions(data_root: Path) -> dict[str, int]:
    """Return the dimension of the vectors imported so far, by their column."""
    dimensions: dict[str, int] = {}
    for receipt in read_receipts(data_root):
        known = receipt.get("dimensions", {"vector": receipt.get("dimension", 0)})
        dimensions |= {name: int(length) for name, length in known.items() if length}
    return dimensions


def fingerprint(files: Mapping[str, Path]) -> str:
    """Return 16 hex digits that change with any byte of any file, or what it is read as."""
    digest = xxhash.xxh3_128()
    for name in sorted(files):
        digest.update(name.encode() + b"\0")
        with files[name].open("rb", buffering=0) as file:
            while piece := file.read(_READ_BYTES):
                digest.update(piece)
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def put_in_place(data_root: Path, moves: Mapping[Path, Path], receipt: Mapping[str, Any]) -> None:
    """
    Move staged files to where readers look, all or, after a crash, the rest at the next import.

    Args:
        data_root: All paths lie in it.
        moves: From staged to final, on one file system.
        receipt: Written last.
    """
    folder = imports_folder(data_root)
    _sync_all(moves)
    relative = {
        str(source.relative_to(data_root)): str(target.relative_to(data_root))
        for source, target in moves.items()
    }
    journal = {"moves": relative, "receipt": receipt}
    write_synced(folder / _PENDING, orjson.dumps(journal, option=orjson.OPT_INDENT_2))
    finish_pending(data_root)


def finish_pending(data_root: Path) -> None:
    """Finish the moves of an import that was interrupted after all its files were staged."""
    folder = imports_folder(data_root)
    try:
        journal = orjson.loads((folder / _PENDING).read_bytes())
    except FileNotFoundError:
        return
    touched: set[Path] = set()
    for source, target in journal["moves"].items():
        final = data_root / target
        final.parent.mkdir(parents=True, exist_ok=True)
        if (data_root / source).exists():
            (data_root / source).rename(final)
        touched |= {final.parent, final.parent.parent}
    _sync_all(touched)
    receipt = journal["receipt"]
    write_synced(
        folder / f"{receipt['import_id']}.json", orjson.dumps(receipt, option=orjson.OPT_INDENT_2)
    )
    (folder / _PENDING).unlink()
    sync_path(folder)


def _sync_all(paths: Iterable[Path]) -> None:
    """Sync many files or folders at once: the disk takes them together."""
    with ThreadPoolExecutor(_SYNC_THREADS) as pool:
        list(pool.map(sync_path, paths))


def clear_staging(data_root: Path) -> Path:
    """Return an empty folder for staged files; needs the lock."""
    staging = imports_folder(data_root) / ".staging"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    return staging


def remove_staging(data_root: Path) -> None:
    """Remove staged files, unless a journal still needs them."""
    folder = imports_folder(data_root)
    if not (folder / _PENDING).exists():
        shutil.rmtree(folder / ".staging", ignore_errors=True)
