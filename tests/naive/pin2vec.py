"""Skip-gram with negative sampling, one pair at a time in float64, as the formulae read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(state: int) -> int:
    """The splitmix64 of a state."""
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def numbers(seed: int) -> Iterator[int]:
    """A stream of 64-bit numbers."""
    state = mix((seed + GOLDEN) & MASK)
    while True:
        state = (state + GOLDEN) & MASK
        yield mix(state)


def drawn(bits: int, chances: Sequence[float], others: Sequence[int]) -> int:
    """An index from an alias table."""
    slot = ((bits >> 32) * len(chances)) >> 32
    return slot if (bits & 0xFFFFFF) * 2.0**-24 < chances[slot] else others[slot]


def train(
    sessions: Sequence[Sequence[tuple[int, float]]],
    *,
    window_count: int,
    window_s: float,
    is_symmetric: bool,
    keep_chances: Sequence[float],
    chances: Sequence[float],
    others: Sequence[int],
    negative_count: int,
    rates: tuple[float, float],
    is_elu: bool,
    seed: int,
    inputs: NDArray[np.float64],
    outputs: NDArray[np.float64],
) -> int:
    """Change both tables; return how many pairs there were."""
    stream = numbers(seed)
    pair_count = 0
    for place, session in enumerate(sessions):
        rate = rates[0] + (rates[1] - rates[0]) * place / len(sessions)
        kept = [
            token for token in session if (next(stream) & 0xFFFFFF) / 2**24 < keep_chances[token[0]]
        ]
        for first, (pin, time) in enumerate(kept[:-1]):
            reach = 1 + next(stream) % window_count
            for other, later in kept[first + 1 : first + 1 + reach]:
                if later - time > window_s:
                    break
                for source, label in [(pin, other), (other, pin)][: 1 + is_symmetric]:
                    if source == label:
                        continue
                    noise = [drawn(next(stream), chances, others) for _ in range(negative_count)]
                    targets = [label, *(target for target in noise if target != label)]
                    step(source, targets, rate, inputs, outputs, is_elu=is_elu)
                    pair_count += 1
    return pair_count


def step(
    source: int,
    targets: Sequence[int],
    rate: float,
    inputs: NDArray[np.float64],
    outputs: NDArray[np.float64],
    *,
    is_elu: bool,
) -> None:
    """One step of gradient ascent."""
    x = inputs[source].copy()
    hidden = np.where(x > 0, x, np.exp(x) - 1) if is_elu else x
    slope = np.where(x > 0, 1.0, np.exp(x)) if is_elu else np.ones_like(x)
    gradient = np.zeros_like(x)
    for place, target in enumerate(targets):
        error = (place == 0) - 1 / (1 + np.exp(-hidden @ outputs[target]))
        gradient += error * outputs[target]
        outputs[target] += rate * error * hidden
    inputs[source] += rate * gradient * slope
