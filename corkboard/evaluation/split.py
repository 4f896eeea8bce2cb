"""What is learned from, what is asked for, and the folder in which nothing of the latter is left.

*By time*: everything before a moment teaches, and what people did to pins that were new to them
afterwards is asked for.  *Leave last out*: of every user with enough pins the last one is asked for
and taken out of the data; for sets without times worth the name.
"""

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from corkboard.evaluation.choices import SplitKind
from corkboard.pipeline import has_parquet
from corkboard.replay import POSITIVE_TYPES, make_root
from service_runtime.errors import InvalidRequest, ProcessFailed

SECONDS_PER_DAY = 86_400
TIME_SPAN_DAYS_MIN = 2.0
USERS_AFTER_MIN = 20
HISTORY_PINS_MIN = 2
NEVER = np.iinfo(np.int64).max
SEPARATOR = "\x1f"  # no id may hold a control character
_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("pin_id", pa.string()),
        ("action_type", pa.string()),
        ("action_time_us", pa.int64()),
    ]
)


class LeakFound(ProcessFailed):
    """Something that was to be predicted was there to be learned from: figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Each pair of user and pin with a positive action once; arrays are parallel.

    Attributes:
        user_ids: Ids by number of the user.
        pin_ids: Ids by number of the pin, sorted.
        users: int32[n], into `user_ids`.
        pins: int32[n], into `pin_ids`.
        times: First positive action, int64[n], microseconds since the Unix epoch.
        seen_times: First action of any kind, int64[n], never later than `times`.
        other_users: Users of the pairs without any positive action, int32[m].
        other_pins: Their pins, int32[m].
        other_times: Their first action, int64[m].
    """

    user_ids: NDArray[np.object_]
    pin_ids: NDArray[np.object_]
    users: NDArray[np.int32]
    pins: NDArray[np.int32]
    times: NDArray[np.int64]
    seen_times: NDArray[np.int64]
    other_users: NDArray[np.int32]
    other_pins: NDArray[np.int32]
    other_times: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True, slots=True)
class Split:
    """Which pairs teach and which are asked for.

    Attributes:
        kind: TIME or LAST.
        as_of: Unix seconds; jobs read only what happened before, services stand still there.
        pairs: All of them.
        is_held: Whether a pair is asked for, bool[n].
        is_taught: Whether a pair teaches, bool[n]; what was looked at before the split and liked
            afterwards is neither.
    """

    kind: SplitKind
    as_of: float
    pairs: Pairs
    is_held: NDArray[np.bool_]
    is_taught: NDArray[np.bool_]


def read_pairs(data_root: Path) -> Pairs:
    """The positive actions of a data root; saves by users are among them.

    Raises:
        InvalidRequest: There are none.
    """
    folder = data_root / "events" / "actions"
    if not has_parquet(folder):
        raise InvalidRequest(
            f"there are no actions in {data_root}", hint="bring some in: corkboard import FOLDER"
        )
    source = pds.dataset(folder, format="parquet", exclude_invalid_files=True)
    table = source.to_table(columns=_SCHEMA.names).cast(_SCHEMA)
    is_positive = pc.is_in(table["action_type"], pa.array(POSITIVE_TYPES)).to_numpy()
    if not is_positive.any():
        raise InvalidRequest(
            f"nobody did anything positive in {data_root}",
            hint=f"positive are {', '.join(POSITIVE_TYPES)}",
        )
    user_ids, users = np.unique(table["user_id"].to_numpy(), return_inverse=True)
    pin_ids, pins = np.unique(table["pin_id"].to_numpy(), return_inverse=True)
    times = table["action_time_us"].to_numpy()
    pair_of = users.astype(np.int64) * len(pin_ids) + pins
    keys, inverse = np.unique(pair_of, return_inverse=True)
    seen_times = _first(times, inverse, len(keys))
    first_times = _first(times[is_positive], inverse[is_positive], len(keys))
    users, pins = (part.astype(np.int32) for part in np.divmod(keys, len(pin_ids)))
    kept, other = first_times < NEVER, first_times == NEVER
    return Pairs(
        user_ids=user_ids,
        pin_ids=pin_ids,
        users=users[kept],
        pins=pins[kept],
        times=first_times[kept],
        seen_times=seen_times[kept],
        other_users=users[other],
        other_pins=pins[other],
        other_times=seen_times[other],
    )


def _first(
    times: NDArray[np.int64], groups: NDArray[np.int64], group_count: int
) -> NDArray[np.int64]:
    """The least time of each group; NEVER for an empty one."""
    found = np.full(group_count, NEVER, np.int64)
    np.minimum.at(found, groups, times)
    return found


def split_pairs(
    pairs: Pairs,
    kind: SplitKind,
    *,
    since: float | None = None,
    test_share: float = 0.1,
    horizon_days: float = math.inf,
    seed: int = 0,
) -> Split:
    """Set apart what is asked for.

    Args:
        pairs: All of them.
        kind: AUTO takes TIME where times span days and enough people acted afterwards.
        since: Unix seconds of the split by time; None = the last *test_share* of the pairs.
        test_share: In (0, 1); only without *since*.
        horizon_days: How long after a split by time counts, > 0.
        seed: Decides between pairs of one user and time.

    Raises:
        InvalidRequest: Nothing would be asked for, or nothing would teach.
    """
    by_time = _split_by_time(pairs, since, test_share, horizon_days)
    if kind is SplitKind.AUTO:
        span_days = (pairs.times.max() - pairs.times.min()) / 1e6 / SECONDS_PER_DAY
        later = len(np.unique(pairs.users[by_time.is_held]))
        is_timed = span_days >= TIME_SPAN_DAYS_MIN and later >= USERS_AFTER_MIN
        kind = SplitKind.TIME if is_timed or since is not None else SplitKind.LAST
    split = by_time if kind is SplitKind.TIME else _split_last(pairs, seed)
    if not split.is_held.any() or not split.is_taught.any():
        missing = "nothing is left to ask for" if split.is_taught.any() else "nothing would teach"
        raise InvalidRequest(
            f"{missing} with a split by {split.kind}",
            hint="choose another --since, or --split last",
        )
    return split


