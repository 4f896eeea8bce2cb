"""
Calls to profile_service and candidate_service, and what we do without them.

Each call has a budget of its own within the caller's deadline.  A service that does not answer is
no error here: its part of the answer is replaced and named.
"""

from dataclasses import replace
from typing import Final, NamedTuple

import grpc
import numpy as np

from corkboard.candidate.v1 import candidate_service_pb2 as candidate_pb
from corkboard.candidate.v1.candidate_service_pb2_grpc import CandidateServiceStub
from corkboard.profile.v1 import profile_service_pb2 as profile_pb
from corkboard.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from ranking_service.config import RankingConfig
from ranking_service.fallback import CandidateMemory, Key, popular_candidates
from ranking_service.pool import Candidates, SourceList
from ranking_service.profile import NOBODY, Profile, empty_profile
from ranking_service.recommend import CandidateAsk
from ranking_service.world import World
from service_runtime.errors import CorkboardError, Unavailable
from service_runtime.grpc_client import call
from service_runtime.telemetry import Metrics, logger

WEIGHT_MIN: Final = 1e-9
"""Least weight of a medoid beside the heaviest; the wire wants more than 0."""

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
    Asks the other services; see `recommend.Upstream` for what it promises.

    Args:
        stubs: The services.
        config: Budgets and limits.
        metrics: Gets `upstream_failures_total{part}`.
    """

    def __init__(self, stubs: Stubs, config: RankingConfig, metrics: Metrics) -> None:
        self._stubs = stubs
        self._config = config
        self._memory = CandidateMemory(config.remembered_answer_count_max)
        self._failures = metrics.counter(
            "upstream_failures", "Calls to other services that gave no answer.", ["part"]
        )

    def profile(self, user_id: str) -> Profile:
        """See `recommend.Upstream.profile`."""
        if not user_id:
            return NOBODY
        request = profile_pb.GetProfileRequest(
            user_id=user_id, acted_pin_count_max=self._config.acted_pin_count_max
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
        """See `recommend.Upstream.candidates`."""
        key = (world.id_space, ask.user_id, *ask.query_pin_ids, "", *ask.locale)
        try:
            answer = call(
                self._stubs.candidate.RetrieveCandidates,
                encode_ask(ask),
                timeout_s=self._config.candidate_budget_ms / 1e3,
                margin_s=self._config.own_reserve_ms / 1e3,
            )
        except CorkboardError as fault:
            self._note("candidates", fault)
            return self._instead(key, world, fault)
        candidates = decode_candidates(answer, world)
        self._memory.remember(key, candidates)
        return candidates

    def _instead(self, key: Key, world: World, fault: CorkboardError) -> Candidates:
        """The last lists of the same asker, else what is popular, marked either way."""
        remembered = self._memory.recall(key)
        if remembered is not None:
            reason = f"{fault.message}; answered from the last lists"
            return replace(remembered, missing=(("candidates", reason),))
        popular = popular_candidates(world)
        if popular is not None:
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
    )


def encode_ask(ask: CandidateAsk) -> candidate_pb.RetrieveCandidatesRequest:
    """A question for candidates as a message."""
    return candidate_pb.RetrieveCandidatesRequest(
        query_pins=[candidate_pb.QueryPin(pin_id=pin, weight=1.0) for pin in ask.query_pin_ids],
        medoids=[
            candidate_pb.QueryPin(pin_id=pin, weight=weight)
            for pin, weight in zip(ask.medoid_ids, _weights(ask), strict=True)
        ],
        medoid_sample_count=ask.medoid_sample_count,
        viewer=candidate_pb.Viewer(language=ask.viewer.language, country=ask.viewer.country),
        excluded_pin_ids=ask.excluded_pin_ids,
        seed=ask.seed,
    )


def _weights(ask: CandidateAsk) -> list[float]:
    """Importances beside the largest, each above 0, so that old interests stay on the wire."""
    largest = float(ask.importances.max(initial=0.0)) or 1.0
    return [float(weight) for weight in np.maximum(ask.importances / largest, WEIGHT_MIN)]


def decode_candidates(message: candidate_pb.RetrieveCandidatesResponse, world: World) -> Candidates:
    """Lists as arrays of our rows; a pin that our catalogue does not know yet gets row -1."""
    rows = world.catalogue.pin_ids.rows(message.pin_ids)
    queried_ids = tuple(pin.pin_id for pin in message.queried_pins)
    is_ok = candidate_pb.SOURCE_STATUS_OK
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
        queried_rows=world.catalogue.pin_ids.rows(queried_ids),
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
    )
