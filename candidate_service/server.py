"""The composition root: opens artifacts, wires sources, makes the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import grpc
import numpy as np

from candidate_service import cooccurrence, graph, vector_index
from candidate_service.artifacts import Artifacts
from candidate_service.candidate import CandidateQuery, CandidateSource, Segment, Stop
from candidate_service.config import CandidateConfig
from candidate_service.cooccurrence import NeighbourLists
from candidate_service.graph import PinBoardGraph
from candidate_service.retrieval import EnabledSource, Outcome, Retrieval
from candidate_service.servicer import CandidateServicer
from candidate_service.sources import popular
from candidate_service.sources.ann import AnnSource, NeighbourCache
from candidate_service.sources.board_cooccurrence import BoardCooccurrenceSource
from candidate_service.sources.pixie import PixieSource
from candidate_service.sources.popular import PopularSource
from candidate_service.vector_index import open_index
from candidate_service.walk import Walker
from corkboard.candidate.v1 import candidate_service_pb2_grpc as wire_grpc
from service_runtime.config import core_count
from service_runtime.errors import NotReady
from service_runtime.generations import Generation, GenerationStore, GenerationWatcher
from service_runtime.grpc_server import Server
from service_runtime.telemetry import Metrics

NAME = "candidate_service"
SERVICE = "corkboard.candidate.v1.CandidateService"
PREPARED = frozenset({"board_cooccurrence", "popular"})
"""Sources that only read prepared lists: a tenth of a millisecond, no walk, no search."""
WARM_UP_PIN_COUNT = 16
WARM_UP_S = 180.0
"""Compiling the kernels for the first time takes seconds, on a busy machine many."""
SPARE_THREAD_COUNT = 2
"""Threads beyond the cores, so that late sources leave some to the others."""


def build(config: CandidateConfig) -> Server:
    """Wire the service. Opens what was built, starts nothing."""
    metrics = Metrics(NAME)
    refused = metrics.counter("generations_refused", "Generations found bad.", ("artifact",))
    artifacts = Artifacts(
        GenerationStore(config.data_root / "generations"),
        on_refused=lambda artifact, _: refused.labels(artifact).inc(),
    )
    retrieval = Retrieval(
        build_sources(config, artifacts, metrics),
        thread_count=config.source_thread_count or core_count() + SPARE_THREAD_COUNT,
        stuck_count_max=config.source_stuck_count_max,
        grace_s=config.source_grace_ms / 1000,
        clock=time.monotonic,
        on_outcome=outcome_recorder(metrics),
    )
    servicer = CandidateServicer(
        artifacts,
        retrieval,
        deadline_s=config.retrieval_deadline_ms / 1000,
        grace_s=config.source_grace_ms / 1000,
        medoid_sample_count=config.medoid_sample_count,
    )
    watcher = GenerationWatcher(artifacts.lives(), config.generation_poll_seconds)

    def add_services(server: grpc.Server) -> None:
        wire_grpc.add_CandidateServiceServicer_to_server(servicer, server)

    def begin() -> None:
        warm_up(artifacts, retrieval, thread_count=config.workers() + SPARE_THREAD_COUNT)
        watcher.start()

    def end() -> None:
        watcher.stop()
        retrieval.close()

    return Server(
        config,
        name=NAME,
        add_services=add_services,
        service_names=(SERVICE,),
        warm_up=begin,
        close=end,
        metrics=metrics,
    )


def build_sources(
    config: CandidateConfig, artifacts: Artifacts, metrics: Metrics
) -> list[EnabledSource]:
    """Open the artifacts of the enabled sources, in the order of the settings."""
    makers: Mapping[str, Callable[[], CandidateSource]] = {
        "ann": lambda: _ann(config, artifacts, metrics),
        "board_cooccurrence": lambda: BoardCooccurrenceSource(
            artifacts.add(cooccurrence.ARTIFACT, cooccurrence.FORMAT_VERSION, NeighbourLists.open)
        ),
        "pixie": lambda: _pixie(config, artifacts),
        "popular": lambda: PopularSource(
            artifacts.add(popular.ARTIFACT, popular.FORMAT_VERSION, popular.open_lists)
        ),
    }
    quotas = config.quotas()
    return [
        EnabledSource(
            source := makers[name](),
            candidate_count=quotas[name],
            leaves_out_excluded=True,
            generations=partial(artifacts.generations, source.artifacts),
            is_quick=name in PREPARED,
        )
        for name in config.sources
    ]


def _ann(config: CandidateConfig, artifacts: Artifacts, metrics: Metrics) -> AnnSource:
    def open_neighbours(generation: Generation) -> NeighbourCache:
        return NeighbourCache(open_index(generation), config.ann_cached_answer_count)

    neighbours = artifacts.add(vector_index.ARTIFACT, vector_index.FORMAT_VERSION, open_neighbours)
    remembered = metrics.gauge(
        "ann_remembered_ratio", "Share of neighbour lists answered from memory."
    )
    remembered.set_function(lambda: _ratio(neighbours))
    return AnnSource(neighbours)


def _pixie(config: CandidateConfig, artifacts: Artifacts) -> PixieSource:
    def open_walker(generation: Generation) -> Walker:
        opened = PinBoardGraph.open(generation, in_memory=config.graph_in_memory)
        return Walker(opened, config.pixie_settings())

    return PixieSource(artifacts.add(graph.ARTIFACT, graph.FORMAT_VERSION, open_walker))


def _ratio(neighbours: Callable[[], NeighbourCache]) -> float:
    try:
        cache = neighbours()
    except NotReady:
        return 0.0
    return cache.hit_count / max(1, cache.hit_count + cache.miss_count)


def outcome_recorder(metrics: Metrics) -> Callable[[Outcome], None]:
    """Return what counts and times each source's answers."""
    outcomes = metrics.counter("source_outcomes", "Questions ended.", ("source", "status"))
    seconds = metrics.histogram("source_seconds", "Time of a source's answer.", ("source",))
    candidates = metrics.counter("source_candidates", "Candidates answered.", ("source",))

    @cache  # looking a label up costs more than counting
    def series(source: str, status: str) -> tuple[Any, Any, Any]:
        return outcomes.labels(source, status), seconds.labels(source), candidates.labels(source)

    def record(outcome: Outcome) -> None:
        ended, took, answered = series(outcome.candidates.source, outcome.status.value)
        ended.inc()
        took.observe(outcome.duration_us / 1e6)
        answered.inc(len(outcome.candidates))

    return record


def warm_up(artifacts: Artifacts, retrieval: Retrieval, *, thread_count: int) -> None:
    """Ask every source from every thread once: compiles kernels, maps pages, opens views."""
    try:
        catalogue = artifacts.catalogue()
    except NotReady:
        return  # nothing was built yet; the watcher will find it
    count = len(catalogue)
    rows = np.unique(np.linspace(0, count - 1, WARM_UP_PIN_COUNT, dtype=np.int32)[:count])
    tags = catalogue.known_of(rows).column("language").drop_null().to_pylist()
    queries = [
        CandidateQuery(
            query_rows=rows,
            weights=np.ones(len(rows), np.float32),
            seed=seed,
            segment=Segment(language),
            stop=Stop.after(WARM_UP_S, time.monotonic),
        )
        for seed in range(thread_count)
        for language in ("", *tags[:1])  # walks with a bias to a language are kernels of their own
    ]
    limits = dict.fromkeys(retrieval.sources, 0)
    with ThreadPoolExecutor(thread_count) as pool:
        for query in queries:
            pool.submit(retrieval.ask, query, limits, pin_count=count)
