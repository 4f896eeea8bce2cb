"""The composition root: opens artifacts, wires sources, makes the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from candidate_service import graph, pin_vectors, save_index
from candidate_service.artifacts import Artifacts
from candidate_service.boards import BoardFinder
from candidate_service.candidate import CandidateQuery, Segment, Stop
from candidate_service.candidate_encoding import CallLimits
from candidate_service.catalogue import Catalogue
from candidate_service.config import CandidateConfig
from candidate_service.duplicates import duplicates_of
from candidate_service.filters import Filters, LiveColumns
from candidate_service.graph_access import walker_of
from candidate_service.live import journal as live_journal
from candidate_service.live.erasure import Erasures
from candidate_service.live.exported import exported_positions
from candidate_service.live.journal import JournalSettings, LiveJournal
from candidate_service.live.pin_view import PinView
from candidate_service.live.segment import LivePart
from candidate_service.live.servicer import LiveCalls
from candidate_service.live.writes import LiveWrites
from candidate_service.pin_groups import BoardGroups
from candidate_service.pin_search import PinSearch
from candidate_service.pin_vectors import open_vectors
from candidate_service.retrieval import EnabledSource, Outcome, Retrieval, Status
from candidate_service.save_index import SaveIndex
from candidate_service.search_servicer import search_parts
from candidate_service.selection import Screen
from candidate_service.servicer import CandidateServicer, Parts
from candidate_service.source_registry import SourceContext, SourcePlugin, load_plugins
from candidate_service.sources.text_search import search_settings
from corkboard.candidate.v1 import candidate_service_pb2_grpc as wire_grpc
from service_runtime.access import Role
from service_runtime.clock import system_clock
from service_runtime.errors import NotReady
from service_runtime.generation_metrics import GenerationMetrics
from service_runtime.generations import GenerationWatcher, open_generations
from service_runtime.grpc_server import Server
from service_runtime.telemetry import Metrics, logger
from service_runtime.vector_table import VectorTable

NAME = "candidate_service"
SERVICE = "corkboard.candidate.v1.CandidateService"

ROLES = {
    "RetrieveCandidates": Role.READER,
    "RetrieveBoards": Role.READER,
    "GetPins": Role.READER,
    "SearchPins": Role.READER,
    "ListSources": Role.READER,
    "UpsertPins": Role.WRITER,
    "DeletePins": Role.WRITER,
    "UpsertSaves": Role.WRITER,
    "DeleteSaves": Role.WRITER,
    "EraseUser": Role.OPERATOR,
    "GetErasure": Role.OPERATOR,
}
"""What callers need for each method, where access is limited."""
WARM_UP_PIN_COUNT = 16
WARM_UP_S = 60.0
"""Compiling the kernels for the first time takes seconds, on a busy machine many. A source that has
not answered by then is late until it does, as during requests; the start does not wait for it."""
SPARE_THREAD_COUNT = 2
"""Threads beyond the cores, so that late sources leave some to the others."""


log = logger("candidate_service")


def build(config: CandidateConfig) -> Server:
    """Wire the service. Opens what was built, starts nothing."""
    metrics = Metrics(NAME)
    artifacts = Artifacts(open_generations(config.data_root, config.generations_url))
    GenerationMetrics(metrics, artifacts.lives)
    plugins = load_plugins(config.sources)
    retrieval = Retrieval(
        build_sources(plugins, SourceContext(config, artifacts, metrics)),
        thread_count=config.source_thread_count or config.cores() + SPARE_THREAD_COUNT,
        stuck_count_max=config.source_stuck_count_max,
        grace_s=config.source_grace_ms / 1000,
        clock=time.monotonic,
        on_outcome=outcome_recorder(metrics),
    )
    filters = Filters(config.filters, mask_count_max=config.filter_cached_mask_count)
    journal = open_journal(config, artifacts, live_parts(plugins, filters))
    watch_journal(journal, metrics)
    parts = build_parts(config, artifacts, retrieval, journal, filters, metrics)
    servicer = CandidateServicer(parts, call_limits(config))
    artifacts.follow(journal)
    periods = (config.generation_poll_seconds, config.fetch_seconds())
    watcher = GenerationWatcher(artifacts.lives(), *periods)

    def add_services(server: grpc.Server) -> None:
        wire_grpc.add_CandidateServiceServicer_to_server(servicer, server)

    def begin() -> None:
        warm_up(artifacts, retrieval, thread_count=config.workers() + SPARE_THREAD_COUNT)
        watcher.start()
        journal.start()

    def end() -> None:
        watcher.stop()
        retrieval.close()
        journal.close()

    return Server(
        config,
        name=NAME,
        add_services=add_services,
        service_names=(SERVICE,),
        warm_up=begin,
        close=end,
        metrics=metrics,
        roles=ROLES,
    )


def build_parts(
    config: CandidateConfig,
    artifacts: Artifacts,
    retrieval: Retrieval,
    journal: LiveJournal,
    filters: Filters,
    metrics: Metrics,
) -> Parts:
    """Put together what the verbs answer from."""
    clock = system_clock(config.fixed_time)
    walker = walker_of(artifacts, config)
    return Parts(
        served=artifacts.served,
        view=PinView(artifacts.served, vectors_of(artifacts)),
        search=search_parts(artifacts, PinSearch(search_settings(config))),
        boards=BoardFinder(walker),
        graph_generation=partial(artifacts.generation, graph.ARTIFACT),
        live=LiveCalls(
            LiveWrites(
                journal,
                clock=clock,
                future_seconds_max=config.live_future_seconds_max,
                metrics=metrics,
            ),
            Erasures(journal, config.data_root),
        ),
        retrieval=retrieval,
        filters=filters,
        board_groups=BoardGroups(lambda: walker().graph),
        duplicates=duplicates_of(artifacts),
        as_of_us=partial(oldest_data_us, artifacts),
        now_us=lambda: round(clock() * 1e6),
        clock=time.monotonic,
    )


def call_limits(config: CandidateConfig) -> CallLimits:
    """Return what bounds one call."""
    return CallLimits(
        deadline_s=config.retrieval_deadline_ms / 1000,
        grace_s=config.source_grace_ms / 1000,
        medoid_sample_count=config.medoid_sample_count,
        medoid_count_max=config.medoid_count_max,
        query_half_life_days=config.query_half_life_days,
        answer_bytes_max=config.request_bytes_max,
    )


def build_sources(plugins: Sequence[SourcePlugin], context: SourceContext) -> list[EnabledSource]:
    """Open the artifacts of sources, in their order."""
    return [_enabled(plugin, context) for plugin in plugins]


def _enabled(plugin: SourcePlugin, context: SourceContext) -> EnabledSource:
    source, config = plugin.make(context), context.config
    return EnabledSource(
        source,
        candidate_count=config.candidate_counts.get(plugin.name, plugin.candidate_count),
        leaves_out_excluded=plugin.leaves_out_excluded,
        generations=partial(context.artifacts.generations, source.artifacts),
        is_quick=plugin.is_quick,
        deadline_share=config.source_deadline_shares.get(plugin.name, 1.0),
    )


def live_parts(
    plugins: Sequence[SourcePlugin], filters: Filters
) -> list[Callable[[Catalogue], LivePart]]:
    """Return what makes the parts of a segment: those of the sources, and the filters' own."""

    def columns(catalogue: Catalogue) -> LivePart:
        filters.prepare(catalogue)  # a segment is made before its catalogue serves
        return LiveColumns(len(catalogue))

    made: list[Callable[[Catalogue], LivePart]] = [
        plugin.live_part for plugin in plugins if plugin.live_part is not None
    ]
    return [*made, columns]


