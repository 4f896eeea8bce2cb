"""All that a request needs of other services, of artifacts and of memory, before any choice."""

from dataclasses import replace
from typing import NamedTuple, Protocol

from ranking_service.answer import Answer
from ranking_service.asking import CandidateAsk, Upstream, make_ask, viewer_of
from ranking_service.choice import is_in_random_slice, with_promoted
from ranking_service.config import RankingConfig
from ranking_service.feature_context import FeatureContext, make_context
from ranking_service.insertion import insert_winners
from ranking_service.memboost.memory import Memboost
from ranking_service.page_token import PageToken, first_page, open_token
from ranking_service.plan import Plan
from ranking_service.planner import Planner
from ranking_service.pool import Candidates
from ranking_service.profile import Profile, RecentActions
from ranking_service.query import RankQuery, RecommendQuery
from ranking_service.scoring import UnderQuery
from ranking_service.world import Artifacts, World
from service_runtime.errors import InvalidRequest, NotFound


class Memory(Protocol):
    """What is remembered of engagement, and what takes note of more."""

    def current(self) -> Memboost:
        """The counters of this moment."""

    def note_shown(self, answer: Answer, time: float) -> None:
        """Take note of an answer; never waits."""

    def note_acts(self, user_id: str, recent: RecentActions) -> None:
        """Take note of what a user did; never waits."""


class Gathered(NamedTuple):
    """What a request is answered from: all that needed other services."""

    query: RecommendQuery
    plan: Plan
    token: PageToken
    now: float
    ask: CandidateAsk
    profile: Profile
    candidates: Candidates
    world: World
    query_row: int
    remembered: UnderQuery
    is_random: bool


class Gatherer:
    """
    Brings together what a request is answered from.

    Args:
        artifacts: What is known of pins.
        upstream: The other services.
        memory: Remembered engagement.
        planner: How requests are to be answered.
        config: Limits.
    """

    def __init__(
        self,
        *,
        artifacts: Artifacts,
        upstream: Upstream,
        memory: Memory,
        planner: Planner,
        config: RankingConfig,
    ) -> None:
        self._artifacts = artifacts
        self._upstream = upstream
        self._memory = memory
        self._planner = planner
        self._config = config

    def gather(self, query: RecommendQuery, now: float, *, may_be_random: bool) -> Gathered:
        """
        Profile and candidates, with what is remembered and promoted among them.

        Args:
            query: The question.
            now: Unix seconds.
            may_be_random: Whether the answer may fall into the random slice.

        Raises:
            As `recommend.Recommender.recommend`.
        """
        if not 1 <= query.limit <= self._config.limit_max:
            raise InvalidRequest(f"must be 1 to {self._config.limit_max}", field="limit")
        plan = self._planner.plan(query)
        token = first_page(query)
        if query.page_token:
            token = open_token(query, now, self._config.page_seconds)
        world = self._artifacts.world()
        profile = self._upstream.profile(query.user_id)
        query = replace(query, viewer=viewer_of(query.viewer, profile), seed=token.seed)
        ask = make_ask(query, profile, now=now, config=self._config, quotas=plan.quotas)
        candidates = self._upstream.candidates(ask, world)
        world = replace(world, live=candidates.live)
        query_row = query_row_of(world, query.query_pin_id, candidates)
        remembered = UnderQuery(self._memory.current(), query.query_pin_id, world)
        candidates = self._with_winners(query, plan, candidates, remembered, world, now)
        if query.filter.is_empty:
            candidates = with_promoted(candidates, plan, world, self._upstream.showable, now)
        is_random = may_be_random and not query.page_token
        return Gathered(
            query,
            plan,
            token,
            now,
            ask,
            profile,
            candidates,
            world,
            query_row,
            remembered,
            is_random and is_in_random_slice(query.request_id, plan.random_share),
        )

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
            count_max=plan.insert_count_max,
            config=self._config,
            showable=self._upstream.showable,
            now=now,
        )


def context_of(
    query: RecommendQuery | RankQuery,
    world: World,
    profile: Profile,
    query_row: int,
    now: float,
    remembered: UnderQuery,
) -> FeatureContext:
    """What candidates are compared with."""
    return make_context(
        world,
        profile,
        viewer_of(query.viewer, profile),
        surface=query.surface,
        query_row=query_row,
        now=now,
        context=query.context,
        memboost=None if remembered.memory.is_empty else remembered,
    )


def query_row_of(world: World, query_pin_id: str, candidates: Candidates | None = None) -> int:
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
