"""What ranking_service answers: pins in order, each with its reasons."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from corkboard.answers.remembered import Explanation


@dataclass(frozen=True, slots=True)
class SourceReason:
    """One source that proposed a pin.

    Attributes:
        source: For example `pixie`.
        rank: The pin's rank in that source's list, from 0.
        score: The source's own score; comparable within that source only.
        query_pin_id: The medoid or query pin behind it; "" for popular pins.
    """

    source: str
    rank: int
    score: float
    query_pin_id: str = ""


@dataclass(frozen=True, slots=True)
class RecommendedPin:
    """One pin of an answer and why it is there.

    Attributes:
        pin_id: The pin.
        score: The ranker's score, higher is better.
        position: Where in the answer, from 0.
        sources: Every source that proposed it, the one that ranked it highest first.
        because_pin_id: The medoid or query pin that best explains it; "" if only popularity does.
        title: Of the pin.
        because_title: Of the pin behind it.
        explanation: All there is to say of why it is there; None unless asked for.
        promotion: The promotion that put it here; "" for none.
    """

    pin_id: str
    score: float
    position: int
    sources: tuple[SourceReason, ...] = ()
    because_pin_id: str = ""
    title: str = ""
    because_title: str = ""
    explanation: Explanation | None = None
    promotion: str = ""

    @property
    def name(self) -> str:
        """The title, or the id where there is none."""
        return self.title or self.pin_id

    @property
    def because_name(self) -> str:
        """Title or id of the pin behind it; "" where there is none."""
        return self.because_title or self.because_pin_id


@dataclass(frozen=True, slots=True)
class Degradation:
    """A part of an answer that is not as it should be (`profile`, `source:pixie` …), and why."""

    part: str
    reason: str


@dataclass(frozen=True, slots=True)
class Recommendations:
    """An answer of ranking_service, best pin first.  `print(answer)` gives a readable list.

    Attributes:
        list_id: Names the answer; send it along with the actions that follow from it.
        pins: Best first.
        degradations: Empty in an answer in good health.
        is_cold_start: Nothing was known of the user but, perhaps, declared interests.
        profile_age: How old the batch part of the profile is; None without one.
        generations: The generation behind each artifact that took part.
        model: Which model scored.
        candidate_count: Number of distinct candidates that were scored.
        next_page_token: Ask with it for the next page (`Rules.page_token`); "" if there is none.
        experiment_arms: The arms that took part, by experiment.
        is_randomised: The order is random: one of the few answers from which models learn.
    """

    list_id: str
    pins: tuple[RecommendedPin, ...]
    degradations: tuple[Degradation, ...] = ()
    is_cold_start: bool = False
    profile_age: timedelta | None = None
    generations: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    candidate_count: int = 0
    next_page_token: str = ""
    experiment_arms: Mapping[str, str] = field(default_factory=dict)
    is_randomised: bool = False

    @property
    def pin_ids(self) -> tuple[str, ...]:
        """The ids, best first."""
        return tuple(pin.pin_id for pin in self.pins)

    def __str__(self) -> str:
        """One line a pin: position from 1, name, and the name of the pin behind it."""
        lines = [
            f"{pin.position + 1:3}. {pin.name}"
            + (f"  (because of {pin.because_name})" if pin.because_pin_id else "")
            for pin in self.pins
        ]
        lines += [f"degraded: {part.part}: {part.reason}" for part in self.degradations]
        return "\n".join(lines) or "nothing to recommend"


@dataclass(frozen=True, slots=True)
class RankedPins:
    """Given pins in order, best first, and those that the catalogue does not know."""

    list_id: str
    pins: tuple[RecommendedPin, ...]
    unknown_pin_ids: tuple[str, ...] = ()
    degradations: tuple[Degradation, ...] = ()
    model: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """
    One ranking model.

    `quality` holds the figures that its training measured; `shadow`, of a staged one, how far its
    answers are from those that were given, as the asked process saw them.
    """

    model: str
    generation: str
    is_serving: bool
    quality: Mapping[str, float]
    is_staged: bool = False
    shadow: Mapping[str, float] = field(default_factory=dict)
