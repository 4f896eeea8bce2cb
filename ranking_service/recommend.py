"""The recipe of a request, from a question to an answer, readable from top to bottom."""

from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ranking_service.answer import Answer
from ranking_service.answering import Run, answer_of
from ranking_service.arrange import Arrangement, arrange, best_first
from ranking_service.asking import Upstream, make_ask, viewer_of
from ranking_service.config import RankingConfig
from ranking_service.explanations import PinExplanation, explain_pin, explained
from ranking_service.feature_context import FeatureContext, make_context
from ranking_service.insertion import insert_winners
from ranking_service.memboost.memory import Memboost
from ranking_service.pin_keys import keys_of
from ranking_service.plan import Plan
from ranking_service.pool import Candidates, Pool, keep_most_promising, merge, pool_of
from ranking_service.profile import RecentActions
from ranking_service.query import NO_FILTER, RankQuery, RecommendQuery
from ranking_service.ranker import Rankers, Serving
from ranking_service.scoring import Scored, UnderQuery, score_pool
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


class Memory(Protocol):
    """What is remembered of engagement, and what takes note of more."""

    def current(self) -> Memboost:
        """The counters of this moment."""

    def note_shown(self, answer: Answer, time: float) -> None:
        """Take note of an answer; never waits."""

    def note_acts(self, user_id: str, recent: RecentActions) -> None:
        """Take note of what a user did; never waits."""


