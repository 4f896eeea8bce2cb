"""What ranking_service tells of its reasons: features, rules, Memboost and experiments."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corkboard.answers.recommendations import Degradation, RecommendedPin


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one feature, of this value, added to the model's logit, against the average."""

    feature: str
    value: float
    contribution: float


@dataclass(frozen=True, slots=True)
class AppliedRule:
    """A rule that moved a pin from one position to another; positions count from 0."""

    rule: str
    position_before: int
    position_after: int


@dataclass(frozen=True, slots=True)
class MemboostScore:
    """What is remembered of a pin under a query pin.

    Attributes:
        score: log((actions + a) / (expected actions + a)); 0 where the pair was never shown.
        boost: What it added to the ranker's logit.
        action_count: Weighted actions.
        expected_action_count: Weighted actions to expect at the positions it was shown at.
        impression_count: Times it was shown.
        is_inserted: In the answer only because it is remembered.
    """

    score: float
    boost: float
    action_count: float
    expected_action_count: float
    impression_count: int
    is_inserted: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """All there is to say of why a pin is where it is.

    Attributes:
        coarse_score: The score that chose the pool.
        model_score: The model's score before Memboost and rules.
        contributions: The features that moved it most, the strongest first.
        memboost: What is remembered of it; None where nothing is.
        rules: The rules that moved it, in their order.
        experiment_arms: The arms of the answer, by experiment.
    """

    coarse_score: float
    model_score: float
    contributions: tuple[Contribution, ...] = ()
    memboost: MemboostScore | None = None
    rules: tuple[AppliedRule, ...] = ()
    experiment_arms: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PinExplanation:
    """Why a pin is in an answer, or why not.

    Attributes:
        pin: The pin; its position is the one it has or would have.
        absence: "" if it is in the answer; else `unknown_pin`, `not_proposed`, `excluded`,
            `cut_by_coarse_score`, `beyond_limit` or `removed_by_rule`.
        detail: The same in a sentence.
        candidate_count: Number of distinct candidates that were scored.
        model: Which model scored.
        generations: The generation behind each artifact that took part.
        degradations: What is not as it should be.
    """

    pin: "RecommendedPin"
    absence: str
    detail: str
    candidate_count: int
    model: str
    generations: Mapping[str, str]
    degradations: tuple["Degradation", ...] = ()


@dataclass(frozen=True, slots=True)
class MemboostCounter:
    """What happened to a pair at one position of one kind of client.

    Attributes:
        platform: The kind of client.
        position: From 0.
        impression_count: Times it was shown there.
        action_counts: Actions by type.
        expected_action_count: Weighted actions to expect of so many impressions there.
    """

    platform: str
    position: int
    impression_count: int
    action_counts: Mapping[str, int]
    expected_action_count: float


@dataclass(frozen=True, slots=True)
class Memboost:
    """What is remembered of a pair of pins, with the counters behind it.

    Attributes:
        score: The score and what it is made of.
        counters: Batch and live together.
        generation: Of the batch part; "" without one.
    """

    score: MemboostScore
    counters: tuple[MemboostCounter, ...]
    generation: str


@dataclass(frozen=True, slots=True)
class MemboostReset:
    """How many pairs a reset changed, and its name; it also holds for later runs of the job."""

    pair_count: int
    reset_id: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ArmResult:
    """What one arm, or one source within it, earned.

    Attributes:
        arm: The arm.
        source: "" for all sources together.
        user_count: Users who were shown something.
        impression_count: Pins shown.
        volume: Saves and clicks for each thousand pins shown.
        propensity: Share of users who saved or clicked.
    """

    arm: str
    source: str
    user_count: int
    impression_count: int
    volume: Estimate
    propensity: Estimate


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment: share of users by arm, results, and stopped arms with the reason."""

    experiment: str
    shares: Mapping[str, float]
    results: tuple[ArmResult, ...]
    stopped_arms: Mapping[str, str]
