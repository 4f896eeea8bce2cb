"""
The live action log: what users did and declared since the store was made, in LMDB.

Live environment, format 1 (keys in byte order; positions are 8 bytes, big endian):

| database | key | value |
|---|---|---|
| `log` | position | user id |
| `actions` | user id, 0x00, position | action record |
| `seen` | action id | position |
| `declared` | user id | declared record |
| `erasures` | user id | erasure record |
| `attributes` | user id | attributes record |
| `adjustments` | user id | adjustments record |
| `meta` | `format_version`, `next_position` | number, 8 bytes |

Traps: LMDB may be opened once a process; a transaction stays in the method that began it; the map
can be full at commit, not only at put; growing the map kills open readers, so it is made large at
the start (it is sparse: it takes no disk until used).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import lmdb

from profile_service import codec, store_changes, store_faults
from profile_service.actions import Action, ActionColumns, columns_of
from profile_service.adjustments import Adjustment
from profile_service.codec import Declared, Erasure
from profile_service.log_usage import LogUsage, usage_of
from profile_service.profile import Attributes
from profile_service.store_changes import AppendCode, position_key
from service_runtime.errors import Corrupted, Unavailable
from service_runtime.group_commit import GroupCommit

FORMAT_VERSION: Final = 1

Record = TypeVar("Record")

_OF_USERS: Final = ("declared", "erasures", "attributes", "adjustments")
_DATABASES: Final = ("log", "actions", "seen", *_OF_USERS, "meta")
_READERS_MAX: Final = 1024


class ActionLog:
    """
    What users did and declared since the store was made; durable when a method returns.

    Safe for many threads, and for several processes that write, of which LMDB lets one at a time
    (its lock outlives a writer that is killed); so nothing of the log is kept in memory.

    Args:
        folder: The LMDB environment, made if absent.
        map_bytes: Most it can ever hold; address space, not disk.
        is_read_only: Open what another process serves; nothing is created, writes are refused.
        sync_delay_s: Added to each commit; stands in for a slow disk in benchmarks and tests.
        first_position: First position of a log that is made here. Where an earlier log of the same
            data root was exported, it must be past that one's last, or the two would be mixed up.
        on_broken: Told, perhaps often, that the disk failed and LMDB refuses everything until it is
            opened anew: end the process, its successor finds all that was acknowledged.
    """

    def __init__(
        self,
        folder: Path,
        *,
        map_bytes: int,
        is_read_only: bool = False,
        sync_delay_s: float = 0.0,
        first_position: int = 1,
        on_broken: Callable[[], None] = lambda: None,
    ) -> None:
        self._first_position = first_position
        self._folder = folder
        self._on_broken = on_broken
        self.map_bytes = map_bytes
        self._sync_delay_s = sync_delay_s
        self._environment = _open_environment(folder, map_bytes, is_read_only=is_read_only)
        try:
            store_faults.refuse_torn(folder, self._environment)
            self._databases: dict[str, Any] = {
                name: self._environment.open_db(name.encode(), create=not is_read_only)
                for name in _DATABASES
            }
            if not is_read_only:
                self._transact(self._check_format)
            else:
                with self._reading() as reader:
                    self._check_format(reader)
        except lmdb.NotFoundError as fault:
            self._environment.close()
            raise Corrupted(
                f"{folder} is not an action log: {fault}", hint="start profile_service once"
            ) from fault
        except BaseException:
            self._environment.close()
            raise
        self._writer = None if is_read_only else GroupCommit(self._transact)

    def close(self) -> None:
        """Finish queued writes and close; nothing may be asked afterwards."""
        if self._writer is not None:
            self._writer.close()
        self._environment.close()

    @property
    def commit_count(self) -> int:
        """Transactions committed since the start."""
        return self._writer.commit_count if self._writer else 0

    def append(self, actions: Sequence[Action]) -> list[AppendCode]:
        """
        Record actions, each once.

        Args:
            actions: Valid ones, of any users.

        Returns:
            One code for each: an action whose id is known, from this call or before, changes
            nothing, whatever else it says; one from before its user's erasure is dropped.

        Raises:
            Exhausted: If map or disk is full; then none of these actions was recorded.
        """
        rows = [store_changes.row_of(action) for action in actions]
        codes: list[AppendCode] = self._submit(
            lambda open_: store_changes.append_rows(open_, self._databases, rows)
        )
        return codes

    def declare(self, user_id: str, declared: Declared) -> None:
        """Store what a user picked, in place of earlier picks; Exhausted if it is full."""
        record = codec.encode_declared(declared) if declared.pin_ids else None
        self._replace("declared", user_id, record)

    def erase(self, user_id: str, *, time_us: int, receipt_id: str) -> tuple[Erasure, int, int]:
        """
        Delete all rows of a user and leave a tombstone.

        Returns:
            The tombstone, the number of actions deleted, and that of declared pins deleted.

        Raises:
            Exhausted: If map or disk is full; then nothing was deleted.
        """
        done: tuple[Erasure, int, int] = self._submit(
            lambda open_: store_changes.erase_user(
                open_, self._databases, user_id, time_us=time_us, receipt_id=receipt_id
            )
        )
        return done

    def merge(
        self,
        source_id: str,
        target_id: str,
        stored: Sequence[Action],
        *,
        time_us: int,
        receipt_id: str,
    ) -> tuple[int, int]:
        """
        Move everything of one user to another and forget the first, in one transaction.

        Args:
            source_id: Who ends.
            target_id: Who goes on.
            stored: Actions of the source that a generation knows; those that are live as well count
                once.
            time_us: When.
            receipt_id: Names the tombstone of the source.

        Returns:
            How many actions and how many declared pins moved.

        Raises:
            Exhausted: If map or disk is full; then nothing has changed.
        """
        _, action_count, declared_count = self._submit(
            lambda open_: store_changes.merge_users(
                open_,
                self._databases,
                (source_id, target_id),
                stored,
                time_us=time_us,
                receipt_id=receipt_id,
            )
        )
        return action_count, declared_count

    def describe(self, user_id: str, attributes: Attributes) -> None:
        """Store what is known of a user, in place of what was; Exhausted if it is full."""
        record = codec.encode_attributes(attributes) if attributes != Attributes() else None
        self._replace("attributes", user_id, record)

    def adjust(self, user_id: str, adjustment: Adjustment) -> None:
        """Store what a user said about an interest; Exhausted if it is full."""
        self._submit(
            lambda open_: store_changes.adjust_user(open_, self._databases, user_id, adjustment)
        )

    def attributes_of(self, user_id: str) -> Attributes:
        """Read what is known of a user; all unknown for someone nobody described."""
        data = self._get("attributes", user_id.encode())
        return codec.decode_attributes(data) if data is not None else Attributes()

    def adjustments_by(self, user_id: str) -> tuple[Adjustment, ...]:
        """Read what a user said about their interests, oldest first."""
        data = self._get("adjustments", user_id.encode())
        return codec.decode_adjustments(data) if data is not None else ()

    def all_adjustments(self) -> dict[str, tuple[Adjustment, ...]]:
        """Read what all users said about their interests, by user."""
        return self._of_all("adjustments", codec.decode_adjustments)

    def all_attributes(self) -> dict[str, Attributes]:
        """Read what is known of all users, by user, in the byte order of their ids."""
        return self._of_all("attributes", codec.decode_attributes)

    def actions_of(
        self, user_id: str, *, newest: int | None = None, from_position: int = 0
    ) -> ActionColumns:
        """
        Read the actions of a user, oldest first.

        Args:
            user_id: Any.
            newest: At most so many, those recorded last; None = all.
            from_position: Only actions at this position or later.
        """
        prefix = user_id.encode() + b"\0"
        found: list[Action] = []
        positions: list[int] = []
        with self._reading(buffers=True) as reader:
            cursor = reader.cursor(self._databases["actions"])
            has_row = cursor.set_range(prefix + b"\xff" * 8 + b"\xff")
            has_row = cursor.prev() if has_row else cursor.last()
            while has_row and (newest is None or len(found) < newest):
                key = bytes(cursor.key())
                if not key.startswith(prefix) or len(key) != len(prefix) + 8:
                    break
                position = int.from_bytes(key[-8:])
                if position < from_position:
                    break
                found.append(codec.decode_action(cursor.value(), user_id))
                positions.append(position)
                has_row = cursor.prev()
        return columns_of(found, positions)

    def declared_by(self, user_id: str) -> Declared | None:
        """Read what a user picked, None if nothing."""
        data = self._get("declared", user_id.encode())
        return codec.decode_declared(data) if data is not None else None

    def erasure_of(self, user_id: str) -> Erasure | None:
        """Return the last tombstone of a user, None without one."""
        data = self._get("erasures", user_id.encode())
        return codec.decode_erasure(data) if data is not None else None

    def erasures(self) -> dict[str, Erasure]:
        """Read all tombstones, by user, those that another process wrote meanwhile included."""
        return self._of_all("erasures", codec.decode_erasure)

    def last_position(self) -> int:
        """The newest position given out, 0 for an empty log."""
        return int.from_bytes(self._get("meta", b"next_position") or position_key(1)) - 1

    def stream(self, after: int, up_to: int) -> Iterator[tuple[int, Action]]:
        """Read the actions at positions in (after, up_to], in order."""
        with self._reading() as reader:
            cursor = reader.cursor(self._databases["log"])
            has_row = cursor.set_range(position_key(after + 1))
            while has_row:
                position = int.from_bytes(cursor.key())
                if position > up_to:
                    return
                user = cursor.value()
                record = reader.get(
                    user + b"\0" + cursor.key(), db=self._databases["actions"], default=None
                )
                if record is None:
                    raise Corrupted(f"the action at log position {position} has no record")
                yield position, codec.decode_action(record, str(user, "utf-8"))
                has_row = cursor.next()

    def usage(self) -> LogUsage:
        """Pages and entries of the store."""
        return usage_of(self._environment, self._databases)

    def _replace(self, database: str, user_id: str, record: bytes | None) -> None:
        """Put a user's record in place of the one before, or delete it."""
        key, table = user_id.encode(), self._databases[database]
        self._submit(
            lambda open_: (
                open_.put(key, record, db=table) if record else open_.delete(key, db=table)
            )
        )

    def _submit(self, change: Callable[[Any], Any]) -> Any:
        if self._writer is None:
            raise Unavailable("the action log is open for reading only")
        return self._writer.submit(change)

    def _transact(self, change: Callable[[Any], None]) -> None:
        """Run a change in one durable transaction, or leave no trace of it."""
        try:
            with self._environment.begin(write=True) as transaction:
                change(transaction)
            if self._sync_delay_s:
                time.sleep(self._sync_delay_s)
        except lmdb.Error as fault:
            self._refuse(fault)

    @contextmanager
    def _reading(self, *, buffers: bool = False) -> Iterator[Any]:
        """Open a snapshot of the log for reading."""
        try:
            with self._environment.begin(buffers=buffers) as reader:
                yield reader
        except lmdb.Error as fault:
            self._refuse(fault)

    def _refuse(self, fault: Any) -> NoReturn:
        """Raise what a caller is told, and have the process end if LMDB will not go on."""
        if fault.code == store_faults.PANIC:
            self._on_broken()
        told = store_faults.told(fault, self._folder, self.map_bytes)
        if told is None:
            raise fault
        raise told from fault

    def _check_format(self, transaction: Any) -> None:
        meta = self._databases["meta"]
        found = transaction.get(b"format_version", db=meta)
        if found is None:
            transaction.put(b"format_version", position_key(FORMAT_VERSION), db=meta)
            transaction.put(b"next_position", position_key(self._first_position), db=meta)
        elif int.from_bytes(found) != FORMAT_VERSION:
            raise Corrupted(
                f"the action log has format {int.from_bytes(found)}, this is {FORMAT_VERSION}",
                hint="run the profile_service version that wrote it",
            )

    def _of_all(self, database: str, decode: Callable[[bytes], Record]) -> dict[str, Record]:
        """The records of all users in one database, by user."""
        with self._reading() as reader:
            cursor = reader.cursor(self._databases[database])
            return {str(key, "utf-8"): decode(value) for key, value in cursor}

    def _get(self, database: str, key: bytes) -> bytes | None:
        with self._reading() as reader:
            value: bytes | None = reader.get(key, db=self._databases[database])
            return value


def _open_environment(folder: Path, map_bytes: int, *, is_read_only: bool) -> Any:
    if not is_read_only:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        environment = lmdb.open(
            str(folder),
            map_size=map_bytes,
            max_dbs=len(_DATABASES),
            max_readers=_READERS_MAX,
            readonly=is_read_only,
            create=not is_read_only,
            readahead=False,
        )
    except lmdb.Error as fault:
        raise Corrupted(
            f"the action log {folder} cannot be opened: {fault}",
            hint="restore it from a copy; if it was never used, remove the folder",
        ) from fault
    environment.reader_check()  # pages that a killed process was reading may be used again
    return environment


@contextmanager
def open_for_jobs(data_root: Path, map_bytes: int) -> Iterator[ActionLog | None]:
    """Open the live log beside the service that writes it; None if there has never been one."""
    folder = live_folder(data_root)
    if not (folder / "data.mdb").exists():
        yield None
        return
    with closing(ActionLog(folder, map_bytes=map_bytes, is_read_only=True)) as log:
        yield log


def live_folder(data_root: Path) -> Path:
    """Where the live action log stands."""
    return data_root / "live" / "profile"
