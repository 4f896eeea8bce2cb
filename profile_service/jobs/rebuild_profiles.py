"""Cluster the actions of all users and publish a generation of profiles and histories.

Exports the live log first, then reads events/actions, imported and exported alike. The generation
knows exactly the live actions up to its watermark: reads fold the later ones in, so that nothing is
counted twice and nothing is lost.
"""

# ruff: noqa: S608  queries are put together from our own words and numbers, never from data

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import pyarrow as pa

from profile_service import codec, generation_store
from profile_service.action_export import (
    SCHEMA,
    actions_folder,
    export_actions,
    exported_position,
    remove_erased,
)
from profile_service.actions import STRENGTHS, ActionColumns, ActionType, evidence
from profile_service.adjustments import Adjustment, PinSpace, forgotten
from profile_service.codec import Erasure
from profile_service.config import ProfileConfig
from profile_service.generation_store import ProfileStore
from profile_service.online import Rules, cluster_columns
from profile_service.pin_space import LivePins
from profile_service.store import ActionLog, open_for_jobs
from profile_service.user_export import export_users, users_folder
from service_runtime.batch import Kernel
from service_runtime.job import JobContext, run_job

_COLUMNS: Final = (
    "action_time_us",
    "log_position",
    "action_id",
    "pin_id",
    "type_number",
    "strength",
    "board_id",
    "list_id",
)
_RESULT: Final = pa.schema(
    [
        ("user_id", pa.string()),
        ("clusters", pa.binary()),
        ("history", pa.binary()),
        ("cluster_count", pa.int32()),
        ("action_count", pa.int32()),
    ]
)
_MAP_BYTES: Final = 1 << 40  # address space of the file being written; it takes what it needs

LogOpener = Callable[[Path, int], AbstractContextManager[ActionLog | None]]
"""Opens the live log of a data root with a map of so many bytes; None where there is none."""


@dataclass(frozen=True, slots=True)
class _LiveState:
    """What the live log says: its last position, forgotten users, and how much was exported."""

    last_position: int
    erasures: Mapping[str, Erasure]
    adjustments: Mapping[str, Sequence[Adjustment]]
    exported_count: int


def run(
    context: JobContext[ProfileConfig], *, open_log: LogOpener = open_for_jobs
) -> Mapping[str, Any]:
    """
    Rebuild all profiles as of a moment.

    Args:
        context: The job's.
        open_log: Opens the live log; LMDB lets a process open it only once, so whoever has it open
            already hands it in.

    Returns:
        The generation, its watermark, and how many users, actions and clusters it holds.
    """
    live = _export(context, open_log)
    folder = actions_folder(context.data_root)
    removed = remove_erased(folder, live.erasures)
    watermark = _select_actions(context, folder, live)
    pins = LivePins(context.generations)
    kernel = make_kernel(
        pins.get(), context.config.rules(), now=context.as_of, adjustments=live.adjustments
    )
    totals = _Totals()
    with context.generations.draft(
        generation_store.ARTIFACT, format_version=generation_store.FORMAT_VERSION
    ) as draft:
        _write_profiles(context, kernel, draft.path(generation_store.FILE), totals)
        generation = draft.publish(
            as_of_us=context.as_of_us,
            inputs=_inputs(pins),
            counts=totals.counts(),
            quality={"clusters_per_user": totals.cluster_count / max(1, totals.user_count)},
            details={
                "watermark": watermark,
                "window_days": context.config.window_days,
                "alpha": context.config.alpha,
                "decay_per_day": context.config.decay_per_day,
            },
        )
    return {
        "generation": generation.id,
        "watermark": watermark,
        "exported_count": live.exported_count,
        "erased_event_count": removed,
        **totals.counts(),
    }


