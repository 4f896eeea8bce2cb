"""Messages of RetrieveCandidates and ListSources to values, and values to messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from google.protobuf.duration_pb2 import Duration
from numpy.typing import NDArray

from candidate_service import catalogue
from candidate_service.answer_size import AnswerTooLarge
from candidate_service.artifacts import Served
from candidate_service.candidate import (
    CandidateQuery,
    QueryMerge,
    Segment,
    SourceFigures,
    Stop,
    TellsFigures,
)
from candidate_service.duplicates import Duplicates
from candidate_service.filters import Allowed, Filters, Wanted, age_between, conjunction, local_to
from candidate_service.live.segment import LiveSegment
from candidate_service.live_pin_encoding import add_live_pins, young_rows
from candidate_service.query_pins import QueriedPins, WeightedPins, choose_queried_pins
from candidate_service.query_weights import query_weights
from candidate_service.retrieval import EnabledSource, Outcome, Status, Tally
from corkboard.candidate.v1 import candidate_service_pb2 as wire
from service_runtime.errors import InvalidRequest, NotReady

_STATUSES = {
    Status.OK: wire.SOURCE_STATUS_OK,
    Status.LATE: wire.SOURCE_STATUS_LATE,
    Status.FAILED: wire.SOURCE_STATUS_FAILED,
    Status.NOT_READY: wire.SOURCE_STATUS_NOT_READY,
}


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What bounds one call.

    Attributes:
        deadline_s: Time for all sources together.
        grace_s: How much longer answers are taken.
        medoid_sample_count: How many medoids are sampled when a request does not say.
        medoid_count_max: How many are queried when all of them are asked for.
        query_half_life_days: After which an action on a query pin counts half.
        answer_bytes_max: Largest answer.
    """

    deadline_s: float
    grace_s: float
    medoid_sample_count: int
    medoid_count_max: int
    query_half_life_days: float
    answer_bytes_max: int


def decode_pins(
    request: wire.RetrieveCandidatesRequest, live: LiveSegment, limits: CallLimits, now_us: int
) -> QueriedPins:
    """Return the pins to start from, weighed by action and age; medoids sampled or all.

    Raises:
        InvalidRequest: An action type is unknown.
        NotFound: None of the query pins is known, and no medoid is either.
    """
    medoids = list(request.medoids)
    sample_count = request.medoid_sample_count or limits.medoid_sample_count
    if request.medoid_choice == wire.MEDOID_CHOICE_ALL:
        medoids.sort(key=lambda pin: -pin.weight)
        medoids = medoids[: limits.medoid_count_max]
        sample_count = len(medoids)
    return choose_queried_pins(
        live,
        weighted_pins(request.query_pins, "query_pins", limits.query_half_life_days, now_us),
        weighted_pins(medoids, "medoids", limits.query_half_life_days, now_us),
        sample_count=sample_count,
        seed=request.seed,
    )


def weighted_pins(
    pins: Sequence[wire.QueryPin], field: str, half_life_days: float, now_us: int
) -> WeightedPins:
    """Return pins by id, weighed by action and age; those of which nothing is left are left out.

    Raises:
        InvalidRequest: An action type is unknown.
    """
    weights = np.array([pin.weight for pin in pins], np.float64)
    types = [pin.action_type for pin in pins]
    if any(types) or any(pin.HasField("action_time") for pin in pins):
        times = [_action_time_us(pin, f"{field}[{at}]") for at, pin in enumerate(pins)]
        weights = query_weights(
            weights,
            types,
            np.array(times, np.int64),
            now_us=now_us,
            half_life_days=half_life_days,
            field=field,
        )
    kept = np.flatnonzero(weights.astype(np.float32) > 0).tolist()
    return WeightedPins([pins[at].pin_id for at in kept], weights[kept])


def _action_time_us(pin: wire.QueryPin, path: str) -> int:
    try:
        return pin.action_time.ToMicroseconds() if pin.HasField("action_time") else 0
    except ValueError as fault:  # a Timestamp can be no time at all
        raise InvalidRequest(
            "must be a time between the years 1 and 9999",
            field=f"{path}.action_time",
            reason="TIME_INVALID",
        ) from fault


