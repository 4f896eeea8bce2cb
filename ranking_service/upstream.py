"""
Calls to profile_service and candidate_service, and what we do without them.

Each call has a budget of its own within the caller's deadline.  A service that does not answer is
no error here: its part of the answer is replaced and named.
"""

from dataclasses import replace
from typing import Final, NamedTuple

import grpc
import numpy as np
from google.protobuf.field_mask_pb2 import FieldMask
from numpy.typing import NDArray

from corkboard.candidate.v1 import candidate_service_pb2 as candidate_pb
from corkboard.candidate.v1.candidate_service_pb2_grpc import CandidateServiceStub
from corkboard.profile.v1 import profile_service_pb2 as profile_pb
from corkboard.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from ranking_service.asking import CandidateAsk
from ranking_service.config import RankingConfig
from ranking_service.fallback import CandidateMemory, Key, popular_candidates
from ranking_service.live_pins import LivePin, live_pins
from ranking_service.pool import Candidates, SourceList
from ranking_service.profile import NOBODY, Profile, RecentActions, empty_profile
from ranking_service.world import World
from service_runtime.errors import CorkboardError, InvalidRequest, NotFound, Unavailable
from service_runtime.grpc_client import call
from service_runtime.telemetry import Metrics, logger

OWNER_COUNT_MAX: Final = 1000
"""Owners that candidate_service leaves out; ranking itself drops the pins of all of them."""

SESSION_COUNT_MAX: Final = 100
"""Pins of a session, and declared ones, that go over the wire; its contract says so."""

WEIGHT_MIN: Final = 1e-9
"""Least weight of a medoid beside the heaviest; the wire wants more than 0."""

_KINDS: Final = {
    number: name.removeprefix("ACTION_TYPE_").lower()
    for name, number in profile_pb.ActionType.items()
}
"""Word of each type of action."""

_SHOWABLE_MASK: Final = FieldMask(paths=["is_hidden"])
"""All that `showable` looks at: texts and pictures of many pins need not fit into an answer."""

_log = logger("ranking_service.upstream")


class Stubs(NamedTuple):
    """The services that are called."""

    profile: ProfileServiceStub
    candidate: CandidateServiceStub


def make_stubs(profile_channel: grpc.Channel, candidate_channel: grpc.Channel) -> Stubs:
    """The callable side of two channels."""
    return Stubs(ProfileServiceStub(profile_channel), CandidateServiceStub(candidate_channel))


class Upstream:
    """
    Asks the other services; see `asking.Upstream` for what it promises.

    Args:
        stubs: The services.
        config: Budgets and limits.
        metrics: Gets `upstream_failures_total{part}`.
    """

    def __init__(self, stubs: Stubs, config: RankingConfig, metrics: Metrics) -> None:
        self._stubs = stubs
        self._config = config
        self.memory = CandidateMemory(config.remembered_answer_count_max)
        """The last lists, for when candidate_service is away."""
        self._failures = metrics.counter(
            "upstream_failures", "Calls to other services that gave no answer.", ["part"]
        )
        for part in ("profile", "candidates", "showable"):
            self._failures.labels(part)  # 0 from the start: a rate sees the first one

    def profile(self, user_id: str) -> Profile:
        """See `asking.Upstream.profile`."""
        if not user_id:
            return NOBODY
        request = profile_pb.GetProfileRequest(
            user_id=user_id,
            acted_pin_count_max=self._config.acted_pin_count_max,
            recent_action_count_max=self._config.recent_action_count_max,
        )
        try:
            answer = call(
                self._stubs.profile.GetProfile,
                request,
                timeout_s=self._config.profile_budget_ms / 1e3,
                margin_s=self._config.own_reserve_ms / 1e3,
            )
        except CorkboardError as fault:
            self._note("profile", fault)
            return empty_profile(missing_reason=fault.message)
        return decode_profile(answer.profile)

    def candidates(self, ask: CandidateAsk, world: World) -> Candidates:
        """See `asking.Upstream.candidates`."""
        key = _asker(ask, world)
        try:
            answer = call(
                self._stubs.candidate.RetrieveCandidates,
                encode_ask(ask),
                timeout_s=self._config.candidate_budget_ms / 1e3,
                margin_s=self._config.own_reserve_ms / 1e3,
                ends_with_caller=True,
            )
        except CorkboardError as fault:
            asked = ask.filter.expression or ask.filter.name or ask.filter.parameters
            if isinstance(fault, InvalidRequest | NotFound) and asked:
                raise  # a filter that is wrong, or that nobody configured
            self._note("candidates", fault)
            return self._instead(key, ask, world, fault)
        candidates = decode_candidates(answer, world)
        self.memory.remember(key, candidates.without_live())
        return candidates

    def showable(self, pin_ids: tuple[str, ...]) -> frozenset[str]:
        """See `asking.Upstream.showable`."""
        try:
            answer = call(
                self._stubs.candidate.GetPins,
                candidate_pb.GetPinsRequest(pin_ids=pin_ids, read_mask=_SHOWABLE_MASK),
                timeout_s=self._config.showable_budget_ms / 1e3,
                margin_s=self._config.own_reserve_ms / 1e3,
            )
        except CorkboardError as fault:
            self._note("showable", fault)
            return frozenset()
        return frozenset(pin.pin_id for pin in answer.pins if _is_showable(pin))

    def _instead(
        self, key: Key, ask: CandidateAsk, world: World, fault: CorkboardError
    ) -> Candidates:
        """
        The last lists of the same asker, else what is popular, marked either way.

        What is popular cannot be filtered here, so it does not stand in where a filter is asked.
        """
        remembered = self.memory.recall(key)
        if remembered is not None:
            reason = f"{fault.message}; answered from the last lists"
            return replace(remembered, missing=(("candidates", reason),))
        popular = popular_candidates(world)
        if popular is not None and ask.filter.is_empty:
            reason = f"{fault.message}; answered from what is popular"
            return replace(popular, missing=(("candidates", reason),))
        raise Unavailable(
            f"candidate_service does not answer ({fault.message}) and there is nothing to replace "
            "its lists",
            hint="start candidate_service, or build pin_statistics as a fall-back",
        ) from fault

    def _note(self, part: str, fault: CorkboardError) -> None:
        self._failures.labels(part).inc()
        _log.warning("upstream.failed", part=part, reason=fault.reason, message=fault.message)


