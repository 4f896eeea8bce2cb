"""The composition root: opens the stores, wires the servicer."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from corkboard.profile.v1 import profile_service_pb2 as pb
from corkboard.profile.v1 import profile_service_pb2_grpc as pb_grpc
from profile_service import generation_store
from profile_service.action_export import (
    actions_folder,
    count_logged,
    export_actions,
    exported_position,
)
from profile_service.actions import Action, ActionType, columns_of
from profile_service.config import ProfileConfig
from profile_service.generation_store import ProfileStore
from profile_service.online import fold
from profile_service.pin_space import CataloguePins, LivePins
from profile_service.profile_metrics import LogFigures, ProfileFigures
from profile_service.profiles import Profiles
from profile_service.recording import Recording
from profile_service.servicer import ProfileServicer
from profile_service.store import ActionLog, live_folder
from profile_service.user_export import export_users, users_folder
from service_runtime.access import Role
from service_runtime.clock import system_clock
from service_runtime.generation_metrics import GenerationMetrics
from service_runtime.generations import Generation, GenerationWatcher, Live, open_generations
from service_runtime.grpc_server import Server
from service_runtime.periodic import Periodic
from service_runtime.telemetry import Metrics

NAME = "profile_service"

ROLES = {
    "GetProfile": Role.READER,
    "BatchGetProfiles": Role.READER,
    "ListActions": Role.READER,
    "RecordActions": Role.WRITER,
    "DeclareInterests": Role.WRITER,
    "UpdateUser": Role.WRITER,
    "AdjustCluster": Role.WRITER,
    "MergeUsers": Role.WRITER,
    "EraseUser": Role.OPERATOR,
    "GetErasure": Role.OPERATOR,
}
"""What callers need for each method, where access is limited."""


def build(config: ProfileConfig) -> Server:
    """Wire the service. Opens files, starts no server."""
    metrics = Metrics(NAME)
    generations = open_generations(config.data_root, config.generations_url)
    log = ActionLog(
        live_folder(config.data_root),
        map_bytes=config.live_map_bytes,
        sync_delay_s=config.sync_delay_seconds,
        first_position=exported_position(actions_folder(config.data_root)) + 1,
        on_broken=lambda: server.fail("the disk failed under the action log"),
    )
    pins = LivePins(generations)
    profiles = Live(
        generations, generation_store.ARTIFACT, generation_store.FORMAT_VERSION, open_profiles
    )
    lives: Sequence[Live[Any]] = (pins.catalogue, pins.vectors, profiles)
    watcher = GenerationWatcher(lives, config.generation_poll_seconds, config.fetch_seconds())
    reader = Profiles(
        log,
        profiles,
        pins.get,
        config.rules(),
        online_action_count_max=config.online_action_count_max,
        count_logged=partial(_count_logged, config.data_root),
    )
    servicer = _servicer(config, reader, log, metrics)
    LogFigures(
        metrics,
        usage=log.usage,
        last_position=log.last_position,
        watermark=lambda: _watermark(profiles),
        commit_count=lambda: log.commit_count,
    )
    GenerationMetrics(metrics, lambda: lives)

    export = _export(config, log)

    def warm_up() -> None:
        _compile_kernels(config)
        watcher.start()
        export.start()

    def close() -> None:
        watcher.stop()
        export.stop()
        log.close()

    server = Server(
        config,
        name=NAME,
        add_services=lambda server: pb_grpc.add_ProfileServiceServicer_to_server(servicer, server),
        service_names=[pb.DESCRIPTOR.services_by_name["ProfileService"].full_name],
        warm_up=warm_up,
        close=close,
        metrics=metrics,
        roles=ROLES,
        subject_field="user_id",
    )
    return server


def _export(config: ProfileConfig, log: ActionLog) -> Periodic:
    """What writes the log to the data root now and then; one process of several does."""

    def export_live() -> None:
        export_actions(log, actions_folder(config.data_root), up_to=log.last_position())
        export_users(log, users_folder(config.data_root))

    export_seconds = config.export_every_seconds if config.process_number <= 1 else 0.0
    return Periodic("export-live", export_live, every_seconds=export_seconds)


def _count_logged(data_root: Path, user_id: str) -> int:
    """How many exported rows name a user."""
    return sum(
        count_logged(folder(data_root), user_id) for folder in (actions_folder, users_folder)
    )


def _servicer(
    config: ProfileConfig, profiles: Profiles, log: ActionLog, metrics: Metrics
) -> ProfileServicer:
    return ProfileServicer(
        profiles,
        log,
        Recording(log, future_seconds_max=config.future_seconds_max, metrics=metrics),
        clock=system_clock(config.fixed_time),
        make_id=lambda: uuid.uuid4().hex,
        listed_action_count_default=config.listed_action_count_default,
        cluster_count_default=config.cluster_count_default,
        figures=ProfileFigures(metrics),
    )


def open_profiles(generation: Generation) -> ProfileStore:
    """Map the profiles of a generation."""
    return ProfileStore(generation.file(generation_store.FILE))


def _compile_kernels(config: ProfileConfig) -> None:
    """Load the compiled kernels before the first caller needs them."""
    space = CataloguePins(None, np.eye(4, dtype=np.float32))
    actions = columns_of([Action(f"{n}", "u", f"{n}", ActionType.SAVE, n) for n in range(4)])
    fold(None, actions, None, space, config.rules(), now=0.0)


def _watermark(profiles: Live[ProfileStore]) -> int | None:
    """Log position up to which the serving generation knows everything; None without one."""
    live = profiles.snapshot()
    return None if live is None else int(live[0].manifest.details["watermark"])
