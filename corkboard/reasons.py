"""Why a pin is in an answer, in words."""

from collections.abc import Iterable, Mapping

from corkboard.answers import Action, RecommendedPin, SourceReason

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
    if pin.because_pin_id and pin.because_pin_id == query_pin_id:
        return f"goes with {pin.because_name}"
    if pin.because_pin_id:
        verb = VERBS.get((deeds or {}).get(pin.because_pin_id, ""), "")
        return (
            f"because you {verb} {pin.because_name}" if verb else f"because of {pin.because_name}"
        )
    if any(source.source == "popular" for source in pin.sources):
        return "popular now"
    return (
        "proposed by " + ", ".join(source.source for source in pin.sources) if pin.sources else ""
    )


def evidence_in_words(pin: RecommendedPin) -> str:
    """What each source saw, shortest form, for example `on its boards, 412 visits, popular #3`.

    Of several entries of one source only the first counts.
    """
    said: dict[str, str] = {}
    for source in pin.sources:
        said.setdefault(source.source, _evidence(source))
    return ", ".join(said.values())


def _evidence(source: SourceReason) -> str:
    """One source in a word or two; an unknown one by its name and rank."""
    if source.source == "board_cooccurrence":
        return "on its boards"
    if source.source == "pixie":
        return f"{source.score:,.0f} visits" if source.score >= 1 else "visited"
    if source.source == "ann":
        return "near it"
    if source.source == "popular":
        return f"popular #{source.rank + 1}"
    return f"{source.source} #{source.rank + 1}"