def _asker(ask: CandidateAsk, world: World) -> Key:
    """Whose lists they are: only the same asker may be answered from them again."""
    named = ask.query_pin_ids[:1]
    filtered = (ask.filter.expression, ask.filter.name, repr(ask.filter.parameters))
    locale = (*ask.locale, ask.viewer.segment)
    return (world.id_space, ask.user_id, *named, "", *locale, *filtered, repr(ask.quotas))


def _is_showable(pin: candidate_pb.Pin) -> bool:
    """Whether a pin may be shown; candidate_service does not tell expired ones as known."""
    return pin.is_known and not pin.is_hidden


def decode_profile(message: profile_pb.Profile) -> Profile:
    """A profile as plain values."""
    clusters = message.clusters
    return Profile(
        medoid_ids=tuple(cluster.medoid_pin_id for cluster in clusters),
        importances=np.array([cluster.importance for cluster in clusters], np.float32),
        action_counts=np.array([cluster.action_count for cluster in clusters], np.int32),
        online_times=np.array(
            [
                cluster.newest_action_time.ToNanoseconds() / 1e9
                if cluster.origin == profile_pb.CLUSTER_ORIGIN_ONLINE
                else 0.0
                for cluster in clusters
            ],
            np.float64,
        ),
        acted_pin_ids=tuple(message.acted_pin_ids),
        hidden_pin_ids=tuple(message.hidden_pin_ids),
        is_cold_start=message.is_cold_start,
        batch_time=message.batch_time.ToNanoseconds() / 1e9
        if message.HasField("batch_time")
        else 0,
        generation=message.generation,
        recent_actions=_recent_actions(message),
        declared_pin_ids=tuple(message.declared_pin_ids),
        language=message.attributes.language,
        country=message.attributes.country,
        segment=message.attributes.segment,
    )


def _recent_actions(message: profile_pb.Profile) -> RecentActions:
    actions = message.recent_actions
    return RecentActions(
        tuple(action.pin_id for action in actions),
        tuple(_KINDS.get(action.action_type, "") for action in actions),
        np.array([action.action_time.ToNanoseconds() / 1e9 for action in actions], np.float64),
    )


def encode_ask(ask: CandidateAsk) -> candidate_pb.RetrieveCandidatesRequest:
    """A question for candidates as a message."""
    return candidate_pb.RetrieveCandidatesRequest(
        query_pins=[*_named(ask), *_recent(ask)],
        medoids=[
            candidate_pb.QueryPin(pin_id=pin, weight=weight)
            for pin, weight in zip(ask.medoid_ids, _weights(ask), strict=True)
        ],
        medoid_sample_count=ask.medoid_sample_count,
        viewer=candidate_pb.Viewer(
            language=ask.viewer.language, country=ask.viewer.country, segment=ask.viewer.segment
        ),
        excluded_pin_ids=ask.excluded_pin_ids,
        seed=ask.seed,
        filter=candidate_pb.PinFilter(
            expression=ask.filter.expression,
            name=ask.filter.name,
            parameters=dict(ask.filter.parameters),
            excluded_owner_ids=ask.excluded_owner_ids[:OWNER_COUNT_MAX],
        ),
        session_pin_ids=ask.session_pin_ids[:SESSION_COUNT_MAX],
        declared_pin_ids=ask.declared_pin_ids[:SESSION_COUNT_MAX],
        query_text=ask.query_text,
        sources=[
            candidate_pb.SourceQuota(source=source, candidate_count=count)
            for source, count in ask.quotas
        ],
    )


