"""Strings to dense rows and back, from files that are mapped, not loaded.

A table is a folder of three arrays: `bytes.npy` (all ids, each followed by a newline, so that rows
gathered from it decode and split in one go), `offsets.npy` (where each starts) and `slots.npy` (an
open addressing hash table at load 0.5; a slot holds 32 bits of the hash and a row). Every look-up
works on whole batches, without the GIL, and compares the bytes themselves in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from service_runtime import kernels
from service_runtime.errors import Corrupted, InvalidRequest

ID_BYTES_MAX: Final = 128
"""Longest id in bytes of UTF-8."""
_FORMAT: Final = 1
_SEPARATOR: Final = 0x0A
_PROBES_MAX: Final = 200
_SEED_TRIES: Final = 8
_BAD: Final = {
    1: "is empty",
    2: f"is longer than {ID_BYTES_MAX} bytes",
    3: "has a control character",
}

Int32Array = NDArray[np.int32]


class IdTable:
    """
    A fixed set of string ids, each with a row from 0 on in the order in which it was added.

    Safe to read from many threads. Get one by `build`, `extend` or `open`.
    """

    def __init__(
        self,
        data: NDArray[np.uint8],
        offsets: NDArray[np.int64],
        slots: NDArray[np.uint64],
        seed: int,
    ) -> None:
        """Take the arrays as they lie in the files; use `open` instead."""
        self._data = data
        self._offsets = offsets
        self._slots = slots
        self._seed = np.uint64(seed)

    @classmethod
    def build(cls, ids: pa.Array | pa.ChunkedArray | Sequence[str], folder: Path) -> Self:
        """
        Write a table of these ids in this order and open it.

        Raises:
            InvalidRequest: If an id is null, empty, longer than 128 bytes, holds a control
                character, or occurs twice; the first such id is named.

        Cost: O(total bytes), about 0.2 s a million ids, 16 bytes each beside the ids and offsets.
        """
        data, offsets = _joined(_as_arrow(ids))
        _write(folder, data, offsets)
        return cls.open(folder)

    @classmethod
    def extend(
        cls, previous: IdTable | None, new_ids: pa.Array | Sequence[str], folder: Path
    ) -> tuple[Self, Int32Array]:
        """
        Write a table that keeps every row of a previous one and appends the ids it lacks.

        Args:
            previous: The table to go on from; None = start anew.
            new_ids: Any ids, known or not, repeats allowed; unknown ones get rows in this order.
            folder: Where to write.

        Returns:
            The new table, opened, and the row of each of *new_ids*, int32[k].

        Raises:
            InvalidRequest: If an id is null, empty, longer than 128 bytes or holds a control
                character.
        """
        asked = _as_arrow(new_ids)
        _refuse_nulls(asked)
        fresh = asked.unique() if len(asked) else asked
        if previous is not None and len(fresh):
            fresh = fresh.filter(pa.array(previous.rows_arrow(fresh) < 0))
        data, offsets = _joined(fresh)
        if previous is not None and len(previous):
            old_data, old_offsets = previous.arrays()
            data = np.concatenate((old_data, data))
            offsets = np.concatenate((old_offsets[:-1], offsets + old_offsets[-1]))
        _write(folder, data, offsets)
        table = cls.open(folder)
        return table, table.rows_arrow(asked)

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """
        Map a table.

        Raises:
            Corrupted: If a file is missing, of another format, or does not fit the others.
        """
        folder = Path(folder)
        try:
            header = orjson.loads((folder / "table.json").read_bytes())
            data, offsets, slots = (
                np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                if header["id_count"]
                else np.load(folder / f"{name}.npy", allow_pickle=False)
                for name in ("bytes", "offsets", "slots")
            )
            fits = (
                header["format"] == _FORMAT
                and offsets.shape == (header["id_count"] + 1,)
                and data.shape == (int(offsets[-1]),)
                and slots.shape == (header["slot_count"],)
                and (data.dtype, offsets.dtype, slots.dtype) == (np.uint8, np.int64, np.uint64)
            )
        except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError) as fault:
            raise _unreadable(folder, str(fault)) from fault
        if not fits:
            raise _unreadable(folder, f"its arrays do not fit its header {header}")
        return cls(data, offsets, slots, header["seed"])

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __contains__(self, wanted: str) -> bool:
        return self.row(wanted) >= 0

    def row(self, wanted: str) -> int:
        """Return the row of one id, -1 if it is unknown."""
        return int(self.rows([wanted])[0])

    def rows(self, ids: Sequence[str]) -> Int32Array:
        """
        Return the row of each id, int32[n], -1 where unknown; anything that is no valid id too.

        Cost: about 50 ns an id, one pass.
        """
        if not len(ids):
            return np.empty(0, np.int32)
        asked = np.frombuffer("\n".join(ids).encode("utf-8", "surrogatepass"), np.uint8)
        breaks = np.flatnonzero(asked == _SEPARATOR)
        if len(breaks) != len(ids) - 1:  # an id with a newline in it: none of ours
            return self.rows(["" if "\n" in wanted else wanted for wanted in ids])
        starts = np.empty(len(ids), np.int64)
        stops = np.empty(len(ids), np.int64)
        starts[0], stops[-1] = 0, len(asked)
        stops[:-1] = breaks
        starts[1:] = breaks
        starts[1:] += 1
        return self._find(asked, starts, stops)

    def rows_arrow(self, ids: pa.Array | pa.ChunkedArray) -> Int32Array:
        """Return the row of each id of an Arrow string array, int32[n], -1 if unknown or null."""
        source, starts, stops = _spans(_as_arrow(ids))
        return self._find(source, starts, stops)

    def ids(self, rows: NDArray[np.integer[Any]] | Sequence[int]) -> list[str]:
        """
        Return the id of each row.

        Raises:
            IndexError: If a row is negative or not in the table.
        """
        gathered = self._gathered(rows)
        return gathered.tobytes().decode("utf-8").split("\n")[:-1]

    def id(self, row: int) -> str:
        """Return the id of one row; IndexError if there is none."""
        return self.ids([row])[0]

    def ids_arrow(self, rows: NDArray[np.integer[Any]] | None = None) -> pa.LargeStringArray:
        """Return the ids of rows, or all ids in order, as an Arrow array."""
        wanted = np.arange(len(self), dtype=np.int32) if rows is None else np.asarray(rows)
        gathered = self._gathered(wanted)
        lengths = self._offsets[wanted + 1] - self._offsets[wanted] - 1
        offsets = np.zeros(len(wanted) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        packed = gathered[gathered != _SEPARATOR]
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(packed)]
        return pa.Array.from_buffers(pa.large_string(), len(wanted), buffers)

    def arrays(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the bytes of all ids with a newline after each, and the start of each."""
        return self._data, self._offsets

    def _find(
        self, asked: NDArray[np.uint8], starts: NDArray[np.int64], stops: NDArray[np.int64]
    ) -> Int32Array:
        found: Int32Array = kernels.find_rows(
            asked, starts, stops, self._data, self._offsets, self._slots, self._seed
        )
        return found

    def _gathered(self, rows: NDArray[np.integer[Any]] | Sequence[int]) -> NDArray[np.uint8]:
        wanted = np.asarray(rows)
        if not len(wanted):
            return np.empty(0, np.uint8)
        lowest, highest = int(wanted.min()), int(wanted.max())
        if lowest < 0 or highest >= len(self):
            bad = lowest if lowest < 0 else highest
            raise IndexError(f"row {bad} is not in an id table of {len(self)} ids")
        gathered: NDArray[np.uint8] = kernels.gather_ids(
            wanted.astype(np.int32, copy=False), self._data, self._offsets
        )
        return gathered


