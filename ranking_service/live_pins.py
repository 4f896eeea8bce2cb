"""
Pins that are younger than our catalogue, as candidate_service described them with its lists.

For one request they get the rows behind the catalogue's last one, so that everything that works on
rows works on them as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ranking_service.catalogue import UNKNOWN, Catalogue
from ranking_service.pin_keys import keys_of


@dataclass(frozen=True, slots=True)
class LivePin:
    """
    One pin as it was told.

    Attributes:
        pin_id: Its id.
        language: Empty = not known.
        country: Empty = not known.
        topics: Its topics.
        owner_id: Empty = not known.
        creation_time: Unix seconds; NaN = not known.
        vector: Its direction; empty = none.
    """

    pin_id: str
    language: str = ""
    country: str = ""
    topics: tuple[str, ...] = ()
    owner_id: str = ""
    creation_time: float = float("nan")
    vector: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class LivePins:
    """
    The young pins of one request; the pin at place i has the row base_count + i.

    Attributes:
        base_count: Number of pins in the catalogue.
        ids: Their ids.
        places: Place of each id.
        pin_keys: Key of each, uint64[k].
        owner_keys: Key of each owner, uint64[k]; 0 = not known.
        vectors: Unit length, or zero for none, float32[k, d].
        language_codes: In the catalogue's numbers, int32[k]; UNKNOWN = none that it knows.
        country_codes: Alike.
        creation_times: Unix seconds, float64[k]; NaN = not known.
        topic_offsets: Where each pin's topics start, int64[k + 1].
        topic_codes: In the catalogue's numbers, int32[t]; topics that it does not know are left
            out.
    """

    base_count: int
    ids: tuple[str, ...]
    places: Mapping[str, int]
    pin_keys: NDArray[np.uint64]
    owner_keys: NDArray[np.uint64]
    vectors: NDArray[np.float32]
    language_codes: NDArray[np.int32]
    country_codes: NDArray[np.int32]
    creation_times: NDArray[np.float64]
    topic_offsets: NDArray[np.int64]
    topic_codes: NDArray[np.int32]

    def __len__(self) -> int:
        """Number of pins."""
        return len(self.ids)

    def row(self, pin_id: str) -> int:
        """The row of a pin for this request, UNKNOWN if it is none of these."""
        place = self.places.get(pin_id)
        return UNKNOWN if place is None else self.base_count + place


def live_pins(pins: Sequence[LivePin], catalogue: Catalogue, *, dimension: int) -> LivePins | None:
    """
    Describe pins in the catalogue's numbers.

    Args:
        pins: Pins that the catalogue does not know; of one that comes twice the first counts.
        catalogue: Gives the numbers.
        dimension: Of our vectors; one of another length counts as none, and so does one that is
            not finite.

    Returns:
        None without any pin.
    """
    distinct = list({pin.pin_id: pin for pin in reversed(pins)}.values())[::-1]
    if not distinct:
        return None
    topics = [
        [
            code
            for topic in pin.topics
            if (code := catalogue.topic_code_by_word.get(topic)) is not None
        ]
        for pin in distinct
    ]
    offsets = np.zeros(len(distinct) + 1, np.int64)
    np.cumsum([len(codes) for codes in topics], out=offsets[1:])
    return LivePins(
        base_count=len(catalogue.pin_ids),
        ids=tuple(pin.pin_id for pin in distinct),
        places={pin.pin_id: place for place, pin in enumerate(distinct)},
        pin_keys=keys_of([pin.pin_id for pin in distinct]),
        owner_keys=keys_of([pin.owner_id for pin in distinct]),
        vectors=_unit_vectors(distinct, dimension),
        language_codes=np.array([catalogue.languages.code(p.language) for p in distinct], np.int32),
        country_codes=np.array([catalogue.countries.code(p.country) for p in distinct], np.int32),
        creation_times=np.array([pin.creation_time for pin in distinct], np.float64),
        topic_offsets=offsets,
        topic_codes=np.array([code for codes in topics for code in codes], np.int32),
    )


def _unit_vectors(pins: Sequence[LivePin], dimension: int) -> NDArray[np.float32]:
    """Directions of the pins, float32[k, dimension]; zero where there is no fit one."""
    vectors = np.zeros((len(pins), dimension), np.float32)
    for place, pin in enumerate(pins):
        if dimension and len(pin.vector) == dimension:
            vectors[place] = pin.vector
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    is_fit = np.isfinite(lengths) & (lengths > 0)
    return np.where(is_fit, vectors / np.where(is_fit, lengths, 1.0), 0.0).astype(np.float32)
