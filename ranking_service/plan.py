"""How one request is to be answered: what scenario, experiments and the request itself decided."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from ranking_service.conditions import Conditions

DiversityMethod = Literal["marginal", "determinantal"]
"""How pins are made unlike each other: by the most alike one before (maximal marginal relevance),
or by all before together (determinantal point process)."""

MARGINAL: Final = "marginal"
DETERMINANTAL: Final = "determinantal"


@dataclass(frozen=True, slots=True)
class Rule:
    """
    A named rule on pins that fulfil conditions.

    Attributes:
        name: As the configuration calls it.
        when: Which pins.
        boost: Added to the logit, in [-20, 20].
        is_exclusion: Whether the pins are left out instead.
    """

    name: str
    when: Conditions
    boost: float = 0.0
    is_exclusion: bool = False


@dataclass(frozen=True, slots=True)
class Promotion:
    """
    Pins that get a share of the places.

    Attributes:
        name: As the configuration calls it; told with every promoted pin.
        when: Which pins.
        pin_ids: Pins that are put among the candidates in any case.
        share: Of the places at the most, in (0, 1].
        first_position: The first place that may be promoted, from 0.
    """

    name: str
    when: Conditions
    pin_ids: tuple[str, ...] = ()
    share: float = 0.1
    first_position: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """
    Everything about a request that is not in the request.

    Attributes:
        scenario: The configuration that was used.
        diversity: How unlike each other pins should be, in [0, 1].
        diversity_method: How that is brought about.
        rotation_rate: How much pins shown lately are held back, in [0, 1].
        rotation_seconds: How long lately is.
        is_rotating: Whether what is shown is kept in mind: some scenario, or the request, rotates.
        owner_pin_count_max: Pins of one owner in an answer; 0 = no cap.
        score_min: Least score, in [0, 1].
        quotas: Sources and how many candidates each is asked for; empty = their own counts.
        rules: Boosts and exclusions.
        promotions: In the order in which they choose places.
        random_share: Share of requests whose order is random, in [0, 1].
        insert_count_max: Remembered winners that are put back.
        model: The model that scores: empty = the serving one, `hand_tuned`, or a generation.
        experiment_arms: Arm by experiment.
    """

    scenario: str = ""
    diversity: float = 0.0
    diversity_method: DiversityMethod = MARGINAL
    rotation_rate: float = 0.0
    rotation_seconds: float = 7200.0
    is_rotating: bool = False
    owner_pin_count_max: int = 0
    score_min: float = 0.0
    quotas: tuple[tuple[str, int], ...] = ()
    rules: tuple[Rule, ...] = ()
    promotions: tuple[Promotion, ...] = ()
    random_share: float = 0.0
    insert_count_max: int = 5
    model: str = ""
    experiment_arms: Mapping[str, str] = field(default_factory=dict)
