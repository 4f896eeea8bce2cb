"""What a caller asks of ranking, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import blake2b
from typing import Final


class Surface(IntEnum):
    """Where the answer will be shown."""

    HOME_FEED = 1
    RELATED_PINS = 2


@dataclass(frozen=True, slots=True)
class Viewer:
    """
    Where the reader is.

    Attributes:
        language: As the catalogue spells it, for example `ja`; empty = unknown.
        country: As the catalogue spells it, for example `JP`; empty = unknown.
        segment: A segment that the operator's configuration knows; empty = none.
    """

    language: str = ""
    country: str = ""
    segment: str = ""


class Origin(IntEnum):
    """Where a reader came from."""

    UNSPECIFIED = 0
    HOME = 1
    SEARCH = 2
    BOARD = 3
    RELATED_PINS = 4
    EXTERNAL = 5


@dataclass(frozen=True, slots=True)
class RequestContext:
    """
    What the reader is doing now.

    Attributes:
        origin: Where the reader came from.
        board_id: The board the reader came from or saves to; empty = none.
        queries: The reader's latest searches, newest first.
        platform: The client that shows the answer, lower-case; empty = not told.
    """

    origin: Origin = Origin.UNSPECIFIED
    board_id: str = ""
    queries: tuple[str, ...] = ()
    platform: str = ""


NO_CONTEXT: Final = RequestContext()
"""Nothing is known of what the reader is doing."""


@dataclass(frozen=True, slots=True)
class PinFilter:
    """
    Which pins may be in the answer; candidate_service reads it.

    Attributes:
        expression: In the language of docs/filters.md; empty = all pins.
        name: A filter of candidate_service's configuration; empty = none.
        parameters: Values of the placeholders.
    """

    expression: str = ""
    name: str = ""
    parameters: tuple[tuple[str, str], ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it lets everything through."""
        return not (self.expression or self.name)


NO_FILTER: Final = PinFilter()
"""Lets everything through."""


@dataclass(frozen=True, slots=True)
class RecommendQuery:
    """
    What should this user see now, or what goes with a pin for this user.

    Attributes:
        user_id: For whom; empty = nobody known.
        surface: Where the answer will be shown.
        query_pin_id: The pin that the answer should go with; empty = none.
        limit: How many pins at the most, >= 1.
        viewer: Where the reader is.
        excluded_pin_ids: Pins that must not be in the answer.
        include_acted_pins: Whether pins that the user acted on may be in the answer.
        seed: Of sampling and walks, in [0, 2**64).
        request_id: Of the call; part of the answer's name.
        context: What the reader is doing.
        filter: Which pins may be in the answer.
        excluded_owner_ids: Owners whose pins may not; the user always is one of them.
        score_min: Least score of a pin, in [0, 1].
        is_explained: Whether every pin comes with a full explanation.
        page_token: Names an earlier answer whose next page this is; empty = none.
        page_id: Lists that bear the same one show no pin twice; empty = none.
        diversity: 0 to 1; None = as the scenario says.
        rotation_rate: 0 to 1; None = as the scenario says.
        rotation_seconds: None = as the scenario says.
        scenario: Empty = the surface's own.
        experiment_arms: Arms to take by experiment, whatever the user's hash says.
    """

    user_id: str
    surface: Surface
    query_pin_id: str
    limit: int
    viewer: Viewer
    excluded_pin_ids: tuple[str, ...]
    include_acted_pins: bool
    seed: int
    request_id: str
    context: RequestContext = NO_CONTEXT
    filter: PinFilter = NO_FILTER
    excluded_owner_ids: tuple[str, ...] = ()
    score_min: float = 0.0
    is_explained: bool = False
    page_token: str = ""
    page_id: str = ""
    diversity: float | None = None
    rotation_rate: float | None = None
    rotation_seconds: float | None = None
    scenario: str = ""
    experiment_arms: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RankQuery:
    """
    In which order should these pins stand for this user.

    Attributes:
        user_id: For whom; empty = nobody known.
        query_pin_id: The pin they should go with; empty = none.
        pin_ids: Distinct pins.
        viewer: Where the reader is.
        request_id: Of the call; part of the answer's name.
        context: What the reader is doing.
    """

    user_id: str
    query_pin_id: str
    pin_ids: tuple[str, ...]
    viewer: Viewer
    request_id: str
    context: RequestContext = NO_CONTEXT

    @property
    def limit(self) -> int:
        """All of them are ranked."""
        return len(self.pin_ids)

    @property
    def surface(self) -> Surface:
        """Related pins with a query pin, else the home feed."""
        return Surface.RELATED_PINS if self.query_pin_id else Surface.HOME_FEED


def seed_of(request_id: str) -> int:
    """A request's seed in [1, 2**64), made from its id, so that any answer can be replayed."""
    return int.from_bytes(blake2b(request_id.encode(), digest_size=8).digest(), "big") or 1
