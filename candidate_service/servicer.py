"""The wire edge: messages to values, call, values to messages."""

# ruff: noqa: D102  methods are documented in the contract

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from candidate_service.artifacts import Artifacts
from candidate_service.candidate import CandidateQuery, Segment, Stop
from candidate_service.catalogue import Catalogue
from candidate_service.query_pins import QueriedPins, WeightedPins, choose_queried_pins
from candidate_service.retrieval import EnabledSource, Outcome, Retrieval, Status
from corkboard.candidate.v1 import candidate_service_pb2 as wire
from corkboard.candidate.v1 import candidate_service_pb2_grpc as wire_grpc
from service_runtime.call_context import remaining_seconds
from service_runtime.errors import InvalidRequest, NotReady

ENCODING_MARGIN_S = 0.005
"""Kept of a call's deadline for uniting and encoding the lists."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STATUSES = {
    Status.OK: wire.SOURCE_STATUS_OK,
    Status.LATE: wire.SOURCE_STATUS_LATE,
    Status.FAILED: wire.SOURCE_STATUS_FAILED,
    Status.NOT_READY: wire.SOURCE_STATUS_NOT_READY,
}


class CandidateServicer(wire_grpc.CandidateServiceServicer):
    """CandidateService: what could be shown."""

    def __init__(
        self,
        artifacts: Artifacts,
        retrieval: Retrieval,
        *,
        deadline_s: float,
        grace_s: float,
        medoid_sample_count: int,
    ) -> None:
        """Serve from opened artifacts.

        Args:
            artifacts: The catalogue among them.
            retrieval: The sources.
            deadline_s: Time for all sources together.
            grace_s: How much longer answers are taken.
            medoid_sample_count: How many medoids are sampled when a request does not say.
        """
        self._artifacts = artifacts
        self._retrieval = retrieval
        self._deadline_s = deadline_s
        self._margin_s = ENCODING_MARGIN_S + grace_s
        self._medoid_sample_count = medoid_sample_count

    def RetrieveCandidates(
        self, request: wire.RetrieveCandidatesRequest, context: grpc.ServicerContext
    ) -> wire.RetrieveCandidatesResponse:
        stop = Stop.after(min(self._deadline_s, remaining_seconds(self._margin_s)), time.monotonic)
        generation, catalogue = self._artifacts.current_catalogue()
        queried = decode_pins(request, catalogue, default_count=self._medoid_sample_count)
        query = decode_query(request, catalogue, queried, stop)
        limits = decode_limits(request, self._retrieval.sources)
        outcomes = self._retrieval.ask(query, limits, pin_count=len(catalogue))
        return encode_candidates(catalogue, generation, queried, outcomes)

    def GetPins(
        self, request: wire.GetPinsRequest, context: grpc.ServicerContext
    ) -> wire.GetPinsResponse:
        catalogue = self._artifacts.catalogue()
        rows = catalogue.ids.rows(request.pin_ids)
        return encode_pins(request.pin_ids, rows, catalogue.known_of(rows))

    def ListSources(
        self, request: wire.ListSourcesRequest, context: grpc.ServicerContext
    ) -> wire.ListSourcesResponse:
        generation, pin_count = self._artifacts.catalogue_size()
        return wire.ListSourcesResponse(
            sources=[encode_source(enabled) for enabled in self._retrieval.sources.values()],
            pin_count=pin_count,
            catalogue_generation=generation,
        )


def decode_pins(
    request: wire.RetrieveCandidatesRequest, catalogue: Catalogue, *, default_count: int
) -> QueriedPins:
    """Return the pins to start from, medoids sampled."""
    return choose_queried_pins(
        catalogue.ids,
        _weighted(request.query_pins),
        _weighted(request.medoids),
        sample_count=request.medoid_sample_count or default_count,
        seed=request.seed,
    )


def _weighted(pins: Sequence[wire.QueryPin]) -> WeightedPins:
    return WeightedPins(
        [pin.pin_id for pin in pins], np.array([pin.weight for pin in pins], np.float64)
    )


def decode_query(
    request: wire.RetrieveCandidatesRequest, catalogue: Catalogue, queried: QueriedPins, stop: Stop
) -> CandidateQuery:
    """Return what the sources are asked."""
    excluded = np.sort(catalogue.ids.rows(request.excluded_pin_ids))
    return CandidateQuery(
        query_rows=queried.rows,
        weights=queried.weights,
        seed=request.seed,
        segment=Segment(request.viewer.language, request.viewer.country),
        stop=stop,
        excluded_rows=excluded[np.searchsorted(excluded, 0) :],
    )


def decode_limits(
    request: wire.RetrieveCandidatesRequest, known: Mapping[str, EnabledSource]
) -> dict[str, int]:
    """Return the quota by source, 0 for its own; all sources when the request names none.

    Raises:
        InvalidRequest: A source is unknown or named twice.
    """
    limits: dict[str, int] = {}
    for at, quota in enumerate(request.sources):
        field = f"sources[{at}].source"
        if quota.source not in known:
            raise InvalidRequest(
                f"there is no source {quota.source!r}",
                hint=f"enabled sources: {', '.join(known)}",
                field=field,
                reason="UNKNOWN_SOURCE",
            )
        if quota.source in limits:
            raise InvalidRequest(
                f"{quota.source!r} is named twice", field=field, reason="REPEATED_SOURCE"
            )
        limits[quota.source] = quota.candidate_count
    return limits or dict.fromkeys(known, 0)


def encode_candidates(
    catalogue: Catalogue, generation: str, queried: QueriedPins, outcomes: Sequence[Outcome]
) -> wire.RetrieveCandidatesResponse:
    """Name every proposed pin once and let the lists refer to it."""
    lists = [outcome.candidates for outcome in outcomes]
    rows = np.concatenate([np.empty(0, np.int32), *(found.rows for found in lists)])
    distinct, indexes = np.unique(rows, return_inverse=True)
    ends = np.cumsum([len(found) for found in lists])[:-1]
    return wire.RetrieveCandidatesResponse(
        pin_ids=catalogue.ids.ids(distinct),
        lists=[
            encode_list(outcome, part)
            for outcome, part in zip(outcomes, np.split(indexes, ends), strict=False)
        ],
        queried_pins=encode_queried(queried),
        unknown_pin_ids=queried.unknown_pin_ids,
        catalogue_generation=generation,
    )


def encode_list(outcome: Outcome, pin_indexes: NDArray[np.intp]) -> wire.CandidateList:
    """Encode one source's list; its pins as indexes into the answer's ids."""
    return wire.CandidateList(
        source=outcome.candidates.source,
        status=_STATUSES[outcome.status],
        reason=outcome.reason,
        pin_indexes=pin_indexes.tolist(),
        scores=outcome.candidates.scores.tolist(),
        query_indexes=outcome.candidates.query_indexes.tolist(),
        duration_us=outcome.duration_us,
        generation=outcome.generation,
    )


def encode_queried(queried: QueriedPins) -> list[wire.QueriedPin]:
    """Encode what the sources started from."""
    return [
        wire.QueriedPin(
            pin_id=pin_id,
            weight=weight,
            is_medoid=at >= queried.query_pin_count,
            inclusion_probability=probability,
        )
        for at, (pin_id, weight, probability) in enumerate(
            zip(
                queried.pin_ids,
                queried.weights.tolist(),
                queried.inclusion_probabilities.tolist(),
                strict=True,
            )
        )
    ]


def encode_source(enabled: EnabledSource) -> wire.Source:
    """Encode one source and whether it can be asked."""
    message = wire.Source(
        source=enabled.source.name, candidate_count=enabled.candidate_count, is_ready=True
    )
    try:
        message.generations.update(enabled.generations())
    except NotReady as fault:
        message.is_ready, message.reason = False, fault.message
    return message


def encode_pins(
    pin_ids: Sequence[str], rows: NDArray[np.int32], known: pa.Table
) -> wire.GetPinsResponse:
    """Encode what is known of pins; fields that are not stay unset."""
    response = wire.GetPinsResponse()
    for pin_id, row, attributes in zip(pin_ids, rows.tolist(), known.to_pylist(), strict=True):
        response.pins.append(_pin(pin_id, attributes, is_known=row >= 0))
    return response


def _pin(pin_id: str, attributes: dict[str, Any], *, is_known: bool) -> wire.Pin:
    time_us = attributes.pop("creation_time_us")
    given = {name: value for name, value in attributes.items() if value is not None}
    if time_us is not None:
        given["creation_time"] = _EPOCH + timedelta(microseconds=time_us)
    return wire.Pin(pin_id=pin_id, is_known=is_known, **given)
