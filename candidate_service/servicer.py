"""The wire edge: messages to values, call, values to messages."""

# ruff: noqa: D102  methods are documented in the contract

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc

from candidate_service.artifacts import Served, steady
from candidate_service.boards import BoardFinder
from candidate_service.boards_servicer import BoardParts, BoardVerbs
from candidate_service.candidate import CandidateQuery, Stop
from candidate_service.candidate_encoding import (
    CallLimits,
    decode_limits,
    decode_pins,
    decode_query,
    decode_wanted,
    encode_candidates,
    encode_source,
    encode_sources,
)
from candidate_service.duplicates import Duplicates
from candidate_service.filters import Allowed, Filters, Wanted
from candidate_service.live.pin_view import PinView
from candidate_service.live.servicer import LiveCalls, LiveVerbs
from candidate_service.pin_groups import BoardGroups
from candidate_service.pins.servicer import PinVerbs
from candidate_service.retrieval import Retrieval
from candidate_service.search_servicer import SearchParts, SearchVerbs
from candidate_service.selection import Cap, Screen
from corkboard.candidate.v1 import candidate_service_pb2 as wire
from corkboard.candidate.v1 import candidate_service_pb2_grpc as wire_grpc
from service_runtime.call_context import remaining_seconds

ENCODING_MARGIN_S = 0.005
"""Kept of a call's deadline for uniting and encoding the lists."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the answers are made of.

    Attributes:
        served: Gives the catalogue with its changes.
        view: Looks pins up.
        search: Finds pins by words.
        boards: Finds boards by walks.
        graph_generation: Id of the graph that serves, or raises NotReady.
        live: Takes writes in.
        retrieval: The sources.
        filters: Which pins may be in an answer.
        board_groups: The board that a cap counts a pin for.
        duplicates: Gives near-duplicate groups, or raises NotReady.
        as_of_us: Up to when the oldest of some artifacts' data reaches; None while one is missing.
        now_us: The time, microseconds since the Unix epoch.
        clock: Monotonic seconds.
    """

    served: Callable[[], Served]
    view: PinView
    search: SearchParts
    boards: BoardFinder
    graph_generation: Callable[[], str]
    live: LiveCalls
    retrieval: Retrieval
    filters: Filters
    board_groups: BoardGroups
    duplicates: Callable[[], Duplicates]
    as_of_us: Callable[[Sequence[str]], int | None]
    now_us: Callable[[], int]
    clock: Callable[[], float]


class CandidateServicer(
    PinVerbs, SearchVerbs, BoardVerbs, LiveVerbs, wire_grpc.CandidateServiceServicer
):
    """CandidateService: what could be shown."""

    def __init__(self, parts: Parts, limits: CallLimits) -> None:
        """Serve from opened artifacts."""
        PinVerbs.__init__(self, parts.view, answer_bytes_max=limits.answer_bytes_max)
        SearchVerbs.__init__(self, parts.search, lambda *asked: self._allowed(*asked).rows)
        LiveVerbs.__init__(self, parts.live)
        BoardVerbs.__init__(
            self,
            BoardParts(
                served=parts.served,
                finder=parts.boards,
                generation=parts.graph_generation,
                allowed=lambda served: (
                    parts.filters.allowed(
                        served.catalogue, served.live, Wanted(), now_us=parts.now_us()
                    ).rows
                ),
                stop=self._stop,
                now_us=parts.now_us,
                half_life_days=limits.query_half_life_days,
                medoid_sample_count=limits.medoid_sample_count,
            ),
        )
        self._parts = parts
        self._limits = limits

    def RetrieveCandidates(
        self, request: wire.RetrieveCandidatesRequest, context: grpc.ServicerContext
    ) -> wire.RetrieveCandidatesResponse:
        stop = self._stop(context)
        return steady(self._parts.served, lambda served: self._retrieve(request, served, stop))

    def _retrieve(
        self, request: wire.RetrieveCandidatesRequest, served: Served, stop: Stop
    ) -> wire.RetrieveCandidatesResponse:
        queried = decode_pins(request, served.live, self._limits, self._parts.now_us())
        allowed = self._allowed(request, served)
        query = decode_query(request, served.live, queried, allowed, stop)
        limits = decode_limits(request, self._parts.retrieval.sources)
        outcomes = self._parts.retrieval.ask(query, limits, self._screen(request, served, query))
        return encode_candidates(
            served,
            queried,
            outcomes,
            self._parts.duplicates,
            answer_bytes_max=self._limits.answer_bytes_max,
        )

    def _stop(self, context: grpc.ServicerContext) -> Stop:
        """Return when this call is no longer waited for: its deadline, or its caller hanging up."""
        margin_s = ENCODING_MARGIN_S + self._limits.grace_s
        seconds = min(self._limits.deadline_s, remaining_seconds(margin_s))
        stop = Stop.after(seconds, self._parts.clock)
        context.add_callback(stop.cancel)
        return stop

    def _allowed(
        self, request: wire.RetrieveCandidatesRequest | wire.SearchPinsRequest, served: Served
    ) -> Allowed:
        filters = self._parts.filters
        wanted = decode_wanted(request.filter, request.viewer, filters)
        return filters.allowed(served.catalogue, served.live, wanted, now_us=self._parts.now_us())

    def _screen(
        self, request: wire.RetrieveCandidatesRequest, served: Served, query: CandidateQuery
    ) -> Screen:
        caps = []
        if request.owner_pin_count_max:
            owners = self._parts.filters.owners(served.catalogue, served.live)
            caps.append(Cap(owners, request.owner_pin_count_max))
        if request.board_pin_count_max:
            caps.append(Cap(self._parts.board_groups.of, request.board_pin_count_max))
        return Screen(query.excluded_rows, served.live.row_count, query.allowed, caps)

    def ListSources(
        self, request: wire.ListSourcesRequest, context: grpc.ServicerContext
    ) -> wire.ListSourcesResponse:
        retrieval = self._parts.retrieval
        sources = [
            encode_source(enabled, retrieval.tally(name), self._parts.as_of_us)
            for name, enabled in retrieval.sources.items()
        ]
        return encode_sources(sources, self._parts.served, self._parts.as_of_us)