def make_kernel(
    space: PinSpace,
    rules: Rules,
    *,
    now: float,
    adjustments: Mapping[str, Sequence[Adjustment]] | None = None,
) -> Kernel:
    """
    Make the function that turns the action lists of some users into stored records.

    Args:
        space: The pins.
        rules: The constants.
        now: As of when, Unix seconds.
        adjustments: What users said about their interests, by user; later ones than *now* wait.
    """
    said = adjustments or {}

    def kernel(batch: pa.RecordBatch) -> pa.Table:
        users = batch.column("user_id").to_pylist()
        offsets = batch.column("pin_id").offsets.to_pylist()
        flat = _flatten(batch)
        rows = space.rows(flat.pin_ids)
        start = offsets[0]
        out: list[tuple[str, bytes, bytes, int, int]] = []
        for user_id, (low, high) in zip(users, pairwise(offsets), strict=True):
            actions = _slice(flat, low - start, high - start)
            kept = evidence(actions)
            before = [one for one in said.get(user_id, ()) if one.time_us < now * 1e6]
            if before:
                kept &= ~forgotten(actions, before, space, alpha=rules.alpha)
            clusters = cluster_columns(
                actions,
                kept,
                space,
                rules,
                now=now,
                rows=rows[low - start : high - start],
            )
            out.append(
                (
                    user_id,
                    codec.encode_clusters(clusters),
                    codec.encode_history(actions),
                    len(clusters),
                    len(actions),
                )
            )
        columns = zip(*out, strict=True) if out else [[] for _ in _RESULT]
        arrays = [
            pa.array(list(column), kind)
            for column, kind in zip(columns, _RESULT.types, strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=_RESULT)

    return kernel


class _Totals:
    """Counts what passes by."""

    def __init__(self) -> None:
        self.user_count = self.cluster_count = self.action_count = 0

    def counting(
        self, rows: Iterator[tuple[str, bytes, bytes, int, int]]
    ) -> Iterator[tuple[str, bytes, bytes]]:
        """Pass records on."""
        for user_id, clusters, history, cluster_count, action_count in rows:
            self.user_count += 1
            self.cluster_count += cluster_count
            self.action_count += action_count
            yield user_id, clusters, history

    def counts(self) -> dict[str, int]:
        """What was counted, for manifest and report."""
        return {
            "user_count": self.user_count,
            "cluster_count": self.cluster_count,
            "action_count": self.action_count,
        }


def _export(context: JobContext[ProfileConfig], open_log: LogOpener) -> _LiveState:
    folder = actions_folder(context.data_root)
    with open_log(context.data_root, context.config.live_map_bytes) as log:
        if log is None:
            return _LiveState(exported_position(folder), {}, {}, 0)
        last = log.last_position()
        pending = max(0, last - exported_position(folder))
        advance = context.progress("exporting actions", pending)
        written = export_actions(log, folder, up_to=last, progress=advance)
        export_users(log, users_folder(context.data_root))
        return _LiveState(last, log.erasures(), log.all_adjustments(), written)


def _select_actions(context: JobContext[ProfileConfig], folder: Path, live: _LiveState) -> int:
    """
    Name the actions to cluster `newest_actions`; return the watermark.

    The watermark lies before the first live action that is not older than as_of, so that what the
    generation knows is a prefix of the live log.
    """
    engine = context.engine
    engine.table("logged_actions", folder, schema=SCHEMA)
    engine.register("erasures", _erasure_table(live.erasures))
    query = f"""
        select min(log_position) as position from logged_actions
        where log_position > 0 and action_time_us >= {context.as_of_us}
        """
    engine.sql(query, name="first_later")
    first_later = engine.read("first_later").column("position")[0].as_py()
    watermark = live.last_position if first_later is None else int(first_later) - 1
    engine.sql(_known_actions(context.as_of_us, watermark), name="known_actions")
    engine.sql(_newest_actions(context.config.history_action_count_max), name="newest_actions")
    return watermark


def _known_actions(as_of_us: int, watermark: int) -> str:
    """The query of all actions that the generation may know: each once, no forgotten user's."""
    numbers = " ".join(f"when '{kind.label}' then {int(kind)}" for kind in ActionType)
    strengths = " ".join(
        f"when '{kind.label}' then {strength}" for kind, strength in STRENGTHS.items()
    )
    return f"""
        select numbered.user_id as user_id, numbered.action_id as action_id,
            numbered.pin_id as pin_id, numbered.type_number as type_number,
            numbered.action_time_us as action_time_us, numbered.strength as strength,
            numbered.board_id as board_id, numbered.list_id as list_id,
            numbered.log_position as log_position
        from (
            select user_id, action_id, pin_id, action_time_us,
                case action_type {numbers} else 0 end as type_number,
                cast(coalesce(strength, case action_type {strengths} else 0 end) as float)
                    as strength,
                coalesce(board_id, '') as board_id, coalesce(list_id, '') as list_id,
                coalesce(log_position, 0) as log_position,
                row_number() over (
                    partition by action_id
                    order by coalesce(log_position, 0), action_time_us, user_id, pin_id
                ) as copy_number
            from logged_actions
            where action_time_us < {as_of_us} and coalesce(log_position, 0) <= {watermark}
        ) numbered
        left join erasures on numbered.user_id = erasures.user_id
        where numbered.copy_number = 1 and numbered.type_number > 0
            and (erasures.time_us is null or (
                numbered.action_time_us > erasures.time_us
                and (numbered.log_position = 0 or numbered.log_position > erasures.position)))
        """


def _newest_actions(count: int) -> str:
    """The query of the newest known actions of each user."""
    return f"""
        select user_id, action_id, pin_id, type_number, action_time_us, strength, board_id,
            list_id, log_position
        from (
            select user_id, action_id, pin_id, type_number, action_time_us, strength, board_id,
                list_id, log_position,
                row_number() over (
                    partition by user_id order by action_time_us desc, log_position desc,
                        action_id desc
                ) as newness
            from known_actions
        ) ranked
        where newness <= {count}
        """


def _write_profiles(
    context: JobContext[ProfileConfig], kernel: Kernel, path: Path, totals: _Totals
) -> None:
    """Run the kernel over all users and write what it gives."""
    query = f"""
        select count(distinct user_id) as user_count from logged_actions
        where action_time_us < {context.as_of_us}
        """
    context.engine.sql(query, name="user_count")
    user_count = int(context.engine.read("user_count").column("user_count")[0].as_py())
    spill = context.data_root / "spill"
    spill.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="profiles-", dir=spill) as folder:
        context.engine.map_lists(
            "newest_actions",
            "user_id",
            _COLUMNS,
            kernel,
            _RESULT,
            out=Path(folder) / "records",
            name="records",
            progress=context.progress("clustering users", user_count),
            order_by=("action_time_us", "log_position"),
        )
        ProfileStore.write(path, totals.counting(_records(context)), map_bytes=_MAP_BYTES)


