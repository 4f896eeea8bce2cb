"""Why a pin is in an answer, in words."""

from collections.abc import Iterable, Mapping

from corkboard.answers import Action, RecommendedPin

# What a person did to the pin behind a recommendation; the strongest deed first.
VERBS = {
    "purchase": "bought",
    "save": "saved",
    "like": "liked",
    "share": "shared",
    "comment": "wrote about",
    "download": "downloaded",
    "long_click": "read",
    "add_to_cart": "put aside",
    "click": "clicked",
    "close_up": "looked at",
    "view": "saw",
}
# What a source is called in a table: pins met by random walks, on the same boards, near in vectors,
# acted on in the same sessions, alike in words or picture, or from prepared lists.
SOURCE_WORDS = {
    "pixie": "walks",
    "board_cooccurrence": "boards",
    "ann": "nearest",
    "text_search": "words",
    "visual": "pictures",
    "popular": "popular",
}
NAME_LENGTH_MAX = 34
_STRENGTH = {action_type: len(VERBS) - rank for rank, action_type in enumerate(VERBS)}


def strongest_deeds(actions: Iterable[Action]) -> dict[str, str]:
    """For each pin the strongest thing that was done to it: pin id → action type."""
    deeds: dict[str, str] = {}
    for action in actions:
        known = _STRENGTH.get(deeds.get(action.pin_id, ""), 0)
        if _STRENGTH.get(action.action_type, 0) > known:
            deeds[action.pin_id] = action.action_type
    return deeds


def reason_in_words(
    pin: RecommendedPin,
    *,
    deeds: Mapping[str, str] | None = None,
    query_pin_id: str = "",
) -> str:
    """One clause on why the pin is there, for example `because you saved Fargo (1996)`.

    Args:
        pin: Of an answer.
        deeds: What the user did to the pins behind answers, as `strongest_deeds` gives it.
        query_pin_id: The pin that the answer should go with; "" for the home feed.
    """
    name = shortened(pin.because_name)
    if pin.because_pin_id and pin.because_pin_id == query_pin_id:
        return f"goes with {name}"
    if pin.because_pin_id == pin.pin_id:
        return f"you {VERBS.get((deeds or {}).get(pin.pin_id, ''), 'know')} it already"
    if pin.because_pin_id:
        verb = VERBS.get((deeds or {}).get(pin.because_pin_id, ""), "")
        return f"because {f'you {verb}' if verb else 'of'} {name}"
    if any(source.source == "popular" for source in pin.sources):
        return "popular now"
    return (
        "proposed by " + ", ".join(source.source for source in pin.sources) if pin.sources else ""
    )


def shortened(name: str) -> str:
    """A name of at most `NAME_LENGTH_MAX` characters, cut with an ellipsis."""
    return name if len(name) <= NAME_LENGTH_MAX else f"{name[: NAME_LENGTH_MAX - 1].rstrip()}…"


def evidence_in_words(pin: RecommendedPin) -> str:
    """Which sources proposed it, at which rank from 1: `walks 1 · boards 3 · nearest 7`.

    Of several entries of one source only the first counts.
    """
    ranks: dict[str, int] = {}
    for source in pin.sources:
        ranks.setdefault(source.source, source.rank + 1)
    return " · ".join(f"{SOURCE_WORDS.get(name, name)} {rank}" for name, rank in ranks.items())
