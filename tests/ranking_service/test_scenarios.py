"""Scenario files: what is right in them, and what is said of what is wrong."""

from pathlib import Path

import pytest

from ranking_service.config import RankingConfig
from ranking_service.scenarios import parse_book, plan_of, read_book
from service_runtime.errors import InvalidRequest

EXPERIMENT = """
[experiments.e]
control = "a"
shares = { a = 0.5, b = 0.5 }
arms = { a = {}, b = {} }
"""
DOCUMENT = Path(__file__).parents[2] / "docs" / "scenarios.md"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("scenarios = 3", ["scenarios"]),
        ("this is not toml", ["TOML"]),
        ("[scenarios.a]\nunheard = 1", ["scenarios.a.unheard"]),
        ("[scenarios.a]\ndiversity = 1.5", ["scenarios.a.diversity"]),
        ("[scenarios.A-b]\n", ["scenarios.A-b"]),
        (
            '[scenarios.a]\nrules = ["x"]\npromotions = ["y"]',
            ["scenarios.a.rules: there is no 'x'", "scenarios.a.promotions: there is no 'y'"],
        ),
        ("[rules.r]\nboost = 1\n[rules.r.when]", ["rules.r", "at least one condition"]),
        ('[rules.r]\nwhen = { topics = ["a"] }', ["rules.r", "either a boost"]),
        ("[promotions.p]\nshare = 0.5", ["promotions.p", "pin_ids"]),
        (EXPERIMENT.replace("b = 0.5", "b = 0.4"), ["experiments.e", "sum to 1"]),
        (EXPERIMENT.replace('"a"', '"c"'), ["experiments.e", "none of the arms"]),
        (EXPERIMENT.replace("b = 0.5", "c = 0.5"), ["experiments.e", "exactly the arms"]),
        (EXPERIMENT + 'scenarios = ["nowhere"]', ["there is no 'nowhere'"]),
    ],
)
def test_every_fault_is_named(text: str, faults: list[str]) -> None:
    """With its place in the file."""
    with pytest.raises(InvalidRequest) as caught:
        parse_book(text)

    for fault in faults:
        assert fault in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The path and the reason."""
    with pytest.raises(InvalidRequest, match="nothing"):
        read_book(tmp_path / "nothing.toml")


def test_what_a_scenario_leaves_out_is_as_the_settings_say() -> None:
    """The file first, the settings where it is silent; arms win over both."""
    config = RankingConfig(diversity=0.2, owner_pin_count_max=7, random_share=0.0)
    book = parse_book("[scenarios.a]\nowner_pin_count_max = 0")

    plan = plan_of(book, config, "a", {})
    other = plan_of(book, config, "home_feed", {})

    assert (plan.diversity, plan.owner_pin_count_max) == (0.2, 0)
    assert (other.diversity, other.owner_pin_count_max) == (0.2, 7)


def test_the_documented_file_is_right() -> None:
    """The example of the guide is read by the same code that servers use."""
    example = DOCUMENT.read_text().split("```toml\n")[1].split("```")[0]

    book = parse_book(example)

    assert book.scenarios
    assert book.rules
    assert book.promotions
    assert book.experiments