def decode_wanted(asked: wire.PinFilter, viewer: wire.Viewer, filters: Filters) -> Wanted:
    """Return what a request asks of the pins in its answer.

    Raises:
        FilterInvalid: The filter cannot be read.
        InvalidRequest: Local pins are wanted, and nobody knows what is local.
    """
    read = filters.read(asked.expression, asked.name, asked.parameters)
    parts = [] if read is None else [read]
    parts += age_between(
        _seconds(asked.age_min) if asked.HasField("age_min") else None,
        _seconds(asked.age_max) if asked.HasField("age_max") else None,
    )
    if asked.is_local_only:
        local = local_to(viewer.language, viewer.country)
        if not local:
            raise InvalidRequest(
                "local pins need to know where the viewer is",
                hint="set viewer.language or viewer.country",
                field="filter.is_local_only",
                reason="VIEWER_UNKNOWN",
            )
        parts += local
    return Wanted(conjunction(parts), tuple(asked.excluded_owner_ids))


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def decode_query(
    request: wire.RetrieveCandidatesRequest,
    live: LiveSegment,
    queried: QueriedPins,
    allowed: Allowed,
    stop: Stop,
) -> CandidateQuery:
    """Return what the sources are asked."""
    viewer, asked = request.viewer, request.filter
    is_best = request.query_merge == wire.QUERY_MERGE_BEST_SCORE
    return CandidateQuery(
        query_rows=queried.rows,
        weights=queried.weights,
        seed=request.seed,
        segment=Segment(viewer.language, viewer.country, viewer.segment),
        stop=stop,
        excluded_rows=np.sort(_known_rows(live, request.excluded_pin_ids)),
        live=live,
        allowed=allowed.rows,
        shared=allowed.shared,
        session_rows=_known_rows(live, request.session_pin_ids),
        declared_rows=_known_rows(live, request.declared_pin_ids),
        query_text=request.query_text,
        merge=QueryMerge.BEST_SCORE if is_best else QueryMerge.ROUND_ROBIN,
        age_max_s=_seconds(asked.age_max) if asked.HasField("age_max") else None,
        is_local_only=asked.is_local_only,
    )


def _known_rows(live: LiveSegment, pin_ids: Sequence[str]) -> NDArray[np.int32]:
    if not pin_ids:
        return np.empty(0, np.int32)
    rows = live.rows(pin_ids)
    return rows[rows >= 0]


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
    served: Served,
    queried: QueriedPins,
    outcomes: Sequence[Outcome],
    duplicates: Callable[[], Duplicates],
    *,
    answer_bytes_max: int,
) -> wire.RetrieveCandidatesResponse:
    """Name every proposed pin once and let the lists refer to it.

    Raises:
        AnswerTooLarge: It would have more bytes, even without a word about live pins.
    """
    live = served.live
    lists = [outcome.candidates for outcome in outcomes]
    rows = np.concatenate([np.empty(0, np.int32), *(found.rows for found in lists)])
    distinct, indexes = np.unique(rows, return_inverse=True)
    answer = wire.RetrieveCandidatesResponse(
        pin_ids=live.ids(distinct),
        queried_pins=encode_queried(queried),
        unknown_pin_ids=queried.unknown_pin_ids,
        catalogue_generation=served.generation,
        duplicate_groups=_groups(duplicates, distinct),
    )
    begin = 0
    for outcome, found in zip(outcomes, lists, strict=True):
        add_list(answer, outcome, indexes[begin : begin + len(found)])
        begin += len(found)
    if answer.ByteSize() > answer_bytes_max:
        raise AnswerTooLarge(
            f"{len(distinct)} candidates are more than one answer may hold",
            hint="ask for fewer candidates by sources, or for fewer sources at a time",
            field="sources",
        )
    young = young_rows(live, queried.rows, lists)
    add_live_pins(answer, live, young, answer_bytes_max=answer_bytes_max)
    return answer


def _groups(duplicates: Callable[[], Duplicates], rows: NDArray[np.int32]) -> list[int]:
    try:
        groups = duplicates().groups_of(rows)
    except NotReady:
        return []
    return groups.tolist() if groups.any() else []


def add_list(
    answer: wire.RetrieveCandidatesResponse, outcome: Outcome, pin_indexes: NDArray[np.intp]
) -> None:
    """Add one source's list to an answer, in place: a message that is put together is copied."""
    answer.lists.add(
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


def encode_source(
    enabled: EnabledSource, tally: Tally, as_of_us: Callable[[Sequence[str]], int | None]
) -> wire.Source:
    """Encode one source, whether it can be asked, and how it fared since the start."""
    source = enabled.source
    message = wire.Source(
        source=source.name,
        candidate_count=enabled.candidate_count,
        is_ready=True,
        answer_count=tally.answer_count,
        late_count=tally.late_count,
        failure_count=tally.failure_count,
    )
    try:
        message.generations.update(enabled.generations())
        figures = source.figures() if isinstance(source, TellsFigures) else SourceFigures()
    except NotReady as fault:
        message.is_ready, message.reason = False, fault.message
        return message
    message.pin_count = figures.pin_count
    message.cache_hit_ratio = figures.cache_hit_ratio
    if figures.sampled_recall is not None:
        message.sampled_recall = figures.sampled_recall
    if (time_us := as_of_us(source.artifacts)) is not None:
        message.as_of_time.FromMicroseconds(time_us)
    return message


def encode_sources(
    sources: Sequence[wire.Source],
    served: Callable[[], Served],
    as_of_us: Callable[[Sequence[str]], int | None],
) -> wire.ListSourcesResponse:
    """Encode the sources, and the catalogue if there is one."""
    answer = wire.ListSourcesResponse(sources=sources)
    try:
        now = served()
    except NotReady:
        return answer
    answer.pin_count = len(now.catalogue)
    answer.catalogue_generation = now.generation
    answer.live_change_count = now.live.unfolded_count
    if (time_us := as_of_us([catalogue.ARTIFACT])) is not None:
        answer.catalogue_as_of_time.FromMicroseconds(time_us)
    return answer