def _records(
    context: JobContext[ProfileConfig],
) -> Iterator[tuple[str, bytes, bytes, int, int]]:
    """The records in the byte order of their users, as LMDB wants them."""
    context.engine.sql("select * from records order by user_id", name="sorted_records")
    for batch in context.engine.stream("sorted_records", batch_rows=4096):
        columns = [batch.column(name).to_pylist() for name in _RESULT.names]
        yield from zip(*columns, strict=True)


def _erasure_table(erasures: Mapping[str, Erasure]) -> pa.Table:
    return pa.table(
        {
            "user_id": pa.array(list(erasures), pa.string()),
            "time_us": pa.array([erasure.time_us for erasure in erasures.values()], pa.int64()),
            "position": pa.array([erasure.position for erasure in erasures.values()], pa.int64()),
        }
    )


def _flatten(batch: pa.RecordBatch) -> ActionColumns:
    """All actions of a batch in one, user after user, each oldest first."""

    def texts(name: str) -> list[str]:
        found: list[str] = batch.column(name).flatten().to_pylist()
        return found

    def numbers(name: str, kind: type[np.generic]) -> Any:
        return batch.column(name).flatten().to_numpy(zero_copy_only=False).astype(kind)

    return ActionColumns(
        texts("action_id"),
        texts("pin_id"),
        texts("board_id"),
        texts("list_id"),
        numbers("type_number", np.uint8),
        numbers("action_time_us", np.int64),
        numbers("strength", np.float32),
        numbers("log_position", np.int64),
    )


def _slice(flat: ActionColumns, low: int, high: int) -> ActionColumns:
    return ActionColumns(
        flat.action_ids[low:high],
        flat.pin_ids[low:high],
        flat.board_ids[low:high],
        flat.list_ids[low:high],
        flat.action_types[low:high],
        flat.times_us[low:high],
        flat.strengths[low:high],
        flat.positions[low:high],
    )


def _inputs(pins: LivePins) -> dict[str, str]:
    opened = (live.snapshot() for live in (pins.catalogue, pins.vectors))
    return {live[0].artifact: live[0].id for live in opened if live is not None}


def main() -> None:
    """Run the job as a process."""
    run_job("rebuild_profiles", run, ProfileConfig)


if __name__ == "__main__":
    main()
