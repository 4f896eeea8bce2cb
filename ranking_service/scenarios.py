"""
Scenarios: how each place in the product wants its answers, from a TOML file that may change.

The file has tables `scenarios`, `rules`, `promotions` and `experiments`; docs/scenarios.md shows
one.  Everything in it is checked together before any of it counts: a file with a fault is refused
whole, with every fault named, and what served before goes on.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ranking_service.conditions import Conditions
from ranking_service.config import RankingConfig
from ranking_service.plan import DiversityMethod, Plan, Promotion, Rule
from ranking_service.query import Surface
from service_runtime.errors import InvalidRequest

Name = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}$")]
Share = Annotated[float, Field(ge=0, le=1)]

_STRICT: Final = ConfigDict(extra="forbid", frozen=True)


class When(BaseModel):
    """Which pins a rule or a promotion is about; see `conditions.Conditions`."""

    model_config = _STRICT

    pin_ids: tuple[str, ...] = ()
    owner_ids: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    age_days_min: Annotated[float | None, Field(ge=0)] = None
    age_days_max: Annotated[float | None, Field(ge=0)] = None

    def conditions(self) -> Conditions:
        """The same as a plain value."""
        return Conditions(**self.model_dump())


class RuleTable(BaseModel):
    """A named rule: a boost of the logit, or an exclusion."""

    model_config = _STRICT

    when: When
    boost: Annotated[float, Field(ge=-20, le=20)] = 0.0
    exclude: bool = False

    @model_validator(mode="after")
    def _does_something(self) -> "RuleTable":
        if self.exclude == bool(self.boost):
            raise ValueError("give either a boost other than 0, or exclude = true")
        if self.when == When():
            raise ValueError("when must name at least one condition")
        return self


class PromotionTable(BaseModel):
    """Pins that get a share of the places."""

    model_config = _STRICT

    when: When = When()
    pin_ids: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    first_position: Annotated[int, Field(ge=0, le=499)] = 0

    @model_validator(mode="after")
    def _is_about_something(self) -> "PromotionTable":
        if self.when == When() and not self.pin_ids:
            raise ValueError("give conditions in when, or pin_ids")
        return self


class Settings(BaseModel):
    """What a scenario, or an arm of an experiment, may say; what it leaves out stays."""

    model_config = _STRICT

    diversity: Share | None = None
    diversity_method: DiversityMethod | None = None
    rotation_rate: Share | None = None
    rotation_seconds: Annotated[float | None, Field(ge=0, le=2_592_000)] = None
    owner_pin_count_max: Annotated[int | None, Field(ge=0, le=500)] = None
    score_min: Share | None = None
    sources: dict[Name, Annotated[int, Field(ge=0, le=2000)]] | None = None
    rules: tuple[Name, ...] | None = None
    promotions: tuple[Name, ...] | None = None
    random_share: Share | None = None
    memboost_insert_count_max: Annotated[int | None, Field(ge=0, le=100)] = None
    model: Annotated[str | None, Field(max_length=64)] = None


class ScenarioTable(Settings):
    """How one place in the product wants its answers."""

    surface: Annotated[str, Field(pattern="^(home_feed|related_pins)$")] | None = None


class GuardRailTable(BaseModel):
    """When an arm is stopped: it loses against the control beyond doubt."""

    model_config = _STRICT

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    user_count_min: Annotated[int, Field(ge=2)] = 200
    loss_max: Share = 0.0


class ExperimentTable(BaseModel):
    """Arms among which users are split by a hash."""

    model_config = _STRICT

    arms: Annotated[dict[Name, Settings], Field(min_length=2, max_length=16)]
    shares: dict[Name, Annotated[float, Field(gt=0, le=1)]]
    control: Name
    scenarios: tuple[Name, ...] = ()
    salt: Annotated[str, Field(max_length=64)] = ""
    guard_rail: GuardRailTable = GuardRailTable()

    @model_validator(mode="after")
    def _shares_fit(self) -> "ExperimentTable":
        if set(self.shares) != set(self.arms):
            raise ValueError("shares must name exactly the arms")
        if self.control not in self.arms:
            raise ValueError(f"control {self.control!r} is none of the arms")
        if not abs(sum(self.shares.values()) - 1.0) < 1e-6:
            raise ValueError(f"shares must sum to 1, not {sum(self.shares.values()):g}")
        return self


class Book(BaseModel):
    """The whole file."""

    model_config = _STRICT

    scenarios: dict[Name, ScenarioTable] = Field(default_factory=dict)
    rules: dict[Name, RuleTable] = Field(default_factory=dict)
    promotions: dict[Name, PromotionTable] = Field(default_factory=dict)
    experiments: dict[Name, ExperimentTable] = Field(default_factory=dict)

    @property
    def is_rotating(self) -> bool:
        """Whether any scenario, or arm of an experiment, holds back what was shown lately."""
        arms = (arm for table in self.experiments.values() for arm in table.arms.values())
        return any(table.rotation_rate for table in (*self.scenarios.values(), *arms))

    @model_validator(mode="after")
    def _names_are_known(self) -> "Book":
        faults = []
        users: list[tuple[str, Settings]] = [
            (f"scenarios.{name}", table) for name, table in self.scenarios.items()
        ]
        users += [
            (f"experiments.{name}.arms.{arm}", table)
            for name, experiment in self.experiments.items()
            for arm, table in experiment.arms.items()
        ]
        for place, table in users:
            faults += [
                f"{place}.{kind}: there is no {name!r}"
                for kind, known in (("rules", self.rules), ("promotions", self.promotions))
                for name in getattr(table, kind) or ()
                if name not in known
            ]
        known_scenarios = {*self.scenarios, *(surface.name.lower() for surface in Surface)}
        for name, experiment in self.experiments.items():
            faults += [
                f"experiments.{name}.scenarios: there is no {wanted!r}"
                for wanted in experiment.scenarios
                if wanted not in known_scenarios
            ]
        if faults:
            raise ValueError("; ".join(faults))
        return self


def parse_book(text: str) -> Book:
    """
    Read a file's text.

    Raises:
        InvalidRequest: With every fault.
    """
    try:
        return Book.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as fault:
        raise InvalidRequest(f"this is no TOML: {fault}") from fault
    except ValidationError as fault:
        told = [
            ".".join(str(part) for part in error["loc"]) + ": " + error["msg"]
            for error in fault.errors()
        ]
        raise InvalidRequest("; ".join(told), hint="docs/scenarios.md has every field") from fault


def read_book(path: Path | None) -> Book:
    """
    Read a file; without one all scenarios are as the settings say.

    Raises:
        InvalidRequest: If it cannot be read, or with every fault in it.
    """
    if path is None:
        return Book()
    try:
        return parse_book(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as fault:
        raise InvalidRequest(f"{path} cannot be read: {fault}") from fault


def plan_of(book: Book, config: RankingConfig, name: str, settings: Mapping[str, Settings]) -> Plan:
    """
    How a scenario wants its answers.

    Args:
        book: The file.
        config: What holds where the file says nothing.
        name: The scenario.
        settings: Of the experiments' arms that take part, by experiment; later ones win.
    """
    plan: dict[str, Any] = {
        "diversity": config.diversity,
        "diversity_method": config.diversity_method,
        "rotation_rate": config.rotation_rate,
        "rotation_seconds": config.rotation_seconds,
        "owner_pin_count_max": config.owner_pin_count_max,
        "score_min": 0.0,
        "sources": {},
        "rules": (),
        "promotions": (),
        "random_share": config.random_share,
        "memboost_insert_count_max": config.memboost_insert_count_max,
        "model": "",
    }
    own = book.scenarios.get(name, ScenarioTable())
    for table in (own, *settings.values()):
        plan |= {
            field: value
            for field in Settings.model_fields
            if (value := getattr(table, field)) is not None
        }
    rules = [(rule, book.rules[rule]) for rule in plan.pop("rules")]
    promotions = [(promotion, book.promotions[promotion]) for promotion in plan.pop("promotions")]
    return Plan(
        scenario=name,
        quotas=tuple(sorted(plan.pop("sources").items())),
        rules=tuple(
            Rule(rule, table.when.conditions(), table.boost, table.exclude) for rule, table in rules
        ),
        promotions=tuple(
            Promotion(
                promotion,
                table.when.conditions(),
                table.pin_ids,
                table.share,
                table.first_position,
            )
            for promotion, table in promotions
        ),
        insert_count_max=plan.pop("memboost_insert_count_max"),
        **plan,
    )