class Recommender:
    """
    Answers what to show.

    Args:
        artifacts: What is known of pins.
        rankers: The models.
        upstream: The other services.
        impressions: Where shown lists are logged.
        memory: Remembered engagement.
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
        memory: Memory,
        config: RankingConfig,
        clock: Clock,
    ) -> None:
        self._artifacts = artifacts
        self._rankers = rankers
        self._upstream = upstream
        self._impressions = impressions
        self._memory = memory
        self._config = config
        self._clock = clock

    def recommend(self, query: RecommendQuery) -> Answer:
        """
        Recommend pins, log them, and remember that they were shown.

        Raises:
            InvalidRequest: If the limit is over the ceiling.
            NotFound: If nobody knows the query pin.
            NotReady: If there is no catalogue.
            Unavailable: If no candidates can be had, nor anything in their place.
        """
        now = self._clock()
        run = self.run(query, now)
        answer = answer_of(run)
        shown = run.arrangement.order[: query.limit]
        self._impressions.record(
            answer, run.scored.features[shown], time=now, as_of_us=run.context.world.as_of_us
        )
        self._memory.note_shown(answer, now)
        self._memory.note_acts(query.user_id, run.profile.recent_actions)
        if query.is_explained:
            answer = replace(answer, pins=explained(run, answer.pins, shown.tolist()))
        return answer

    def explain(self, query: RecommendQuery, pin_id: str) -> tuple[PinExplanation, Answer]:
        """
        Say why a pin is, or is not, in the answer to a request; nothing is logged.

        Where no source proposed it, candidate_service is asked whether it may be shown at all, and
        once more without the request's filter.

        Raises:
            As `recommend`.
        """
        run = self.run(query, self._clock())
        row = run.context.world.rows((pin_id,))
        is_hidden = is_filtered = False
        if row[0] >= 0 and not np.isin(row, run.everything.rows).any():
            is_hidden = not self._upstream.showable((pin_id,))
            if run.ask is not None and not query.filter.is_empty and not is_hidden:
                unfiltered = replace(run.ask, filter=NO_FILTER)
                candidates = self._upstream.candidates(unfiltered, run.context.world)
                is_filtered = any(
                    (proposals.rows == row[0]).any() for proposals in candidates.lists
                )
        explanation = explain_pin(
            run,
            pin_id,
            is_hidden=is_hidden,
            is_filtered=is_filtered,
            gain_default=self._config.memboost_gain,
        )
        return explanation, answer_of(run)

    def run(self, query: RecommendQuery, now: float) -> Run:
        """Profile, candidates, pool, features, scores, order, reasons; nothing is logged."""
        if not 1 <= query.limit <= self._config.limit_max:
            raise InvalidRequest(f"must be 1 to {self._config.limit_max}", field="limit")
        world = self._artifacts.world()
        profile = self._upstream.profile(query.user_id)
        query = replace(query, viewer=viewer_of(query.viewer, profile))
        plan = Plan(insert_count_max=self._config.memboost_insert_count_max)
        ask = make_ask(query, profile, now=now, config=self._config, quotas=plan.quotas)
        candidates = self._upstream.candidates(ask, world)
        world = replace(world, live=candidates.live)
        query_row = _query_row(world, query.query_pin_id, candidates)
        remembered = UnderQuery(self._memory.current(), query.query_pin_id, world)
        candidates = self._with_winners(query, plan, candidates, remembered, world, now)
        excluded_rows = world.rows((*ask.excluded_pin_ids, query.query_pin_id))
        everything = merge(candidates, excluded_rows=excluded_rows)
        allowed = without_owners(everything, world, ask.excluded_owner_ids)
        pool = keep_most_promising(allowed, self._config.pool_size_max)
        context = make_context(
            world,
            profile,
            query.viewer,
            surface=query.surface,
            query_row=query_row,
            now=now,
            context=query.context,
            memboost=None if remembered.memory.is_empty else remembered,
        )
        serving = self._rankers.serving(query.surface)
        scored = self._scored(pool, context, serving, remembered)
        arrangement = arrange(
            pool,
            candidates,
            context,
            scored,
            plan,
            surface=query.surface,
            limit=query.limit,
            promoted={},
        )
        return Run(
            query=query,
            plan=plan,
            ask=ask,
            profile=profile,
            candidates=candidates,
            everything=everything,
            pool=pool,
            context=context,
            serving=serving,
            remembered=remembered,
            scored=scored,
            arrangement=arrangement,
        )

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
        rows = world.catalogue.pin_ids.rows(query.pin_ids)
        unknown = tuple(query.pin_ids[place] for place in np.flatnonzero(rows < 0).tolist())
        pool = pool_of(rows[rows >= 0])
        remembered = UnderQuery(self._memory.current(), query.query_pin_id, world)
        context = make_context(
            world,
            profile,
            viewer_of(query.viewer, profile),
            surface=query.surface,
            query_row=query_row,
            now=self._clock(),
            context=query.context,
            memboost=None if remembered.memory.is_empty else remembered,
        )
        serving = self._rankers.serving(query.surface)
        scored = self._scored(pool, context, serving, remembered)
        run = Run(
            query=query,
            plan=Plan(),
            ask=None,
            profile=profile,
            candidates=Candidates.none(),
            everything=pool,
            pool=pool,
            context=context,
            serving=serving,
            remembered=remembered,
            scored=scored,
            arrangement=arrange_by_score(scored),
        )
        return replace(answer_of(run), unknown_pin_ids=unknown)

    def _with_winners(
        self,
        query: RecommendQuery,
        plan: Plan,
        candidates: Candidates,
        remembered: UnderQuery,
        world: World,
        now: float,
    ) -> Candidates:
        """
        Put remembered winners back among the candidates of a query pin.

        Not on the home feed, where they would be the charts, and not under a filter, which only
        candidate_service can judge.
        """
        wants = query.query_pin_id and plan.insert_count_max and query.filter.is_empty
        if not wants or remembered.memory.is_empty:
            return candidates
        return insert_winners(
            candidates,
            remembered,
            world,
            query_pin_id=query.query_pin_id,
            config=self._config,
            showable=self._upstream.showable,
            now=now,
        )

    def _scored(
        self, pool: Pool, context: FeatureContext, serving: Serving, remembered: UnderQuery
    ) -> Scored:
        return score_pool(
            pool,
            context,
            serving.ranker,
            remembered=None if remembered.memory.is_empty else remembered,
            gain_default=self._config.memboost_gain,
        )


def arrange_by_score(scored: Scored) -> Arrangement:
    """By score alone: for pins that the caller named."""
    order = best_first(scored.scores)
    return Arrangement(order, (("score", order),))


def without_owners(pool: Pool, world: World, owner_ids: tuple[str, ...]) -> Pool:
    """The candidates that none of these owns; pins of unknown owners stay."""
    if not owner_ids or not len(pool):
        return pool
    is_owned = np.isin(world.owner_keys(pool.rows), keys_of(owner_ids))
    return pool.take(np.flatnonzero(~is_owned)) if is_owned.any() else pool


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
