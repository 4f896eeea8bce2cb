"""The composition root: where concrete parts meet; reading it is reading the architecture."""

from collections.abc import Callable, Sequence
from typing import Final

import grpc
import numpy as np

from corkboard.ranking.v1 import ranking_service_pb2
from corkboard.ranking.v1.ranking_service_pb2_grpc import add_RankingServiceServicer_to_server
from ranking_service.config import RankingConfig
from ranking_service.confirmations import Confirmations
from ranking_service.erasure import Erasures
from ranking_service.erasure_follower import ErasureFollower
from ranking_service.erasure_upstream import ErasureUpstream
from ranking_service.experiment_results import ExperimentResults
from ranking_service.features import FEATURE_NAMES, feature_rows, make_context
from ranking_service.hand_tuned import make_hand_tuned
from ranking_service.impressions import GenerationTimes, ImpressionLog
from ranking_service.memboost.keeper import MemboostKeeper
from ranking_service.model_choice import ModelChoice
from ranking_service.page_book import PageBook
from ranking_service.planner import Planner
from ranking_service.pool import pool_of
from ranking_service.profile import Profile
from ranking_service.query import Surface, Viewer
from ranking_service.ranker import Rankers
from ranking_service.recommend import Recommender
from ranking_service.rotation import ShownLately
from ranking_service.servicer import RankingServicer
from ranking_service.shadow import Shadow
from ranking_service.skew import SkewCheck
from ranking_service.upstream import Upstream, make_stubs
from ranking_service.world import Artifacts
from service_runtime.access import Role
from service_runtime.clock import Clock, system_clock
from service_runtime.ended_logs import open_log
from service_runtime.errors import NotReady
from service_runtime.event_log import EventLog
from service_runtime.generation_metrics import GenerationMetrics
from service_runtime.generation_store import GenerationStore
from service_runtime.generations import open_generations
from service_runtime.grpc_client import channel_files, open_channel
from service_runtime.grpc_server import Server
from service_runtime.live import GenerationWatcher, Polled
from service_runtime.telemetry import Metrics

NAME: Final = "ranking_service"
_SERVICE: Final = ranking_service_pb2.DESCRIPTOR.services_by_name["RankingService"].full_name

ROLES = {
    "RecommendPins": Role.READER,
    "BatchRecommendPins": Role.READER,
    "RankPins": Role.READER,
    "ExplainPin": Role.READER,
    "ListModels": Role.READER,
    "GetMemboost": Role.READER,
    "GetExperiment": Role.READER,
    "RecordImpressions": Role.WRITER,
    "ResetMemboost": Role.OPERATOR,
    "EraseUser": Role.OPERATOR,
    "GetErasure": Role.OPERATOR,
}
"""What callers need for each method, where access is limited."""


def build(config: RankingConfig) -> Server:
    """Wire the service: opens files, starts nothing but the impression log's thread."""
    metrics = Metrics(NAME)
    clock = system_clock(config.fixed_time)
    store = open_generations(config.data_root, config.generations_url)
    artifacts = Artifacts(store)
    rankers, models = _models(store, config)
    shown_log, confirmed_log = _open_log(config, "impressions"), _open_log(config, "shown")
    impressions = _impressions(shown_log, store, config, metrics)
    targets = (config.profile_target, config.candidate_target)
    channels = [_open_channel(config, target) for target in targets]
    upstream = Upstream(make_stubs(*channels), config, metrics)
    memboost = MemboostKeeper(store, config.data_root / "live", config, metrics, clock)
    results = ExperimentResults(store)
    planner = Planner(config.scenario_file, config, stopped=results.stopped, metrics=metrics)
    pages = PageBook(config.data_root / "live" / "pages", config.page_seconds, clock)
    lately = _shown_lately(config, clock, metrics)
    shadow = _shadow(store, rankers, config, metrics)
    recommender = Recommender(
        artifacts=artifacts,
        models=models,
        upstream=upstream,
        impressions=impressions,
        memory=memboost,
        planner=planner,
        pages=pages,
        lately=lately,
        skew=SkewCheck(share=config.skew_check_share, alarm=config.skew_alarm, metrics=metrics),
        shadow=shadow,
        config=config,
        clock=clock,
    )
    servicer = RankingServicer(
        recommender,
        rankers,
        memboost,
        Confirmations(confirmed_log, config, clock, memboost.note_confirmed),
        Erasures(
            config.data_root,
            _open_log(config, "erased_users"),
            memboost=memboost,
            remembered=upstream.memory,
            lately=lately,
            logs=(shown_log, confirmed_log),
            others=ErasureUpstream(make_stubs(*channels), config),
            follow_seconds=2 * config.generation_poll_seconds + config.deadline_seconds_max,
            clock=clock,
        ),
        experiments=lambda name: (planner.shares(name), results.of(name)),
        shadow=shadow,
        config=config,
        clock=clock,
    )
    lives = (*artifacts.lives, rankers.live, shadow.live, memboost.live, results.live)
    GenerationMetrics(metrics, lambda: lives)
    erased = ErasureFollower(config.data_root, upstream.memory, config.deadline_seconds_max)
    watcher = _watcher((*lives, planner, pages, lately, erased), config)
    closing = [watcher.stop, *(channel.close for channel in channels)]
    closing += [shadow.close, impressions.close, memboost.close, servicer.close]
    return _server(
        config, servicer, metrics, _starts(artifacts, rankers, (memboost, shadow, watcher)), closing
    )