def _as_arrow(ids: Any) -> pa.LargeStringArray:
    """Return one contiguous array of large strings, without copying the bytes if it can."""
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks() if ids.num_chunks != 1 else ids.chunk(0)
        if isinstance(ids, pa.ChunkedArray):
            ids = pa.concat_arrays([chunk.cast(pa.large_string()) for chunk in ids.chunks])
    if not isinstance(ids, pa.Array):
        try:
            ids = pa.array(ids, pa.large_string())
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeError) as fault:
            raise InvalidRequest(f"ids must be text: {fault}") from fault
    return ids if pa.types.is_large_string(ids.type) else ids.cast(pa.large_string())


def _spans(
    ids: pa.LargeStringArray,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Return the bytes and each value's start and stop; a null stops before it starts."""
    _, offset_buffer, byte_buffer = ids.buffers()
    if not len(ids) or offset_buffer is None:
        return np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0, np.int64)
    offsets = np.frombuffer(offset_buffer, np.int64)[ids.offset : ids.offset + len(ids) + 1]
    data = np.empty(0, np.uint8)
    if byte_buffer is not None and byte_buffer.size:
        data = np.frombuffer(byte_buffer, np.uint8)
    stops = offsets[1:]
    if ids.null_count:
        is_null = pc.is_null(ids).to_numpy(zero_copy_only=False)
        stops = np.where(is_null, offsets[:-1] - 1, stops)
    return data, offsets[:-1], stops


def _refuse_nulls(ids: pa.LargeStringArray) -> None:
    if ids.null_count:
        at = pc.index(pc.is_null(ids), True).as_py()
        raise InvalidRequest(f"id number {at} is null")


def _joined(ids: pa.LargeStringArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Check ids and lay them out as the table stores them."""
    _refuse_nulls(ids)
    ids.validate(full=True)  # foreign Arrow data may hold broken UTF-8
    source, starts, stops = _spans(ids)
    at, reason = kernels.find_bad_id(source, starts, stops, ID_BYTES_MAX)
    if at >= 0:
        raise InvalidRequest(f"id number {at}, {ids[at].as_py()!r:.200}, {_BAD[reason]}")
    data = np.empty(int((stops - starts).sum()) + len(ids), np.uint8)
    offsets = np.empty(len(ids) + 1, np.int64)
    kernels.join_ids(source, starts, stops, _SEPARATOR, data, offsets)
    return data, offsets


def _write(folder: Path, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
    """Hash the ids and write the files; the same ids always give the same bytes."""
    id_count = len(offsets) - 1
    if id_count >= np.iinfo(np.int32).max:
        raise InvalidRequest(f"{id_count} ids are more than rows of 32 bits can number")
    slots = np.zeros(max(8, 2 * id_count), np.uint64)
    seed = xxhash.xxh3_64_intdigest(data.data)
    for _ in range(_SEED_TRIES):
        at, twin, longest = kernels.insert_ids(data, offsets, 0, slots, np.uint64(seed))
        if at >= 0:
            name = data[offsets[at] : offsets[at + 1] - 1].tobytes().decode("utf-8")
            raise InvalidRequest(f"id {name!r} occurs twice, as number {twin} and {at}")
        if longest <= _PROBES_MAX:
            break
        slots[:] = 0
        seed = xxhash.xxh3_64_intdigest(seed.to_bytes(8, "little"))
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("bytes", data), ("offsets", offsets), ("slots", slots)):
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    header = {"format": _FORMAT, "id_count": id_count, "slot_count": len(slots), "seed": seed}
    (folder / "table.json").write_bytes(orjson.dumps(header))


def _unreadable(folder: Path, reason: str) -> Corrupted:
    return Corrupted(
        f"the id table {folder} cannot be opened: {reason}",
        hint="build the artifact it belongs to anew with `corkboard build`",
    )
