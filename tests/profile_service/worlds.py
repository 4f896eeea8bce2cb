"""Small valid things, one a line, and a real server on a free port."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from corkboard.profile.v1 import profile_service_pb2 as pb
from corkboard.profile.v1 import profile_service_pb2_grpc as pb_grpc
from profile_service import generation_store
from profile_service.actions import Action, ActionType
from profile_service.config import ProfileConfig
from profile_service.generation_store import ProfileStore
from profile_service.jobs import rebuild_profiles
from profile_service.online import Rules
from profile_service.server import build
from profile_service.store import ActionLog, open_for_jobs
from service_runtime.generations import GenerationStore, Live
from service_runtime.id_table import IdTable
from service_runtime.job import JobContext
from service_runtime.vector_table import VectorTable

NOW = 1_767_225_600.0
DAY = 86_400.0
RULES = Rules(
    alpha=1.0,
    decay_per_day=0.01,
    window_days=90,
    cluster_action_count_max=3000,
    declared_evidence_half=3.0,
)
AXES = {"tea": 0, "pot": 0, "cup": 0, "car": 1, "bus": 1, "oak": 2}
"""Pins of three interests that share nothing."""


def action(
    name: str,
    pin_id: str = "tea",
    *,
    user_id: str = "anna",
    kind: ActionType = ActionType.SAVE,
    age_days: float = 1.0,
    **other: Any,
) -> Action:
    """An action of Anna's a day ago."""
    return Action(name, user_id, pin_id, kind, round((NOW - age_days * DAY) * 1e6), **other)


def axes_vectors() -> NDArray[np.float32]:
    """One unit vector a pin: its axis and a little noise."""
    vectors = np.eye(3)[list(AXES.values())]
    vectors = vectors + np.random.default_rng(5).normal(0, 0.05, vectors.shape)
    found: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(
        np.float32
    )
    return found


@dataclass(frozen=True)
class Space:
    """The pins of AXES, nearly alike within an interest."""

    pins: tuple[str, ...] = tuple(AXES)
    table: NDArray[np.float32] = field(default_factory=axes_vectors)

    def rows(self, pin_ids: Sequence[str]) -> NDArray[np.int32]:
        """Place in AXES, -1 for others."""
        places = [self.pins.index(name) if name in self.pins else -1 for name in pin_ids]
        return np.array(places, np.int32)

    def vectors_of(self, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """Their vectors."""
        return self.table[rows]


def publish_pins(root: Path) -> None:
    """Publish AXES as a catalogue with vectors."""
    store = GenerationStore(root / "generations")
    with store.draft("catalogue", format_version=1) as draft:
        IdTable.build(pa.array(list(AXES)), draft.path("pin_ids"))
        draft.publish(as_of_us=0, details={"id_space": "here", "pin_count": len(AXES)})
    with store.draft("pin_vectors", format_version=1) as draft:
        VectorTable.write(draft.path("vectors.npy"), axes_vectors())
        draft.publish(as_of_us=0, details={"id_space": "here", "pin_count": len(AXES)})


def config_of(root: Path, **settings: Any) -> ProfileConfig:
    """Settings for a test."""
    defaults = {
        "data_root": root,
        "port": 0,
        "metrics_port": 0,
        "worker_count": 4,
        "live_map_bytes": 1 << 28,
        "generation_poll_seconds": 0.02,
        "drain_wait_seconds": 0,
        "fixed_time": NOW,
    }
    return ProfileConfig(**{**defaults, **settings})


def rebuild(
    root: Path,
    *,
    as_of: float = NOW,
    open_log: rebuild_profiles.LogOpener = open_for_jobs,
    **settings: Any,
) -> dict[str, Any]:
    """Run the batch job."""
    context = JobContext(config=config_of(root, **settings), as_of_us=round(as_of * 1e6))
    try:
        return dict(rebuild_profiles.run(context, open_log=open_log))
    finally:
        context.close()


def open_log(folder: Path, **settings: Any) -> ActionLog:
    """A live log of modest size."""
    return ActionLog(folder, **{"map_bytes": 1 << 28, **settings})


def live_profiles(root: Path) -> Live[ProfileStore]:
    """The generations of profiles below a data root."""
    return Live(
        GenerationStore(root / "generations"),
        generation_store.ARTIFACT,
        generation_store.FORMAT_VERSION,
        lambda generation: ProfileStore(generation.file(generation_store.FILE)),
    )


@contextmanager
def serving(root: Path, **settings: Any) -> Iterator[pb_grpc.ProfileServiceStub]:
    """A real server on a free port, and a stub that speaks to it."""
    server = build(config_of(root, **settings))
    port = server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield pb_grpc.ProfileServiceStub(channel)
    finally:
        server.stop(0)


def message(name: str, pin_id: str = "tea", *, user_id: str = "anna", **other: Any) -> pb.Action:
    """An action on the wire, a save unless it says otherwise."""
    other.setdefault("action_type", pb.ACTION_TYPE_SAVE)
    return pb.Action(action_id=name, user_id=user_id, pin_id=pin_id, **other)