def _watcher(polled: Sequence[Polled], config: RankingConfig) -> GenerationWatcher:
    """What looks for new generations, and for what else is followed."""
    return GenerationWatcher(polled, config.generation_poll_seconds, config.fetch_seconds())


def _impressions(
    log: EventLog, store: GenerationStore, config: RankingConfig, metrics: Metrics
) -> ImpressionLog:
    """The log of what is answered."""
    return ImpressionLog(
        log,
        queue_count_max=config.impression_queue_count_max,
        metrics=metrics,
        as_of_us=GenerationTimes(store.root).as_of_us,
    )


def _shown_lately(config: RankingConfig, clock: Clock, metrics: Metrics) -> ShownLately:
    """What users were shown, shared by all processes on the data root."""
    return ShownLately(
        config.data_root / "live" / "shown_lately",
        config.rotation_keep_seconds,
        config.rotation_user_count_max,
        clock=clock,
        metrics=metrics,
    )


def _models(store: GenerationStore, config: RankingConfig) -> tuple[Rankers, ModelChoice]:
    """The serving models, and the choice among all."""
    rankers = Rankers(
        store,
        make_hand_tuned(),
        feature_names=FEATURE_NAMES,
        objective_weights=config.objective_weights,
    )
    models = ModelChoice(
        rankers,
        store,
        make_hand_tuned(),
        feature_names=FEATURE_NAMES,
        objective_weights=config.objective_weights,
    )
    return rankers, models


def _shadow(
    store: GenerationStore, rankers: Rankers, config: RankingConfig, metrics: Metrics
) -> Shadow:
    """The staged model beside the serving one."""
    return Shadow(
        store,
        rankers,
        share=config.shadow_share,
        queue_count_max=config.shadow_queue_count_max,
        gain_default=config.memboost_gain,
        feature_names=FEATURE_NAMES,
        objective_weights=config.objective_weights,
        metrics=metrics,
    )


def _open_channel(config: RankingConfig, target: str) -> grpc.Channel:
    """A channel to one of the other services."""
    return open_channel(
        target,
        message_bytes_max=config.request_bytes_max,
        attempts_max=config.upstream_attempts_max,
        tls=channel_files(config),
        token_file=config.token_file,
    )


def _starts(
    artifacts: Artifacts,
    rankers: Rankers,
    parts: Sequence[MemboostKeeper | Shadow | GenerationWatcher],
) -> Callable[[], None]:
    """What happens before the server says that it is ready."""

    def start() -> None:
        warm_up(artifacts, rankers)
        for part in parts:
            part.start()

    return start


def _server(
    config: RankingConfig,
    servicer: RankingServicer,
    metrics: Metrics,
    start: Callable[[], None],
    closing: Sequence[Callable[[], None]],
) -> Server:
    """The server around the servicer."""

    def close() -> None:
        for part in closing:
            part()

    return Server(
        config,
        name=NAME,
        add_services=lambda server: add_RankingServiceServicer_to_server(servicer, server),
        service_names=[_SERVICE],
        warm_up=start,
        close=close,
        metrics=metrics,
        roles=ROLES,
        subject_field="user_id",
    )


def _open_log(config: RankingConfig, name: str) -> EventLog:
    """This process's own log of a kind."""
    return open_log(config.data_root / "live" / name / config.own_name(config.impression_log_name))


def warm_up(artifacts: Artifacts, rankers: Rankers) -> None:
    """Compile or load every kernel by ranking some pins; nothing to do without a catalogue."""
    try:
        world = artifacts.world()
    except NotReady:
        return
    pool = pool_of(np.arange(min(32, len(world.catalogue.pin_ids)), dtype=np.int32))
    ids = tuple(world.catalogue.pin_ids.ids(pool.rows[:1]))
    ones = np.ones(len(ids))
    profile = Profile(ids, ones.astype(np.float32), ones.astype(np.int32), ones)
    context = make_context(
        world,
        profile,
        Viewer(),
        surface=Surface.RELATED_PINS,
        query_row=0 if ids else -1,
        now=0.0,
    )
    features = feature_rows(pool, context)
    for surface in Surface:
        rankers.serving(surface).ranker.score(features)