def _named(ask: CandidateAsk) -> list[candidate_pb.QueryPin]:
    return [candidate_pb.QueryPin(pin_id=pin_id, weight=1.0) for pin_id in ask.query_pin_ids]


def _recent(ask: CandidateAsk) -> list[candidate_pb.QueryPin]:
    """Pins of recent actions with what was done and when: candidate_service weighs them."""
    pins = []
    rows = zip(ask.recent.pin_ids, ask.recent.kinds, ask.recent.times.tolist(), strict=True)
    for pin_id, kind, time in rows:
        pin = candidate_pb.QueryPin(pin_id=pin_id, weight=1.0, action_type=kind)
        if kind:
            pin.action_time.FromNanoseconds(round(time * 1e9))
        pins.append(pin)
    return pins


def _weights(ask: CandidateAsk) -> list[float]:
    """Importances beside the largest, each above 0, so that old interests stay on the wire."""
    largest = float(ask.importances.max(initial=0.0)) or 1.0
    return [float(weight) for weight in np.maximum(ask.importances / largest, WEIGHT_MIN)]


def decode_candidates(message: candidate_pb.RetrieveCandidatesResponse, world: World) -> Candidates:
    """Lists as arrays of our rows; a pin of which nothing is known gets row -1."""
    live = live_pins(
        [_live_pin(pin) for pin in _unknown_live(message, world)],
        world.catalogue,
        dimension=world.dimension,
    )
    world = world if live is None else replace(world, live=live)
    rows = world.rows(message.pin_ids)
    queried_ids = tuple(pin.pin_id for pin in message.queried_pins)
    is_ok = candidate_pb.SOURCE_STATUS_OK
    grouped_rows, groups = _groups(message, rows)
    return Candidates(
        lists=tuple(
            SourceList(
                source=proposals.source,
                rows=rows[np.array(proposals.pin_indexes, np.int64)],
                scores=np.array(proposals.scores, np.float32),
                query_indexes=np.array(proposals.query_indexes, np.int32),
            )
            for proposals in message.lists
            if proposals.status == is_ok
        ),
        queried_rows=world.rows(queried_ids),
        queried_ids=queried_ids,
        is_medoid=np.array([pin.is_medoid for pin in message.queried_pins], np.bool_),
        inclusion_probabilities=np.array(
            [pin.inclusion_probability for pin in message.queried_pins], np.float32
        ),
        missing=tuple(
            (f"source:{proposals.source}", proposals.reason)
            for proposals in message.lists
            if proposals.status != is_ok
        ),
        generations=tuple(
            (f"source:{proposals.source}", proposals.generation)
            for proposals in message.lists
            if proposals.generation
        ),
        live=live,
        unknown_ids=tuple(message.unknown_pin_ids),
        grouped_rows=grouped_rows,
        groups=groups,
    )


def _unknown_live(
    message: candidate_pb.RetrieveCandidatesResponse, world: World
) -> list[candidate_pb.Pin]:
    """The described pins that our catalogue, which may be younger, does not have."""
    if not message.live_pins:
        return []
    is_known = world.catalogue.pin_ids.rows([pin.pin_id for pin in message.live_pins]) >= 0
    return [pin for pin, known in zip(message.live_pins, is_known, strict=True) if not known]


def _live_pin(pin: candidate_pb.Pin) -> LivePin:
    has_time = pin.HasField("creation_time")
    return LivePin(
        pin_id=pin.pin_id,
        language=pin.language,
        country=pin.country,
        topics=tuple(pin.topics),
        owner_id=pin.owner_id,
        creation_time=pin.creation_time.ToNanoseconds() / 1e9 if has_time else float("nan"),
        vector=pin.vector,
    )


def _groups(
    message: candidate_pb.RetrieveCandidatesResponse, rows: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Rows that have near-duplicates, ascending, and the group of each."""
    if len(message.duplicate_groups) != rows.size:
        return np.empty(0, np.int32), np.empty(0, np.int32)
    groups = np.array(message.duplicate_groups, np.int32)
    places = np.flatnonzero((groups > 0) & (rows >= 0))
    places = places[np.argsort(rows[places])]
    return rows[places], groups[places]