def vectors_of(artifacts: Artifacts) -> Callable[[], VectorTable]:
    """Return what gives the vectors of the catalogue's pins, or raises NotReady."""
    return artifacts.add(pin_vectors.ARTIFACT, pin_vectors.FORMAT_VERSION, open_vectors)


def open_journal(
    config: CandidateConfig,
    artifacts: Artifacts,
    parts: Sequence[Callable[[Catalogue], LivePart]],
) -> LiveJournal:
    """Open the log of changes and what is needed to take imported saves back."""
    clock = system_clock(config.fixed_time)
    get_index = artifacts.add(save_index.ARTIFACT, save_index.FORMAT_VERSION, SaveIndex.open)

    def index_or_none() -> SaveIndex | None:
        try:
            return get_index()
        except NotReady:
            return None

    get_vectors = vectors_of(artifacts)

    def vectors_or_none() -> NDArray[np.float32] | None:
        try:
            return get_vectors().vectors
        except NotReady:
            return None

    def make_parts(catalogue: Catalogue | None) -> list[LivePart]:
        return [] if catalogue is None else [make(catalogue) for make in parts]

    return LiveJournal(
        JournalSettings(
            folder=config.data_root / live_journal.FOLDER,
            log_name=config.live_log_name and config.own_name(config.live_log_name),
            exported=exported_positions(config.data_root),
            poll_seconds=config.live_poll_ms / 1000,
            clock_us=lambda: round(clock() * 1e6),
            parts=make_parts,
            save_index=index_or_none,
            vectors=vectors_or_none,
        )
    )


def watch_journal(journal: LiveJournal, metrics: Metrics) -> None:
    """Show how the journal gets on."""
    counts = journal.counts
    for name, told, read in (
        ("live_changes", "Changes since the catalogue.", journal.change_count),
        ("live_pins", "Pins younger than the catalogue.", journal.pin_count),
        ("live_commits", "Syncs of the live log.", lambda: counts.commit_count),
        ("live_records", "Records written to the live log.", lambda: counts.record_count),
        ("live_followed", "Records of other processes.", lambda: counts.followed_count),
        ("live_unreadable", "Records nobody could read.", lambda: counts.unreadable_count),
        ("live_replay_seconds", "Time of the last replay.", lambda: counts.replay_seconds),
    ):
        metrics.gauge(name, told).set_function(read)


def oldest_data_us(artifacts: Artifacts, names: Sequence[str]) -> int | None:
    """Return up to when the oldest of some artifacts' data reaches; None while one is missing."""
    pairs = [live.snapshot() for live in artifacts.lives() if live.artifact in names]
    if not pairs or any(pair is None for pair in pairs):
        return None
    return min(pair[0].manifest.as_of_us for pair in pairs if pair is not None)


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
    languages = ("", *tags[:1])  # walks with a bias to a language are kernels of their own

    def ask(limits: Mapping[str, int], seed: int, language: str) -> list[Outcome]:
        query = CandidateQuery(
            query_rows=rows,
            weights=np.ones(len(rows), np.float32),
            seed=seed,
            segment=Segment(language),
            stop=Stop.after(WARM_UP_S, time.monotonic),
        )
        return retrieval.ask(query, limits, Screen(query.excluded_rows, count))

    # Once alone: a source that hangs holds one thread then, not all, and the others get theirs.
    first = ask(dict.fromkeys(retrieval.sources, 0), 0, "")
    late = [outcome.candidates.source for outcome in first if outcome.status == Status.LATE]
    if late:
        log.warning("warm_up.sources_left_out", sources=late, waited_seconds=WARM_UP_S)
    limits = {name: 0 for name in retrieval.sources if name not in late}
    with ThreadPoolExecutor(thread_count) as pool:
        for seed in range(thread_count):
            for language in languages:
                pool.submit(ask, limits, seed, language)
