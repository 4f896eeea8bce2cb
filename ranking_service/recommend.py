"""The recipe of a request, from a question to an answer, readable from top to bottom."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ranking_service.answer import Answer
from ranking_service.asking import Upstream, make_ask, viewer_of
from ranking_service.catalogue import owner_key
from ranking_service.config import RankingConfig
from ranking_service.explain import explain
from ranking_service.features import FeatureContext, feature_rows, make_context
from ranking_service.placement import near_recent, place_recent, share_places
from ranking_service.pool import Candidates, Pool, keep_most_promising, merge, pool_of
from ranking_service.profile import Profile
from ranking_service.query import RankQuery, RecommendQuery, Surface
from ranking_service.ranker import Rankers
from ranking_service.world import Artifacts, World
from service_runtime.clock import Clock
from service_runtime.errors import InvalidRequest, NotFound


class ImpressionRecorder(Protocol):
    """Where shown lists are logged."""

    def record(
        self, answer: Answer, features: NDArray[np.float32], *, time: float, as_of_us: int
    ) -> None:
        """
        Hand over what was shown; never waits, never fails.

        Args:
            answer: The answer.
            features: One row for each of its pins, float32[k, f].
            time: Unix seconds at which the features were computed and the list was shown.
            as_of_us: Latest time of our own artifacts' data.
        """


class Recommender:
    """
    Answers what to show.

    Args:
        artifacts: What is known of pins.
        rankers: The models.
        upstream: The other services.
        impressions: Where shown lists are logged.
        config: Limits.
        clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        artifacts: Artifacts,
        rankers: Rankers,
        upstream: Upstream,
        impressions: ImpressionRecorder,
        config: RankingConfig,
        clock: Clock,
    ) -> None:
        self._artifacts = artifacts
        self._rankers = rankers
        self._upstream = upstream
        self._impressions = impressions
        self._config = config
        self._clock = clock

    def recommend(self, query: RecommendQuery) -> Answer:
        """
        Recommend pins: profile, candidates, pool, features, scores, order, reasons, log.

        Raises:
            InvalidRequest: If the limit is over the ceiling.
            NotFound: If the catalogue does not know the query pin.
            NotReady: If there is no catalogue.
            Unavailable: If no candidates can be had, nor anything in their place.
        """
        if not 1 <= query.limit <= self._config.limit_max:
            raise InvalidRequest(f"must be 1 to {self._config.limit_max}", field="limit")
        now = self._clock()
        world = self._artifacts.world()
        profile = self._upstream.profile(query.user_id)
        query = replace(query, viewer=viewer_of(query.viewer, profile))
        ask = make_ask(query, profile, now=now, config=self._config)
        candidates = self._upstream.candidates(ask, world).without_live()
        world = replace(world, live=candidates.live)
        query_row = _query_row(world, query.query_pin_id, candidates)
        excluded_rows = world.rows((*ask.excluded_pin_ids, query.query_pin_id))
        everything = without_owners(
            merge(candidates, excluded_rows=excluded_rows), world, ask.excluded_owner_ids
        )
        pool = keep_most_promising(everything, self._config.pool_size_max)
        context = make_context(
            world, profile, query.viewer, surface=query.surface, query_row=query_row, now=now
        )
        answer, features = self._rank(
            pool, candidates, context, profile, request=query, limit=query.limit
        )
        self._impressions.record(answer, features, time=now, as_of_us=world.as_of_us)
        return answer

    def rank(self, query: RankQuery) -> Answer:
        """
        Score and order given pins; they are not logged, as nobody said that they were shown.

        Raises:
            NotFound: If the catalogue does not know the query pin.
            NotReady: If there is no catalogue.
        """
        world = self._artifacts.world()
        query_row = _query_row(world, query.query_pin_id)
        profile = self._upstream.profile(query.user_id)
        viewer = viewer_of(query.viewer, profile)
        rows = world.catalogue.pin_ids.rows(query.pin_ids)
        unknown = tuple(query.pin_ids[place] for place in np.flatnonzero(rows < 0).tolist())
        pool = pool_of(rows[rows >= 0])
        context = make_context(
            world,
            profile,
            viewer,
            surface=query.surface,
            query_row=query_row,
            now=self._clock(),
        )
        answer, _ = self._rank(
            pool,
            Candidates.none(),
            context,
            profile,
            request=query,
            limit=len(pool),
            unknown_pin_ids=unknown,
        )
        return answer

    def _rank(
        self,
        pool: Pool,
        candidates: Candidates,
        context: FeatureContext,
        profile: Profile,
        *,
        request: RecommendQuery | RankQuery,
        limit: int,
        unknown_pin_ids: tuple[str, ...] = (),
    ) -> tuple[Answer, NDArray[np.float32]]:
        """Features, scores, order and reasons of a pool; with the features of what is shown."""
        serving = self._rankers.serving(request.surface)
        features = feature_rows(pool, context)
        scores = serving.ranker.score(features)
        order = best_first(scores)
        if request.surface == Surface.HOME_FEED:
            order = share_places(order, pool.is_led_by_popularity(), limit)
            order = place_recent(order, near_recent(pool, candidates))
        positions = order[:limit]
        generations = _generations(context.world, profile, candidates, serving.generation)
        answer = Answer(
            list_id=_list_id(request, generations),
            request_id=request.request_id,
            user_id=request.user_id,
            surface=request.surface,
            query_pin_id=request.query_pin_id,
            pins=explain(pool, candidates, context, positions=positions, scores=scores),
            missing=_missing(context.world, profile, candidates, serving.missing_reason),
            is_cold_start=profile.is_cold_start,
            profile_age=max(0.0, context.now - profile.batch_time) if profile.batch_time else None,
            generations=generations,
            model=serving.ranker.model,
            candidate_count=len(pool),
            unknown_pin_ids=unknown_pin_ids,
        )
        return answer, features[positions]


