"""What the live action log's LMDB file is made of, as operators want to see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

META_PAGE_COUNT: Final = 2
"""LMDB's two pages that say where everything else is."""


@dataclass(frozen=True, slots=True)
class LogUsage:
    """
    Pages and entries of an LMDB environment.

    Attributes:
        page_bytes: Size of a page.
        map_pages: Most pages that the map can ever hold.
        file_pages: Pages that the file has reached, >= 2; it never shrinks.
        free_pages: Those of them that hold nothing: what was deleted, used again before the file
            grows. A few of them keep account of the others.
        entries: Number of entries by database.
        reader_count: Slots of readers in use, by threads that have read.
    """

    page_bytes: int
    map_pages: int
    file_pages: int
    free_pages: int
    entries: Mapping[str, int]
    reader_count: int

    @property
    def used_share(self) -> float:
        """How full the map is, 0 to 1: pages that hold something, of those that there can be."""
        return (self.file_pages - self.free_pages) / self.map_pages


def usage_of(environment: Any, databases: Mapping[str, Any]) -> LogUsage:
    """
    Read the figures of an open environment, in one snapshot.

    Args:
        environment: Of LMDB.
        databases: All of its named databases, by name.
    """
    with environment.begin() as reader:
        info = environment.info()
        of_each = {name: reader.stat(database) for name, database in databases.items()}
        root = environment.stat()
    held = sum(_pages(stat) for stat in (root, *of_each.values())) + META_PAGE_COUNT
    file_pages = info["last_pgno"] + 1
    return LogUsage(
        page_bytes=root["psize"],
        map_pages=info["map_size"] // root["psize"],
        file_pages=file_pages,
        free_pages=max(0, file_pages - held),
        entries={name: stat["entries"] for name, stat in of_each.items()},
        reader_count=info["num_readers"],
    )


def _pages(stat: Mapping[str, int]) -> int:
    return int(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])