def _split_by_time(
    pairs: Pairs, since: float | None, test_share: float, horizon_days: float
) -> Split:
    begin_us = (
        int(np.quantile(pairs.times, 1 - test_share, method="higher"))
        if since is None
        else round(since * 1e6)
    )
    is_held = pairs.seen_times >= begin_us  # what they had looked at before is no discovery
    is_held &= pairs.times - begin_us < horizon_days * SECONDS_PER_DAY * 1e6
    return Split(SplitKind.TIME, begin_us / 1e6, pairs, is_held, pairs.times < begin_us)


def _split_last(pairs: Pairs, seed: int) -> Split:
    chance = np.random.default_rng(seed).random(len(pairs))
    order = np.lexsort((chance, pairs.times, pairs.users))
    users = pairs.users[order]
    is_last = np.append(users[1:] != users[:-1], True)
    is_enough = np.bincount(users)[users] > HISTORY_PINS_MIN
    is_held = np.zeros(len(pairs), np.bool_)
    is_held[order] = is_last & is_enough
    as_of = float(pairs.times.max()) / 1e6 + 1.0
    return Split(SplitKind.LAST, as_of, pairs, is_held, ~is_held)


def seen_pairs(split: Split) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Users and pins of everything that anybody did before the split, of any kind."""
    pairs, as_of_us = split.pairs, round(split.as_of * 1e6)
    is_seen = (pairs.seen_times < as_of_us) & ~split.is_held
    is_other = pairs.other_times < as_of_us
    return (
        np.concatenate((pairs.users[is_seen], pairs.other_users[is_other])),
        np.concatenate((pairs.pins[is_seen], pairs.other_pins[is_other])),
    )


def make_scratch_root(split: Split, data_root: Path, root: Path) -> Path:
    """A data root from which the jobs, as of the split, learn nothing that is asked for.

    By time it shares everything, as the jobs read only what happened before; the last pins are
    really taken out of saves and actions.
    """
    make_root(data_root, root)
    if split.kind is SplitKind.TIME:
        return root
    held = _held_keys(split)
    catalogue = (data_root / "catalogue").resolve()
    (root / "catalogue").unlink()
    (root / "catalogue").mkdir()
    for part in catalogue.iterdir():
        if part.name != "saves":
            (root / "catalogue" / part.name).symlink_to(part)
    (root / "events" / "actions").unlink()
    for name in ("catalogue/saves", "events/actions"):
        _copy_without(data_root / name, root / name, held)
    return root


def check_inputs(split: Split, root: Path) -> None:
    """Fail if the jobs could read a pair that is asked for.

    Raises:
        LeakFound: Saves or actions before the split, or without a time, hold such a pair.
    """
    held = _held_keys(split)
    as_of_us = round(split.as_of * 1e6)
    for name, column in (
        ("catalogue/saves", "save_time_us"),
        ("events/actions", "action_time_us"),
    ):
        for _, table in _tables(root / name):
            times = table[column]
            is_old = pc.fill_null(pc.less(times, as_of_us), True)
            is_leak = pc.and_(is_old, pc.is_in(_keys(table), value_set=held))
            if count := pc.sum(is_leak).as_py():
                first = table.filter(is_leak).slice(0, 1).to_pylist()[0]
                raise LeakFound(
                    f"{count:,} rows of {name} that are to be predicted can be learned from: "
                    f"user {first['user_id']}, pin {first['pin_id']}",
                    hint="rows without a time count as old: give saves times, or use --split last",
                )


def as_of_in_words(as_of: float) -> str:
    """A moment for readers, to the minute, UTC."""
    return f"{datetime.fromtimestamp(as_of, tz=UTC):%Y-%m-%d %H:%M} UTC"


def _held_keys(split: Split) -> pa.Array:
    pairs = split.pairs
    users = pairs.user_ids[pairs.users[split.is_held]].tolist()
    pins = pairs.pin_ids[pairs.pins[split.is_held]].tolist()
    return pa.array([f"{user}{SEPARATOR}{pin}" for user, pin in zip(users, pins, strict=True)])


def _keys(table: pa.Table) -> pa.ChunkedArray:
    """User and pin of each row as one text; "" where there is no user."""
    users = pc.cast(table["user_id"], pa.string())
    pins = pc.cast(table["pin_id"], pa.string())
    return pc.fill_null(pc.binary_join_element_wise(users, pins, SEPARATOR), "")


def _tables(folder: Path) -> Iterator[tuple[Path, pa.Table]]:
    for path in sorted(folder.rglob("*.parquet")) if has_parquet(folder) else ():
        yield path, pq.read_table(path, partitioning=None)


def _copy_without(source: Path, target: Path, held: pa.Array) -> None:
    """Copy Parquet files without the rows of the held pairs."""
    shutil.rmtree(target, ignore_errors=True)
    for path, table in _tables(source):
        kept = table.filter(pc.invert(pc.is_in(_keys(table), value_set=held)))
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(kept, copy)
