"""The wire edge of boards: a part of CandidateService."""

# ruff: noqa: D102, N802  methods are named and documented in the contract

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
import numpy as np
from numpy.typing import NDArray

from candidate_service.answer_size import short_title
from candidate_service.artifacts import Served, steady
from candidate_service.boards import BoardFinder, FoundBoard
from candidate_service.candidate import CandidateQuery, Segment, Stop
from candidate_service.candidate_encoding import weighted_pins
from candidate_service.query_pins import QueriedPins, choose_queried_pins
from corkboard.candidate.v1 import candidate_service_pb2 as wire

LIMIT_DEFAULT = 25


@dataclass(frozen=True, slots=True)
class BoardParts:
    """What answers about boards are made of.

    Attributes:
        served: Gives the catalogue with its changes.
        finder: Walks.
        generation: Id of the graph that serves, or raises NotReady.
        allowed: Which pins may be named, bool[row_count]; None = all.
        stop: When the call is no longer waited for.
        now_us: The time, microseconds since the Unix epoch.
        half_life_days: Of query pins.
        medoid_sample_count: How many medoids are sampled when a request does not say.
    """

    served: Callable[[], Served]
    finder: BoardFinder
    generation: Callable[[], str]
    allowed: Callable[[Served], NDArray[np.bool_] | None]
    stop: Callable[[grpc.ServicerContext], Stop]
    now_us: Callable[[], int]
    half_life_days: float
    medoid_sample_count: int


class BoardVerbs:
    """The verb that recommends boards."""

    def __init__(self, parts: BoardParts) -> None:
        """Answer from parts."""
        self._board_parts = parts

    def RetrieveBoards(
        self, request: wire.RetrieveBoardsRequest, context: grpc.ServicerContext
    ) -> wire.RetrieveBoardsResponse:
        stop = self._board_parts.stop(context)
        return steady(self._board_parts.served, lambda served: self._boards(request, served, stop))

    def _boards(
        self, request: wire.RetrieveBoardsRequest, served: Served, stop: Stop
    ) -> wire.RetrieveBoardsResponse:
        parts = self._board_parts
        queried = decode_queried(request, served, parts)
        query = CandidateQuery(
            query_rows=queried.rows,
            weights=queried.weights,
            seed=request.seed,
            segment=Segment(request.viewer.language, request.viewer.country),
            stop=stop,
            live=served.live,
            allowed=parts.allowed(served),
        )
        found = parts.finder.find(
            query, request.limit or LIMIT_DEFAULT, excluded_ids=request.excluded_board_ids
        )
        return encode_boards(found, served, queried, parts.generation())


def decode_queried(
    request: wire.RetrieveBoardsRequest, served: Served, parts: BoardParts
) -> QueriedPins:
    """Return the pins to start from, weighed by action and age, medoids sampled.

    Raises:
        InvalidRequest: An action type is unknown.
        NotFound: None of the query pins is known, and no medoid is either.
    """
    return choose_queried_pins(
        served.live,
        weighted_pins(request.query_pins, "query_pins", parts.half_life_days, parts.now_us()),
        weighted_pins(request.medoids, "medoids", parts.half_life_days, parts.now_us()),
        sample_count=request.medoid_sample_count or parts.medoid_sample_count,
        seed=request.seed,
    )


def encode_boards(
    found: Sequence[FoundBoard], served: Served, queried: QueriedPins, generation: str
) -> wire.RetrieveBoardsResponse:
    """Encode recommended boards, their pins by id."""
    return wire.RetrieveBoardsResponse(
        boards=[
            wire.Board(
                board_id=board.board_id,
                title=short_title(board.title),
                score=board.score,
                query_pin_id=queried.pin_ids[board.query_index],
                pin_count=board.pin_count,
                pin_ids=served.live.ids(board.pin_rows),
            )
            for board in found
        ],
        unknown_pin_ids=queried.unknown_pin_ids,
        graph_generation=generation,
    )
