"""Words, JSON and tables of the command line."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console, RenderableType

from corkboard.answers import (
    Cluster,
    Degradation,
    Profile,
    Recommendations,
    RecommendedPin,
    SourceReason,
)
from corkboard.cli.output import age_in_words, in_bytes, plain
from corkboard.cli.story import change_table
from corkboard.cli.tables import profile_table, recommendation_table


def text_of(renderable: RenderableType, width: int = 120) -> str:
    """What a reader would see, without colours."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def answer(*pin_ids: str, **values: object) -> Recommendations:
    """An answer of these pins in this order."""
    pins = tuple(
        RecommendedPin(
            pin_id,
            0.5,
            position,
            (SourceReason("pixie", 0, 412.0, "p1"),),
            "p1",
            f"Title of {pin_id}",
            "Fargo (1996)",
        )
        for position, pin_id in enumerate(pin_ids)
    )
    return Recommendations("list-1", pins, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(seconds=-5), "in the future"),
        (timedelta(seconds=59), "59 s"),
        (timedelta(minutes=59, seconds=59), "59 min"),
        (timedelta(hours=47), "47 h"),
        (timedelta(days=2), "2 days"),
        (timedelta(days=1200), "1,200 days"),
    ],
)
def test_ages_are_one_unit_rounded_down(age: timedelta, words: str) -> None:
    """As people say them."""
    assert age_in_words(age) == words


def test_sizes_are_decimal() -> None:
    """A thousand bytes are a kilobyte."""
    assert [in_bytes(n) for n in (12, 1234, 12_345_678)] == ["12 B", "1.2 KB", "12.3 MB"]


def test_json_of_an_answer_has_every_field_and_plain_values() -> None:
    """What --json prints is JSON: ages in seconds, values as objects."""
    shown = answer("p2", profile_age=timedelta(hours=1), degradations=(Degradation("a", "b"),))

    document = json.loads(json.dumps(plain(shown)))

    assert document["profile_age"] == 3600
    assert document["pins"][0]["sources"][0]["query_pin_id"] == "p1"
    assert document["degradations"] == [{"part": "a", "reason": "b"}]


def test_json_times_are_iso_with_their_zone() -> None:
    """No naive times leave the command line."""
    assert plain(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00+00:00"


def test_recommendations_show_title_reason_evidence_and_health() -> None:
    """Everything a person needs to judge an answer is in the table or below it."""
    shown = text_of(
        recommendation_table(
            answer(
                "p2",
                profile_age=timedelta(hours=3),
                degradations=(Degradation("source:ann", "late"),),
                model="pointwise_gbdt",
            ),
            title="For u1",
            deeds={"p1": "save"},
        ),
    )

    for words in (
        "Title of p2",
        "because you saved Fargo (1996)",
        "walks 1",
        "degraded: source:ann: late",
        "model pointwise_gbdt",
        "profile 3 h old",
    ):
        assert words in shown


def test_cold_start_and_emptiness_are_said() -> None:
    """An empty cold start does not look like a success."""
    shown = text_of(recommendation_table(answer(is_cold_start=True), title="For u1"))

    assert "nothing to recommend" in shown
    assert "cold start" in shown


def test_titles_with_brackets_are_shown_as_they_are() -> None:
    """What looks like markup in data is data."""
    pin = RecommendedPin("p1", 0.5, 0, title="[bold]not bold[/bold]", because_pin_id="[red]x")

    shown = text_of(recommendation_table(Recommendations("l", (pin,)), title="For [red]u1"))

    assert "[bold]not bold[/bold]" in shown
    assert "because of [red]x" in shown
    assert "For [red]u1" in shown


def test_profile_shows_shares_that_sum_and_the_rest_in_a_word() -> None:
    """Importance is relative, so it is shown as a share."""
    clusters = tuple(Cluster(f"p{n}", 1.0, 2, None, "batch", f"T{n}") for n in range(4))

    shown = text_of(profile_table(Profile("u1", clusters), limit=2))

    assert shown.count("25%") == 2
    assert "and 2 smaller ones" in shown


def test_change_marks_new_pins_and_says_where_others_were() -> None:
    """A diff that can be read at a glance."""
    shown = text_of(change_table(answer("a", "b"), answer("b", "c")))

    rows = [line.split()[:2] for line in shown.splitlines() if "Title" in line]
    assert rows == [["1", "2"], ["2", "new"]]


def test_profile_shows_other_pins_below_their_medoid() -> None:
    """A cluster is easier to judge by three names than by one."""
    profile = Profile("u1", (Cluster("p1", 1.0, 2, None, "batch", "Jaws"),))

    shown = text_of(profile_table(profile, beside={"p1": ["Alien"]})).splitlines()

    (at,) = (number for number, line in enumerate(shown) if "Jaws" in line)
    assert shown[at + 1].strip() == "Alien"
