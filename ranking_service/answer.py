"""What ranking answers, as plain values; objects only for the few pins that are shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ranking_service.query import Origin, Surface


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
class Contribution:
    """
    What one feature did to a score.

    Attributes:
        feature: Its name.
        value: Its value.
        contribution: What it added to the model's logit, against the average.
    """

    feature: str
    value: float
    contribution: float


@dataclass(frozen=True, slots=True)
class AppliedRule:
    """
    A rule that moved a pin.

    Attributes:
        rule: Its name.
        before: Position before it, from 0.
        after: Position after it.
    """

    rule: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class MemboostReason:
    """
    What is remembered of a pin under the query pin.

    Attributes:
        score: Memboost; 0 where the pair was never shown.
        boost: What it added to the ranker's logit.
        action_count: Weighted actions.
        expected_action_count: Weighted actions to expect where it was shown.
        impression_count: Times it was shown.
        is_inserted: Whether it is in the pool only because it is remembered.
    """

    score: float
    boost: float
    action_count: float
    expected_action_count: float
    impression_count: int
    is_inserted: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """
    All there is to say of why a pin is where it is.

    Attributes:
        coarse_score: The light score that chose the pool; of hand_tuned the coarse machine score.
        model_score: The model's score before Memboost and rules, in [0, 1].
        contributions: The features that moved the score most, the strongest first.
        memboost: What is remembered.
        rules: The rules that moved it, in their order.
    """

    coarse_score: float
    model_score: float
    contributions: tuple[Contribution, ...]
    memboost: MemboostReason
    rules: tuple[AppliedRule, ...]


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
        position_propensity: With which probability it stands at its place, given the pool and
            whether the order is random, in (0, 1].
        memboost: Its Memboost score.
        promotion: The promotion that put it there; empty = none.
        explanation: All there is to say; None where nobody asked.
    """

    pin_id: str
    score: float
    sources: tuple[SourceReason, ...]
    because_pin_id: str
    propensity: float
    position_propensity: float = 1.0
    memboost: float = 0.0
    promotion: str = ""
    explanation: Explanation | None = None


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
        platform: The client; empty = not told.
        origin: Where the reader came from.
        scenario: The configuration that was used.
        experiment_arms: Arm by experiment.
        is_randomised: Whether the order is random.
        slice_propensity: With which probability a request falls into its slice (random or not).
        next_page_token: Asks for the next page; empty = there is none.
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
    platform: str = ""
    origin: Origin = Origin.UNSPECIFIED
    scenario: str = ""
    experiment_arms: Mapping[str, str] = field(default_factory=dict)
    is_randomised: bool = False
    slice_propensity: float = 1.0
    next_page_token: str = ""
