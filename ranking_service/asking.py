"""What ranking asks the other services for a request, and what it leaves out of any answer."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ranking_service.config import RankingConfig
from ranking_service.pool import Candidates
from ranking_service.profile import NO_ACTIONS, Profile, RecentActions
from ranking_service.query import NO_FILTER, PinFilter, RecommendQuery, Surface, Viewer
from ranking_service.world import World


def _nothing() -> NDArray[np.float32]:
    return np.empty(0, np.float32)


@dataclass(frozen=True, slots=True)
class CandidateAsk:
    """
    What candidate_service is asked for.

    Attributes:
        user_id: For whom; empty = nobody known. Not sent, names the asker.
        viewer: Where the reader is.
        seed: Of sampling and walks.
        query_pin_ids: Pins to start from in any case.
        recent: What the user did just now, to start from as well; newest first.
        medoid_ids: Interests of which some are sampled, most important first.
        importances: Weight of each, float32[m], >= 0.
        medoid_sample_count: How many to sample.
        excluded_pin_ids: Pins that must not be proposed.
        excluded_owner_ids: Owners whose pins must not be.
        filter: Which pins may be.
        session_pin_ids: What the user acted on last, newest first.
        declared_pin_ids: Interests picked at sign-up.
        query_text: What the user just searched for; empty = nothing.
        quotas: Which sources to ask for how many (0 = their own count); empty = all of them.
    """

    user_id: str
    viewer: Viewer
    seed: int
    query_pin_ids: tuple[str, ...] = ()
    recent: RecentActions = NO_ACTIONS
    medoid_ids: tuple[str, ...] = ()
    importances: NDArray[np.float32] = field(default_factory=_nothing)
    medoid_sample_count: int = 3
    excluded_pin_ids: tuple[str, ...] = ()
    excluded_owner_ids: tuple[str, ...] = ()
    filter: PinFilter = NO_FILTER
    session_pin_ids: tuple[str, ...] = ()
    declared_pin_ids: tuple[str, ...] = ()
    query_text: str = ""
    quotas: tuple[tuple[str, int], ...] = ()

    @property
    def locale(self) -> tuple[str, str]:
        """Language and country of the reader."""
        return (self.viewer.language, self.viewer.country)


class Upstream(Protocol):
    """The other services, as far as a request needs them."""

    def profile(self, user_id: str) -> Profile:
        """What is known of a user; empty and saying why if the service does not answer."""

    def candidates(self, ask: CandidateAsk, world: World) -> Candidates:
        """
        Lists of candidates; what is missing or replaced is named in them.

        Raises:
            Unavailable: If the service does not answer and there is nothing to replace its lists.
            InvalidRequest: If it finds the filter wrong.
        """

    def showable(self, pin_ids: tuple[str, ...]) -> frozenset[str]:
        """Those of the pins that may be shown at this moment; none if the service is away."""


def make_ask(
    query: RecommendQuery,
    profile: Profile,
    *,
    now: float,
    config: RankingConfig,
    quotas: tuple[tuple[str, int], ...] = (),
) -> CandidateAsk:
    """
    What to start from.

    The home feed starts from sampled interests, and in any case from what the user did just now.
    Related pins start from the query pin alone; the interests speak in the features.
    """
    is_home = query.surface == Surface.HOME_FEED
    return CandidateAsk(
        user_id=query.user_id,
        viewer=query.viewer,
        seed=query.seed,
        query_pin_ids=(query.query_pin_id,) if query.query_pin_id else (),
        recent=recent_starts(profile, now, config) if is_home else NO_ACTIONS,
        medoid_ids=profile.medoid_ids if is_home else (),
        importances=profile.importances if is_home else profile.importances[:0],
        medoid_sample_count=config.medoid_sample_count,
        excluded_pin_ids=excluded_pins(query, profile),
        excluded_owner_ids=excluded_owners(query),
        filter=query.filter,
        session_pin_ids=tuple(dict.fromkeys(profile.recent_actions.pin_ids)),
        declared_pin_ids=profile.declared_pin_ids if is_home else (),
        query_text=query.context.queries[0] if is_home and query.context.queries else "",
        quotas=quotas,
    )


def recent_starts(profile: Profile, now: float, config: RankingConfig) -> RecentActions:
    """
    The pins of the newest actions; where none are told, the medoids of the newest interests.

    Those are what a profile_service without recent actions knows; they have no kind.
    """
    since = now - config.recent_interest_hours * 3600.0
    count_max = config.recent_interest_count_max
    if len(profile.recent_actions):
        return profile.recent_actions.since(since, count_max)
    ids = profile.recent_ids(since=since, count_max=count_max)
    return RecentActions(ids, ("",) * len(ids), np.full(len(ids), now))


def excluded_pins(query: RecommendQuery, profile: Profile) -> tuple[str, ...]:
    """Pins that must not be in the answer; hidden ones never are."""
    own = profile.hidden_pin_ids if query.include_acted_pins else profile.acted_pin_ids
    return (*query.excluded_pin_ids, *own)


def excluded_owners(query: RecommendQuery) -> tuple[str, ...]:
    """Owners whose pins must not be in the answer: the user first of all."""
    own = (query.user_id,) if query.user_id else ()
    return tuple(dict.fromkeys((*own, *query.excluded_owner_ids)))


def viewer_of(viewer: Viewer, profile: Profile) -> Viewer:
    """Where the reader is: as the request says, else as the profile does."""
    return Viewer(
        viewer.language or profile.language,
        viewer.country or profile.country,
        viewer.segment or profile.segment,
    )
