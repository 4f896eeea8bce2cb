"""The recipe of a request, from a question to an answer, readable from top to bottom."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ranking_service.answer import Answer
from ranking_service.answering import Run, answer_of
from ranking_service.arrange import Arrangement, arrange, best_first, random_arrangement
from ranking_service.asking import Upstream
from ranking_service.choice import (
    Allowed,
    Seen,
    allowed_candidates,
    boosts_of,
    promising_pool,
    promoted_by,
    random_pool,
    shown_keys,
)
from ranking_service.config import RankingConfig
from ranking_service.explanations import PinExplanation, explain_pin, explained
from ranking_service.feature_context import FeatureContext
from ranking_service.features import feature_rows
from ranking_service.gathering import Gathered, Gatherer, Memory, context_of, query_row_of
from ranking_service.model_choice import ModelChoice
from ranking_service.page_book import OpenPage, PageBook
from ranking_service.page_token import PageToken
from ranking_service.plan import Plan
from ranking_service.planner import Planner
from ranking_service.pool import Candidates, Pool, merge, pool_of
from ranking_service.query import NO_FILTER, RankQuery, RecommendQuery
from ranking_service.ranker import HAND_TUNED, Serving
from ranking_service.rotation import ShownLately, held_back
from ranking_service.scoring import Scored, UnderQuery, score_pool
from ranking_service.shadow import Shadow
from ranking_service.skew import SkewCheck
from ranking_service.world import Artifacts
from service_runtime.clock import Clock
from service_runtime.tracing import span


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
        models: What scores.
        upstream: The other services.
        impressions: Where shown lists are logged.
        memory: Remembered engagement.
        planner: How requests are to be answered.
        pages: What the lists of pages have shown.
        lately: What users were shown.
        skew: Compares some of the logged features with features computed anew.
        shadow: Has a staged model rank some of the answers too.
        config: Limits.
        clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        artifacts: Artifacts,
        models: ModelChoice,
        upstream: Upstream,
        impressions: ImpressionRecorder,
        memory: Memory,
        planner: Planner,
        pages: PageBook,
        lately: ShownLately,
        skew: SkewCheck,
        shadow: Shadow,
        config: RankingConfig,
        clock: Clock,
    ) -> None:
        self._artifacts = artifacts
        self._models = models
        self._upstream = upstream
        self._impressions = impressions
        self._memory = memory
        self._gatherer = Gatherer(
            artifacts=artifacts, upstream=upstream, memory=memory, planner=planner, config=config
        )
        self._pages = pages
        self._lately = lately
        self._skew = skew
        self._shadow = shadow
        self._config = config
        self._clock = clock

    def recommend(self, query: RecommendQuery) -> Answer:
        """
        Recommend pins, log them, and remember that they were shown.

        Raises:
            InvalidRequest: If the limit is over the ceiling, the page token is not good, the
                filter is wrong, or the scenario is for another surface.
            NotFound: If nobody knows the query pin, the scenario, an experiment or its arm.
            NotReady: If there is no catalogue.
            Unavailable: If no candidates can be had, nor anything in their place.
        """
        now = self._clock()
        gathered = self._gatherer.gather(query, now, may_be_random=True)
        with self._page(query, now) as page:
            run = self._choose(gathered, page.shown)
            shown = run.arrangement.order[: query.limit]
            keys = shown_keys(run.context.world, run.candidates, run.pool.rows[shown])
            page.added = keys
        answer = self._with_next_page(answer_of(run), run, gathered.token, keys, now)
        self._impressions.record(
            answer, run.scored.features[shown], time=now, as_of_us=run.context.world.as_of_us
        )
        self._skew.check(
            answer.list_id, run.scored.features[shown], lambda: self._recomputed(run, shown)
        )
        self._memory.note_shown(answer, now)
        self._memory.note_acts(query.user_id, run.profile.recent_actions)
        if run.plan.is_rotating:
            self._lately.note(query.user_id, keys, now)
        self._shadow.note(run, answer.list_id)
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
        now = self._clock()
        gathered = self._gatherer.gather(query, now, may_be_random=False)
        with self._page(query, now) as page:
            run = self._choose(gathered, page.shown)
        row = gathered.world.rows((pin_id,))
        is_hidden = is_filtered = False
        if row[0] >= 0 and not np.isin(row, run.everything.rows).any():
            is_hidden = not self._upstream.showable((pin_id,))
            if not query.filter.is_empty and not is_hidden:
                unfiltered = replace(gathered.ask, filter=NO_FILTER)
                candidates = self._upstream.candidates(unfiltered, gathered.world)
                is_filtered = any((some.rows == row[0]).any() for some in candidates.lists)
        explanation = explain_pin(
            run,
            pin_id,
            is_hidden=is_hidden,
            is_filtered=is_filtered,
            config=self._config,
        )
        return explanation, answer_of(run)

    def rank(self, query: RankQuery) -> Answer:
        """
        Score and order given pins; they are not logged, as nobody said that they were shown.

        Raises:
            NotFound: If the catalogue does not know the query pin.
            NotReady: If there is no catalogue.
        """
        world = self._artifacts.world()
        query_row = query_row_of(world, query.query_pin_id)
        profile = self._upstream.profile(query.user_id)
        rows = world.catalogue.pin_ids.rows(query.pin_ids)
        unknown = tuple(query.pin_ids[place] for place in np.flatnonzero(rows < 0).tolist())
        pool = pool_of(rows[rows >= 0])
        remembered = UnderQuery(self._memory.current(), query.query_pin_id, world)
        context = context_of(query, world, profile, query_row, self._clock(), remembered)
        serving = self._models.serving(query.surface)
        serving, scored = self._scored(pool, context, serving, remembered)
        order = best_first(scored.scores)
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
            arrangement=Arrangement(order, (("score", order),)),
        )
        return replace(answer_of(run), unknown_pin_ids=unknown)

    def _choose(self, gathered: Gathered, page_keys: NDArray[np.uint64]) -> Run:
        """Exclusions, pool, features, scores, order: everything that needs nobody else."""
        query, plan, world, now = gathered.query, gathered.plan, gathered.world, gathered.now
        candidates, remembered = gathered.candidates, gathered.remembered
        excluded = world.rows((*gathered.ask.excluded_pin_ids, query.query_pin_id))
        everything = merge(candidates, excluded_rows=excluded)
        seen = Seen(gathered.token, page_keys)
        allowed = allowed_candidates(everything, candidates, gathered.ask, plan, world, seen, now)
        context = context_of(query, world, gathered.profile, gathered.query_row, now, remembered)
        serving = self._models.serving(query.surface, plan.model)
        pool = self._pool(gathered, allowed, context, serving)
        boosts = boosts_of(plan, pool, world, now)
        if plan.rotation_rate > 0:
            shown = self._lately.of(query.user_id, now - plan.rotation_seconds)
            rotated = held_back(
                world.pin_keys(pool.rows),
                shown,
                rate=plan.rotation_rate,
                seconds=plan.rotation_seconds,
                now=now,
            )
            boosts = rotated if boosts is None else boosts + rotated
        with span("score", candidate_count=len(pool)):
            serving, scored = self._scored(pool, context, serving, remembered, boosts)
        if gathered.is_random:
            rng = np.random.default_rng(query.seed)
            arrangement = random_arrangement(pool, candidates, len(allowed.pool), rng)
        else:
            arrangement = arrange(
                pool,
                candidates,
                context,
                scored,
                plan,
                surface=query.surface,
                limit=query.limit,
                promoted=promoted_by(plan, pool, world, now),
            )
        return Run(
            query=query,
            plan=plan,
            ask=gathered.ask,
            profile=gathered.profile,
            candidates=candidates,
            everything=everything,
            pool=pool,
            context=context,
            serving=serving,
            remembered=remembered,
            scored=scored,
            arrangement=arrangement,
            left_out=allowed.left_out,
            allowed_count=len(allowed.pool),
            is_random=gathered.is_random,
        )

    def _recomputed(self, run: Run, shown: NDArray[np.intp]) -> NDArray[np.float32]:
        """The features of what is shown, from scratch."""
        query_pin_id, world = run.query.query_pin_id, run.context.world
        remembered = UnderQuery(run.remembered.memory, query_pin_id, world)
        row, now = run.context.query_row, run.context.now
        context = context_of(run.query, world, run.profile, row, now, remembered)
        left_out = self._config.features_left_out
        return feature_rows(run.pool.take(shown), context, left_out=left_out)

    def _pool(
        self, gathered: Gathered, allowed: Allowed, context: FeatureContext, serving: Serving
    ) -> Pool:
        """The candidates that get features and a score."""
        size = self._config.pool_size_max
        if gathered.is_random:
            return random_pool(allowed.pool, size, gathered.query.seed)
        return promising_pool(allowed.pool, size, serving.ranker.light, context, gathered.plan)

    def _page(self, query: RecommendQuery, now: float) -> AbstractContextManager[OpenPage]:
        """The page that a list belongs to, under its lock; an empty one for a list alone."""
        if not query.page_id:
            return nullcontext(OpenPage(np.empty(0, np.uint64)))
        return self._pages.open(query.user_id, query.page_id, now)

    def _with_next_page(
        self, answer: Answer, run: Run, token: PageToken, keys: NDArray[np.uint64], now: float
    ) -> Answer:
        """The answer with the token of its next page, if there is anything left for one."""
        if run.is_random or run.allowed_count <= len(answer.pins):
            return answer
        following = token.with_shown(keys, len(answer.pins), now)
        return replace(answer, next_page_token=following.encode())

    def _scored(
        self,
        pool: Pool,
        context: FeatureContext,
        serving: Serving,
        remembered: UnderQuery,
        boosts: NDArray[np.float64] | None = None,
    ) -> tuple[Serving, Scored]:
        """The numbers of a pool, and the model that they come from: not one that gives none."""
        known = None if remembered.memory.is_empty else remembered
        scored = score_pool(
            pool, context, serving.ranker, remembered=known, config=self._config, boosts=boosts
        )
        if np.isfinite(scored.model_logits).all():
            return serving, scored
        reason = f"the model {serving.generation} gives scores that are no finite numbers"
        hand_tuned = self._models.serving(context.surface, HAND_TUNED).ranker
        scored = score_pool(
            pool, context, hand_tuned, remembered=known, config=self._config, boosts=boosts
        )
        return Serving(hand_tuned, missing_reason=reason), scored
