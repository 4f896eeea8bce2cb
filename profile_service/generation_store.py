"""
Profiles and histories of one generation: an LMDB file that is written once and never changed.

| database | key | value |
|---|---|---|
| `profiles` | user id | clusters record: the batch part of the profile |
| `histories` | user id | history record: the newest actions of all times |
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import lmdb

from profile_service import codec
from profile_service.actions import ActionColumns
from profile_service.profile import Clusters
from service_runtime.errors import Corrupted

ARTIFACT: Final = "profiles"
FORMAT_VERSION: Final = 1
FILE: Final = "profiles.lmdb"


class ProfileStore:
    """The profiles and histories of one generation: an LMDB file that never changes."""

    def __init__(self, path: Path) -> None:
        """
        Map the file.

        Raises:
            Corrupted: If it is not one of ours.
        """
        try:
            self._environment = lmdb.open(
                str(path), subdir=False, readonly=True, lock=False, max_dbs=2, readahead=False
            )
            self._profiles = self._environment.open_db(b"profiles", create=False)
            self._histories = self._environment.open_db(b"histories", create=False)
        except lmdb.Error as fault:
            raise Corrupted(
                f"the profiles {path} cannot be opened: {fault}",
                hint="publish a new generation: corkboard build",
            ) from fault

    def clusters_of(self, user_id: str) -> Clusters | None:
        """Read the batch clusters of a user, None if the batch run knew nothing of them."""
        with self._environment.begin(db=self._profiles) as reader:
            data = reader.get(user_id.encode())
        return codec.decode_clusters(data) if data is not None else None

    def history_of(self, user_id: str) -> ActionColumns | None:
        """Read the stored actions of a user, oldest first; None if there are none."""
        with self._environment.begin(db=self._histories) as reader:
            data = reader.get(user_id.encode())
        return codec.decode_history(data) if data is not None else None

    def user_count(self) -> int:
        """Number of users with a profile."""
        with self._environment.begin() as reader:
            return int(reader.stat(self._profiles)["entries"])

    def close(self) -> None:
        """Unmap the file."""
        self._environment.close()

    @staticmethod
    def write(
        path: Path, records: Iterable[tuple[str, bytes | None, bytes | None]], *, map_bytes: int
    ) -> int:
        """
        Write a generation's file.

        Args:
            path: A new file.
            records: User id in byte order, encoded clusters (None = no interests), encoded history.
            map_bytes: Most the file can hold.

        Returns:
            How many users were written.
        """
        environment = lmdb.open(
            str(path),
            subdir=False,
            map_size=map_bytes,
            max_dbs=2,
            sync=False,
            writemap=False,
            lock=False,
        )
        try:
            profiles = environment.open_db(b"profiles")
            histories = environment.open_db(b"histories")
            count = 0
            with environment.begin(write=True) as transaction:
                for user_id, clusters, history in records:
                    key = user_id.encode()
                    if clusters is not None:
                        transaction.put(key, clusters, append=True, db=profiles)
                    if history is not None:
                        transaction.put(key, history, append=True, db=histories)
                    count += 1
            environment.sync(True)
        finally:
            environment.close()
        return count
