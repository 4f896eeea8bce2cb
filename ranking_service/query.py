"""What a caller asks of ranking, as plain values."""

from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b


class Surface(IntEnum):
    """Where the answer will be shown."""

    HOME_FEED = 1
    RELATED_PINS = 2


@dataclass(frozen=True, slots=True)
class Viewer:
    """
    Where the reader is.

    Attributes:
        language: As the catalogue spells it, for example `ja`; empty = unknown.
        country: As the catalogue spells it, for example `JP`; empty = unknown.
    """

    language: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True)
class RecommendQuery:
    """
    What should this user see now, or what goes with a pin for this user.

    Attributes:
        user_id: For whom; empty = nobody known.
        surface: Where the answer will be shown.
        query_pin_id: The pin that the answer should go with; empty = none.
        limit: How many pins at the most, >= 1.
        viewer: Where the reader is.
        excluded_pin_ids: Pins that must not be in the answer.
        include_acted_pins: Whether pins that the user acted on may be in the answer.
        seed: Of sampling and walks, in [0, 2**64).
        request_id: Of the call; part of the answer's name.
    """

    user_id: str
    surface: Surface
    query_pin_id: str
    limit: int
    viewer: Viewer
    excluded_pin_ids: tuple[str, ...]
    include_acted_pins: bool
    seed: int
    request_id: str


@dataclass(frozen=True, slots=True)
class RankQuery:
    """
    In which order should these pins stand for this user.

    Attributes:
        user_id: For whom; empty = nobody known.
        query_pin_id: The pin they should go with; empty = none.
        pin_ids: Distinct pins.
        viewer: Where the reader is.
        request_id: Of the call; part of the answer's name.
    """

    user_id: str
    query_pin_id: str
    pin_ids: tuple[str, ...]
    viewer: Viewer
    request_id: str

    @property
    def surface(self) -> Surface:
        """Related pins with a query pin, else the home feed."""
        return Surface.RELATED_PINS if self.query_pin_id else Surface.HOME_FEED


def seed_of(request_id: str) -> int:
    """A request's seed in [1, 2**64), made from its id, so that any answer can be replayed."""
    return int.from_bytes(blake2b(request_id.encode(), digest_size=8).digest(), "big") or 1
