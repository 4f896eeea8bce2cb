"""Memboost by dictionaries: the slow and obvious twin of `ranking_service.memboost`."""

from collections import defaultdict
from collections.abc import Sequence
from math import log
from typing import Any

KINDS = ("click", "long_click", "close_up", "save")


def credited(shown: Sequence[Any], acts: Sequence[Any], window_us: int) -> list[set[str]]:
    """
    The types of action that followed each impression.

    Args:
        shown: (list, user, query, pin, platform, position, time), each pin of a list once.
        acts: (list or "", user, pin, kind, time).
        window_us: How long after an impression an action counts.
    """
    followed: list[set[str]] = [set() for _ in shown]
    for act_list, act_user, act_pin, kind, time in acts:
        best = -1
        for place, (list_id, user, _, pin, _, _, shown_time) in enumerate(shown):
            is_same = list_id == act_list if act_list else bool(user) and user == act_user
            if not is_same or pin != act_pin or shown_time > time:
                continue
            if best < 0 or shown_time >= shown[best][6]:
                best = place
        if best >= 0 and time - shown[best][6] < window_us:
            followed[best].add(kind)
    return followed


def scores(
    shown: Sequence[Any],
    followed: Sequence[set[str]],
    rates: Any,
    weights: dict[str, float],
    smoothing: float,
) -> dict[tuple[str, str], float]:
    """
    Memboost score of each pair (query, pin).

    Args:
        shown: As above.
        followed: As `credited` says.
        rates: rate(is_related, platform, position, kind) of an action at a place.
        weights: Weight of each type.
        smoothing: a.
    """
    actions: dict[tuple[str, str], float] = defaultdict(float)
    expected: dict[tuple[str, str], float] = defaultdict(float)
    for (_, _, query, pin, platform, position, _), kinds in zip(shown, followed, strict=True):
        for kind in KINDS:
            actions[query, pin] += weights[kind] * (kind in kinds)
            expected[query, pin] += weights[kind] * rates(bool(query), platform, position, kind)
    return {
        pair: log((actions[pair] + smoothing) / (expected[pair] + smoothing)) for pair in actions
    }