def without_owners(pool: Pool, world: World, owner_ids: tuple[str, ...]) -> Pool:
    """The candidates that none of these owns; pins of unknown owners stay."""
    if not owner_ids or not len(pool):
        return pool
    keys = np.array([owner_key(owner) for owner in owner_ids], np.uint64)
    is_owned = np.isin(world.owner_keys(pool.rows), keys)
    return pool.take(np.flatnonzero(~is_owned)) if is_owned.any() else pool


def best_first(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Places of the scores, highest first; equal ones keep their order, intp[n]."""
    return np.argsort(-scores, kind="stable")


def _query_row(world: World, query_pin_id: str, candidates: Candidates | None = None) -> int:
    """
    Row of the query pin, -1 without one, and for one that only candidate_service knows.

    Raises:
        NotFound: If neither our catalogue nor candidate_service knows it.
    """
    if not query_pin_id:
        return -1
    row = int(world.rows((query_pin_id,))[0])
    is_known_elsewhere = (
        candidates is not None
        and query_pin_id in candidates.queried_ids
        and query_pin_id not in candidates.unknown_ids
    )
    if row < 0 and not is_known_elsewhere:
        raise NotFound(
            f"the catalogue does not know the query pin {query_pin_id!r}",
            field="query_pin_id",
            reason="QUERY_PIN_UNKNOWN",
            hint="import the pin and build the catalogue, or ask with another pin",
        )
    return row


def _generations(
    world: World, profile: Profile, candidates: Candidates, ranker_generation: str
) -> Mapping[str, str]:
    """Everything that took part, by artifact."""
    parts = {**world.generations, **dict(candidates.generations)}
    parts["profiles"] = profile.generation
    parts["ranker"] = ranker_generation
    return {artifact: generation for artifact, generation in parts.items() if generation}


def _missing(
    world: World, profile: Profile, candidates: Candidates, ranker_reason: str
) -> tuple[tuple[str, str], ...]:
    """Everything that is not as it should be, by part."""
    parts = (("profile", profile.missing_reason), ("ranker", ranker_reason))
    own = tuple((part, reason) for part, reason in parts if reason)
    return (*own, *candidates.missing, *world.missing)


def _list_id(request: RecommendQuery | RankQuery, generations: Mapping[str, str]) -> str:
    """32 hex digits: the same for the same request over the same generations."""
    told = repr((request, sorted(generations.items()))).encode()
    return blake2b(told, digest_size=16).hexdigest()
