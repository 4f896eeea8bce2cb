"""Reasons read as a person would say them."""

from corkboard.answers import Action, RecommendedPin, SourceReason
from corkboard.reasons import evidence_in_words, reason_in_words, strongest_deeds


def pin(**values: object) -> RecommendedPin:
    """A recommended pin with some fields."""
    return RecommendedPin("p9", 0.5, 0, **values)  # type: ignore[arg-type]


def test_reason_names_the_deed_and_the_pin_behind() -> None:
    """`because you saved Fargo (1996)`."""
    shown = pin(because_pin_id="p1", because_title="Fargo (1996)")

    assert reason_in_words(shown, deeds={"p1": "save"}) == "because you saved Fargo (1996)"
    assert reason_in_words(shown, deeds={"p1": "click"}) == "because you clicked Fargo (1996)"


def test_reason_claims_no_deed_that_is_not_known() -> None:
    """Without the user's actions it says less rather than something wrong."""
    shown = pin(because_pin_id="p1")

    assert reason_in_words(shown) == "because of p1"


def test_reason_of_related_pins_is_the_query_pin() -> None:
    """What was asked about is no deed of the user."""
    shown = pin(because_pin_id="p1", because_title="Fargo (1996)")

    assert reason_in_words(shown, query_pin_id="p1") == "goes with Fargo (1996)"


def test_reason_without_a_pin_behind_is_popularity_or_the_source() -> None:
    """Nothing personal is pretended."""
    assert reason_in_words(pin(sources=(SourceReason("popular", 4, 9.0),))) == "popular now"
    assert reason_in_words(pin(sources=(SourceReason("fresh", 4, 9.0),))) == "proposed by fresh"
    assert reason_in_words(pin()) == ""


def test_long_names_are_cut_in_reasons() -> None:
    """A reason stays on a line or two."""
    shown = pin(because_pin_id="p1", because_title="Shanghai Triad (Yao a yao yao dao waipo qiao)")

    assert reason_in_words(shown) == "because of Shanghai Triad (Yao a yao yao dao…"


def test_pin_is_not_its_own_reason() -> None:
    """Somebody ranks what they have saved."""
    shown = pin(because_pin_id="p9")

    assert reason_in_words(shown, deeds={"p9": "save"}) == "you saved it already"
    assert reason_in_words(shown) == "you know it already"


def test_evidence_says_what_each_source_saw_once() -> None:
    """Rank from 1, one a source, in the order of the answer."""
    shown = pin(
        sources=(
            SourceReason("pixie", 0, 1412.0, "p1"),
            SourceReason("board_cooccurrence", 2, 0.3, "p1"),
            SourceReason("ann", 7, 0.9, "p1"),
            SourceReason("ann", 9, 0.8, "p2"),
            SourceReason("popular", 2, 99.0),
            SourceReason("fresh", 5, 1.0),
        ),
    )

    assert evidence_in_words(shown) == "walks 1 · boards 3 · nearest 8 · popular 3 · fresh 6"


def test_strongest_deed_wins_whatever_the_order() -> None:
    """A save outweighs a click, a hide is no deed to give as a reason."""
    actions = [
        Action("u1", "p1", "click"),
        Action("u1", "p1", "save"),
        Action("u1", "p1", "view"),
        Action("u1", "p2", "hide"),
    ]

    assert strongest_deeds(actions) == strongest_deeds(actions[::-1]) == {"p1": "save"}
