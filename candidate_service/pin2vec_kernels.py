"""Skip-gram with negative sampling over sequences of pins: the numbers of pin2vec."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_U = np.uint64
_GOLDEN = _U(0x9E37_79B9_7F4A_7C15)
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_UNIT = np.float32(2.0**-24)


@njit(cache=True, nogil=True, inline="always")
def mix(state: Any) -> Any:
    """Return a number whose bits look independent of those of *state* (splitmix64)."""
    z = (state ^ (state >> _U(30))) * _U(0xBF58_476D_1CE4_E5B9)
    z = (z ^ (z >> _U(27))) * _U(0x94D0_49BB_1331_11EB)
    return z ^ (z >> _U(31))


@njit(cache=True, nogil=True, inline="always")
def draw(bits: Any, chances: Any, others: Any) -> Any:
    """Return an index drawn from an `alias_table` by 64 random bits."""
    slot = np.int64(((bits >> _U(32)) * _U(len(chances))) >> _U(32))
    is_own = np.float32(bits & _U(0xFF_FFFF)) * _UNIT < chances[slot]
    return slot if is_own else np.int64(others[slot])


@njit(cache=True)
def alias_table(weights: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """
    Prepare draws in proportion to weights, each in constant time.

    Args:
        weights: float64[n], n >= 1, >= 0, not all 0.

    Returns:
        The chance with which a slot gives its own index, float32[n], and the index that it gives
        otherwise, int32[n].

    Source: Walker 1977, in the form of Vose 1991.
    """
    n = len(weights)
    scaled = weights * (n / weights.sum())
    chances, others = np.ones(n, np.float32), np.arange(n).astype(np.int32)
    small, large = np.empty(n, np.int32), np.empty(n, np.int32)
    small_count, large_count = 0, 0
    for i in range(n):
        if scaled[i] < 1.0:
            small[small_count] = i
            small_count += 1
        else:
            large[large_count] = i
            large_count += 1
    while small_count and large_count:
        small_count -= 1
        below, above = small[small_count], large[large_count - 1]
        chances[below], others[below] = np.float32(scaled[below]), above
        scaled[above] -= 1.0 - scaled[below]
        if scaled[above] < 1.0:
            large_count -= 1
            small[small_count] = above
            small_count += 1
    return chances, others


@njit(cache=True, nogil=True, inline="always")
def _draw_targets(label: Any, noise: Any, state: Any, targets: Any) -> Any:
    """Put the label and noise pins that are not it into *targets*; return their count and state."""
    targets[0], count = label, 1
    for _ in range(len(targets) - 1):
        state += _GOLDEN
        target = draw(mix(state), noise[0], noise[1])
        if target != label:
            targets[count] = target
            count += 1
    return count, state


@njit(cache=True, nogil=True, fastmath=True, inline="always")
def _step(
    source: Any, targets: Any, target_count: Any, rate: Any, is_elu: Any, model: Any, scratch: Any
) -> None:
    """Pull the source towards targets[0] and away from the others, and each of them likewise."""
    inputs, outputs = model
    hidden, gradient = scratch
    d = len(hidden)
    for k in range(d):
        x = inputs[source, k]
        hidden[k] = np.exp(x) - _ONE if is_elu and x < _ZERO else x
        gradient[k] = _ZERO
    for place in range(target_count):
        target = targets[place]
        dot = _ZERO
        for k in range(d):
            dot += hidden[k] * outputs[target, k]
        wanted = _ONE if place == 0 else _ZERO
        slope = (wanted - _ONE / (_ONE + np.exp(-dot))) * rate
        for k in range(d):
            gradient[k] += slope * outputs[target, k]
            outputs[target, k] += slope * hidden[k]
    if is_elu:
        for k in range(d):
            inputs[source, k] += gradient[k] * min(_ONE, hidden[k] + _ONE)
    else:
        for k in range(d):
            inputs[source, k] += gradient[k]


@njit(cache=True, nogil=True, fastmath=True)
def train(
    tokens: tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int64]],
    sessions: NDArray[np.int64],
    window: tuple[int, float, bool],
    keep_chances: NDArray[np.float32],
    noise: tuple[NDArray[np.float32], NDArray[np.int32]],
    negative_count: int,
    rates: tuple[float, float],
    is_elu: bool,  # noqa: FBT001  kernels take plain arguments
    seed: int,
    model: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> int:
    """
    Take one step of gradient ascent for each pair of pins that stand close together.

    Each pin of a session is an input and each later pin in its window a label; the step raises
    log s(h . o_label) + sum over noise pins n of log s(-h . o_n), where h is the input's row or its
    ELU, o are output rows and s is the logistic function.

    Args:
        tokens: Index of each token's pin, int32[t] in [0, n); its time, float64[t], seconds, never
            falling within a session; where sessions begin, int64[s + 1].
        sessions: Which sessions to go through, in order, int64[m].
        window: How many pins after the input are labels at the most, >= 1 (the count is drawn anew
            from 1 to it for each input, so that near pins weigh more); how many seconds after it
            they may lie, >= 0; whether the input is a label of its labels as well.
        keep_chances: With which chance a token of each pin is used, float32[n].
        noise: What `alias_table` returned.
        negative_count: Noise pins drawn for each pair, >= 1; one that is the label is dropped.
        rates: Step size before the first and after the last session.
        is_elu: See above.
        seed: Any in [0, 2**64).
        model: Input and output rows, float32[n, d] each, changed.

    Returns:
        How many pairs were trained on.

    Source: Mikolov et al. 2013, sections 2.2 and 2.3; Ma 2017 (Pin2Vec): later pins are the labels,
        ELU.
    """
    pins, times, bounds = tokens
    reach_max, seconds_max, is_symmetric = window
    dimension = model[0].shape[1]
    scratch = np.empty(dimension, np.float32), np.empty(dimension, np.float32)
    targets = np.empty(negative_count + 1, np.int64)
    kept = np.empty(_longest(bounds, sessions), np.int64)
    state = mix(_U(seed) + _GOLDEN)
    pair_count = 0
    for at in range(len(sessions)):
        rate = np.float32(rates[0] + (rates[1] - rates[0]) * (at / len(sessions)))
        count = 0
        for token in range(bounds[sessions[at]], bounds[sessions[at] + 1]):
            state += _GOLDEN
            if np.float32(mix(state) & _U(0xFF_FFFF)) * _UNIT < keep_chances[pins[token]]:
                kept[count] = token
                count += 1
        for first in range(count - 1):
            state += _GOLDEN
            last = first + 1 + np.int64(mix(state) % _U(reach_max))
            for second in range(first + 1, 1 + (last if last < count else count - 1)):
                if times[kept[second]] - times[kept[first]] > seconds_max:
                    break
                source, label = np.int64(pins[kept[first]]), np.int64(pins[kept[second]])
                for _ in range(2 if is_symmetric else 1):
                    if source != label:
                        target_count, state = _draw_targets(label, noise, state, targets)
                        _step(source, targets, target_count, rate, is_elu, model, scratch)
                        pair_count += 1
                    source, label = label, source
    return pair_count


@njit(cache=True, nogil=True)
def _longest(bounds: Any, sessions: Any) -> Any:
    """Return the number of tokens in the longest of some sessions."""
    longest = 0
    for session in sessions:
        longest = max(longest, bounds[session + 1] - bounds[session])
    return longest
