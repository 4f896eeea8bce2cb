"""A filter is read into what it says, or refused at the place where it is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candidate_service.filter_language import (
    COMPARISON_COUNT_MAX,
    DEPTH_MAX,
    Both,
    Comparison,
    Either,
    Field,
    FilterInvalid,
    Known,
    Not,
    Placeholder,
    bind,
    parse,
    placeholders,
)

JA = Comparison(Field("language"), "=", ("ja",))
FOOD = Comparison(Field("topics"), ":", ("food",))
GOOD = Comparison(Field("quality"), ">=", (0.5,))


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ('language = "ja"', JA),
        ("language='ja'", JA),
        (' ( ( language = "ja" ) ) ', JA),
        ('language = "ja" AND topics : "food"', Both((JA, FOOD))),
        ('language = "ja" OR topics : "food" AND quality >= 0.5', Either((JA, Both((FOOD, GOOD))))),
        (
            '(language = "ja" OR topics : "food") AND quality >= 0.5',
            Both((Either((JA, FOOD)), GOOD)),
        ),
        ('NOT language = "ja" AND quality >= 0.5', Both((Not(JA), GOOD))),
        ('country IN ("JP", "KR")', Comparison(Field("country"), "=", ("JP", "KR"))),
        ('topics IN ("a", "b")', Comparison(Field("topics"), ":", ("a", "b"))),
        ('title : ("red", "blue")', Comparison(Field("title"), ":", ("red", "blue"))),
        ("attributes.price < 2e1", Comparison(Field("attributes", "price"), "<", (20.0,))),
        (
            "attributes.known = $it",
            Comparison(Field("attributes", "known"), "=", (Placeholder("it"),)),
        ),
        ("KNOWN(quality)", Known(Field("quality"))),
        (r'owner_id = "a\"\\b"', Comparison(Field("owner_id"), "=", ('a"\\b',))),
        ("owner_id = 'ein \"Wort\"'", Comparison(Field("owner_id"), "=", ('ein "Wort"',))),
        ('owner_id = "日本 AND"', Comparison(Field("owner_id"), "=", ("日本 AND",))),
    ],
)
def test_reads(text: str, node: object) -> None:
    """AND binds closer than OR, NOT closest; brackets and blanks change nothing else."""
    assert parse(text) == node


@pytest.mark.parametrize(
    ("text", "character", "reason"),
    [
        ('language = "ja" AND', 20, "a field"),
        ('language == "ja"', 11, "expected"),
        ("language = ja", 12, "a text such as"),
        ('lang = "ja"', 1, "fields: language"),
        ('language.x = "ja"', 1, "no such field"),
        ('attributes = "ja"', 1, "attributes.brand"),
        ('quality > 1 AND language < "b"', 26, "compare it by"),
        ('quality = "good"', 11, "without quotation marks"),
        ("language = 5", 12, "in quotation marks"),
        ('title = "x"', 7, "compare it by :"),
        ('country = ("JP", "US")', 9, "need IN"),
        ("quality > 1e999", 11, "too large"),
        ('language = "ja', 12, "a text such as"),
        ('language = "ja" OR OR', 20, "a field"),
        ('(language = "ja"', 17, ")"),
        ("__import__('os').system('x')", 1, "a field"),
        ("language = \x00", 12, "expected"),
        ("💥", 1, "a field"),
        (" AND ".join(["quality > 0"] * (COMPARISON_COUNT_MAX + 1)), 1, "65 comparisons"),
        ("NOT " * (DEPTH_MAX + 1) + "quality > 0", 1, "deep"),
        ("NOT " * 490 + "quality > 0", 1, "deep"),
    ],
)
def test_refuses_with_the_place(text: str, character: int, reason: str) -> None:
    """The error says at which character and what was expected there."""
    with pytest.raises(FilterInvalid, match=r"filter\.expression") as refused:
        parse(text)

    assert f"character {character}," in refused.value.message
    assert reason in refused.value.message


@given(st.text(max_size=60))
@settings(deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever comes, the answer is the same filter each time or a no that names the field."""
    try:
        node = parse(text)
    except FilterInvalid as refused:
        assert refused.message.startswith("filter.expression")  # noqa: PT017  either way is right
    else:
        assert parse(text) == node


def test_as_long_as_the_wire_allows() -> None:
    """A list as long as a request can hold is refused for its length, not by running out."""
    with pytest.raises(FilterInvalid, match="comparisons"):
        parse("country IN (" + ", ".join(['"X"'] * 390) + ")")


def test_bind_puts_values_in() -> None:
    """A value never becomes part of the text: what looks like a filter stays a word."""
    node = parse("language = $language AND quality >= $least AND attributes.price < $most")
    given_values = {"language": 'ja" OR KNOWN(quality)', "least": "0.5", "most": "20"}

    bound = bind(node, given_values)

    assert placeholders(node) == {"language", "least", "most"}
    assert bound == Both(
        (
            Comparison(Field("language"), "=", (given_values["language"],)),
            GOOD,
            Comparison(Field("attributes", "price"), "<", (20.0,)),
        )
    )


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "PARAMETER_MISSING"),
        ({"x": "much"}, "PARAMETER_INVALID"),
        ({"x": "inf"}, "PARAMETER_INVALID"),
    ],
)
def test_bind_refuses(values: dict[str, str], reason: str) -> None:
    """A missing value, and a word where a number is needed."""
    with pytest.raises(FilterInvalid) as refused:
        bind(parse("quality >= $x"), values)

    assert refused.value.reason == reason
    assert refused.value.field == "filter.parameters"
