"""Small worlds of impressions and actions, as tuples for the naive twin and as rows for ours."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ranking_service.memboost.counting import KINDS, Acts, Shown
from ranking_service.pin_keys import keys_of

PLATFORMS = ("other", "ios", "web")
HOUR_US = 3_600_000_000


def random_world(seed: int, list_count: int = 40, act_count: int = 60) -> tuple[Any, Any]:
    """Lists shown to a few users, some nameless, and actions, many of them beside the point."""
    rng = np.random.default_rng(seed)
    shown, acts = [], []
    for number in range(list_count):
        user = rng.choice(["ann", "bob", "cyd", ""])
        query = rng.choice(["", "q1", "q2"])
        platform = rng.choice(PLATFORMS)
        time = int(rng.integers(0, 10 * HOUR_US))
        for position, pin in enumerate(rng.permutation(8)[: rng.integers(1, 6)]):
            shown.append((f"l{number}", user, query, f"p{pin}", platform, position, time))
    for _ in range(act_count):
        list_id = rng.choice(["", f"l{rng.integers(list_count)}", "nowhere"])
        user = str(rng.choice(["ann", "bob", "cyd"]))
        time = int(rng.integers(0, 12 * HOUR_US))
        acts.append((str(list_id), user, f"p{rng.integers(8)}", str(rng.choice(KINDS)), time))
    return shown, acts


def shown_rows(shown: Sequence[Any], is_random: Any = None) -> Shown:
    """The impressions as rows."""
    columns = list(zip(*shown, strict=True)) if shown else [[] for _ in range(7)]
    count = len(shown)
    return Shown(
        keys_of(columns[0]),
        keys_of(columns[1]),
        keys_of(columns[2]),
        keys_of(columns[3]),
        np.array([PLATFORMS.index(name) for name in columns[4]], np.uint8),
        np.array(columns[5], np.uint16),
        np.array(columns[6], np.int64),
        np.zeros(count, np.bool_) if is_random is None else np.asarray(is_random, np.bool_),
    )


def act_rows(acts: Sequence[Any]) -> Acts:
    """The actions as rows."""
    columns = list(zip(*acts, strict=True)) if acts else [[] for _ in range(5)]
    return Acts(
        keys_of(columns[0]),
        keys_of(columns[1]),
        keys_of(columns[2]),
        np.array([KINDS.index(kind) for kind in columns[3]], np.uint8),
        np.array(columns[4], np.int64),
    )


def kinds_of(bits: int) -> set[str]:
    """Types of action behind the bits of an impression."""
    return {kind for place, kind in enumerate(KINDS) if bits >> place & 1}
