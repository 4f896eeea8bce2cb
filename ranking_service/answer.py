"""What ranking answers, as plain values; objects only for the few pins that are shown."""

from collections.abc import Mapping
from dataclasses import dataclass

from ranking_service.query import Surface


@dataclass(frozen=True, slots=True)
class SourceReason:
    """
    One source that proposed a pin.

    Attributes:
        source: Name of the source.
        rank: Rank in its list, from 0.
        score: The source's own score.
        query_pin_id: The medoid or query pin behind it there; empty for popular pins.
    """

    source: str
    rank: int
    score: float
    query_pin_id: str


@dataclass(frozen=True, slots=True)
class RankedPin:
    """
    One pin of the answer and why it is there.

    Attributes:
        pin_id: The pin.
        score: The ranker's score, in [0, 1].
        sources: Every source that proposed it, the one that ranked it highest first.
        because_pin_id: The pin that best explains it; empty where only popularity speaks for it.
        propensity: With which probability the pin behind it was queried, in (0, 1].
    """

    pin_id: str
    score: float
    sources: tuple[SourceReason, ...]
    because_pin_id: str
    propensity: float


@dataclass(frozen=True, slots=True)
class Answer:
    """
    An ordered list of pins, best first, and how it came about.

    Attributes:
        list_id: Names this answer.
        request_id: Of the call.
        user_id: For whom; empty = nobody known.
        surface: Where it will be shown.
        query_pin_id: What it goes with; empty = nothing.
        pins: Best first.
        missing: Part of the answer and why it is not as it should be.
        is_cold_start: True where nothing was known of the user but, perhaps, declared interests.
        profile_age: Seconds since the batch part of the profile; None without one.
        generations: Generation of each artifact that took part.
        model: Kind of model that scored.
        candidate_count: Distinct candidates that were scored.
        unknown_pin_ids: Pins of the request that the catalogue does not know.
    """

    list_id: str
    request_id: str
    user_id: str
    surface: Surface
    query_pin_id: str
    pins: tuple[RankedPin, ...]
    missing: tuple[tuple[str, str], ...]
    is_cold_start: bool
    profile_age: float | None
    generations: Mapping[str, str]
    model: str
    candidate_count: int
    unknown_pin_ids: tuple[str, ...] = ()
