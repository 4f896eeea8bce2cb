"""Walks one walker and one step at a time, and where they must end up on average."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WORD = 2**64
HALF = 2**32


def random_number(stream: int, position: int) -> int:
    """Number *position* of a splitmix64 stream, in integers without limits."""
    z = (stream + position * 0x9E3779B97F4A7C15) % WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % WORD
    return z ^ (z >> 31)


def choose(neighbours: Sequence[int], number: int) -> tuple[int, int]:
    """Choose by a number of 32 bits; return the choice and what is left of the number."""
    product = number * len(neighbours)
    return neighbours[product // HALF], product % HALF


def preferred(
    neighbours: Sequence[int],
    coin: int,
    languages: tuple[Sequence[int], int, float],
    topics: tuple[Sequence[int], int, float] | None,
) -> Sequence[int]:
    """What a hop chooses among: the topic in the language, else the language, else all."""
    tags, language, bias = languages
    kept = [node for node in neighbours if tags[node] == language]
    if topics is not None and coin < int(topics[2] * HALF):
        both = [node for node in kept if topics[0][node] == topics[1]]
        if both:
            return both
    return kept if kept and coin < bias * HALF else neighbours


def walk(
    boards_of: Sequence[Sequence[int]],
    pins_of: Sequence[Sequence[int]],
    *,
    start: int,
    seed: int,
    round_count: int,
    walker_count: int,
    restart: float,
    early_stop: tuple[int, int] | None = None,
    languages: tuple[Sequence[int], Sequence[int]] | None = None,
    language: int = -1,
    bias: float = 0.0,
    topics: tuple[Sequence[int], Sequence[int]] | None = None,
    topic: int = -1,
    topic_bias: float = 0.0,
    counts_boards: bool = False,
) -> tuple[dict[int, int], int]:
    """
    Walk and count.

    Returns:
        Visits of each pin, in the order of first visit, and the rounds done.
    """
    stream = random_number(random_number(seed, 0), start)
    positions = [start] * walker_count
    visits: dict[int, int] = {}
    for i in range(round_count):
        if early_stop and sum(n >= early_stop[0] for n in visits.values()) >= early_stop[1]:
            return visits, i
        for k in range(walker_count):
            number = random_number(stream, i * walker_count + k)
            boards, coin = boards_of[positions[k]], 0
            if languages:
                coin = random_number(WORD - 1 - stream, i * walker_count + k)
                about = (topics[1], topic, topic_bias) if topics else None
                boards = preferred(boards, coin % HALF, (languages[1], language, bias), about)
            board, _ = choose(boards, number % HALF)
            pins = pins_of[board]
            if languages:
                about = (topics[0], topic, topic_bias) if topics else None
                pins = preferred(pins, coin // HALF, (languages[0], language, bias), about)
            pin, rest = choose(pins, number // HALF)
            counted = board if counts_boards else pin
            visits[counted] = visits.get(counted, 0) + 1
            positions[k] = start if rest < restart * HALF else pin
    return visits, round_count


def arrival_chances(
    boards_of: Sequence[Sequence[int]],
    pins_of: Sequence[Sequence[int]],
    *,
    start: int,
    step_count: int,
    restart: float,
) -> NDArray[np.float64]:
    """The chance of arriving at each pin with step t, float64[step_count, pins], by matrices."""
    to_board = np.zeros((len(boards_of), len(pins_of)))
    to_pin = np.zeros((len(pins_of), len(boards_of)))
    for pin, boards in enumerate(boards_of):
        for board in boards:
            to_board[pin, board] = 1 / len(boards)
    for board, pins in enumerate(pins_of):
        for pin in pins:
            to_pin[board, pin] = 1 / len(pins)
    home = np.eye(len(boards_of))[start]
    position, chances = home, []
    for _ in range(step_count):
        arrival = position @ to_board @ to_pin
        chances.append(arrival)
        position = restart * home + (1 - restart) * arrival
    return np.array(chances)
