"""Off-policy estimates, choice by choice."""

from typing import Any


def naive_ips(logged: Any) -> float:
    """Mean of weight times reward."""
    rows = zip(logged.rewards, logged.logged_chances, logged.target_chances, strict=True)
    parts = [reward * target / own for reward, own, target in rows]
    return float(sum(parts) / len(parts))


def naive_snips(logged: Any) -> float:
    """Sum of weight times reward over the sum of weights."""
    top = bottom = 0.0
    for reward, own, target in zip(
        logged.rewards, logged.logged_chances, logged.target_chances, strict=True
    ):
        top += reward * target / own
        bottom += target / own
    return float(top / bottom)


def naive_dr(logged: Any, predicted: Any, expected: Any) -> float:
    """Expected reward plus the weighted miss, mean."""
    total = 0.0
    for i in range(len(logged.rewards)):
        weight = logged.target_chances[i] / logged.logged_chances[i]
        total += expected[i] + weight * (logged.rewards[i] - predicted[i])
    return float(total / len(logged.rewards))
