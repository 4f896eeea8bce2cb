"""Candidates beside a set of pins by shared boards: sets and loops, as the definition reads."""

from typing import Any


def overlap(candidate: int, pins: Any, boards_of: Any, pins_of: Any) -> Any:
    """The seven figures of one candidate."""
    own = boards_of[candidate]
    if not own:
        return [0.0] * 7
    degree = len(own)
    near = walked = small = alike = most = 0.0
    one = two = 0
    for board in own:
        both = [pin for pin in pins if board in boards_of[pin]]
        if not both:
            continue
        size = len(pins_of[board])
        weight = sum(len(boards_of[pin]) ** -0.5 for pin in both)
        near += weight
        walked += sum(1 / len(boards_of[pin]) for pin in both) / size
        small += weight / size**0.5
        cosine = len(both) / (size * len(pins)) ** 0.5
        alike += cosine**2
        most = max(most, cosine)
        one += 1
        two += len(both) >= 2
    damped = degree**-0.5
    return [
        near * damped,
        walked * degree**-0.4,
        small * damped,
        alike * damped,
        most,
        one / degree,
        two / degree,
    ]
