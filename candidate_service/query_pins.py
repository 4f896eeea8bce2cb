"""From the pins that a request names to the rows that sources start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from candidate_service.medoid_sampling import sample_medoids
from candidate_service.selection import is_in
from service_runtime.errors import NotFound


class KnowsRows(Protocol):
    """Whatever knows the rows of pins: a catalogue's ids, or those with the live pins."""

    def rows(self, ids: Sequence[str], /) -> NDArray[np.int32]:
        """Return the row of each id, int32[n], -1 where it is not known."""
        ...


@dataclass(frozen=True, slots=True)
class WeightedPins:
    """Pins as a request names them, each with its weight.

    Attributes:
        pin_ids: Ids, repeats and unknown ones allowed.
        weights: float64[n], finite and > 0.
    """

    pin_ids: Sequence[str]
    weights: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class QueriedPins:
    """What the sources start from: query pins first, then sampled medoids.

    Attributes:
        pin_ids: Distinct ids.
        rows: Their catalogue rows, int32[q].
        weights: float32[q].
        inclusion_probabilities: How likely each was to be queried, float64[q]; 1 for query pins.
        query_pin_count: How many of them are query pins; the others are medoids.
        unknown_pin_ids: Query pins and medoids that the catalogue does not know, left out.
    """

    pin_ids: list[str]
    rows: NDArray[np.int32]
    weights: NDArray[np.float32]
    inclusion_probabilities: NDArray[np.float64]
    query_pin_count: int
    unknown_pin_ids: list[str]


def choose_queried_pins(
    ids: KnowsRows,
    query_pins: WeightedPins,
    medoids: WeightedPins,
    *,
    sample_count: int,
    seed: int,
) -> QueriedPins:
    """Keep all known query pins, and sample from the known medoids that are not among them.

    Args:
        ids: The catalogue's, or those with the live pins.
        query_pins: Always queried; the weights of a pin named twice add up.
        medoids: Sampled by their weight without replacement.
        sample_count: How many medoids to sample.
        seed: Of the sample.

    Raises:
        NotFound: There are query pins, none of them is known, and no medoid is either.
    """
    pins, pin_unknown = _known(ids, query_pins)
    clusters, medoid_unknown = _known(ids, medoids)
    if query_pins.pin_ids and not len(pins.rows) and not len(clusters.rows):
        named = ", ".join(repr(pin_id) for pin_id in pin_unknown[:3])
        raise NotFound(
            f"the catalogue does not know the query pin {named}",
            hint="import the pin and build the catalogue, or query another one",
            field="query_pins[0].pin_id",
            reason="UNKNOWN_PIN",
        )
    fresh = clusters.only(~is_in(clusters.rows, np.sort(pins.rows)))
    sample = sample_medoids(fresh.weights, sample_count, seed)
    drawn = fresh.only(sample.indexes)
    unknown = list(dict.fromkeys([*pin_unknown, *medoid_unknown]))
    return QueriedPins(
        pin_ids=[*pins.pin_ids, *drawn.pin_ids],
        rows=np.concatenate([pins.rows, drawn.rows]),
        weights=np.concatenate([pins.weights, drawn.weights]).astype(np.float32),
        inclusion_probabilities=np.concatenate(
            [np.ones(len(pins.rows)), sample.inclusion_probabilities]
        ),
        query_pin_count=len(pins.rows),
        unknown_pin_ids=unknown,
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """Pins that the catalogue knows, each once."""

    pin_ids: list[str]
    rows: NDArray[np.int32]
    weights: NDArray[np.float64]

    def only(self, chosen: NDArray[np.bool_] | NDArray[np.int32]) -> _Known:
        positions = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        pin_ids = [self.pin_ids[at] for at in positions.tolist()]
        return _Known(pin_ids, self.rows[positions], self.weights[positions])


def _known(ids: KnowsRows, named: WeightedPins) -> tuple[_Known, list[str]]:
    """Return the known pins in the order named, repeats added up, and the unknown ids."""
    if not named.pin_ids:
        return _Known([], np.empty(0, np.int32), np.empty(0)), []
    rows = ids.rows(named.pin_ids)
    unknown = [named.pin_ids[at] for at in np.flatnonzero(rows < 0).tolist()]
    at = np.flatnonzero(rows >= 0)
    distinct, first, inverse = np.unique(rows[at], return_index=True, return_inverse=True)
    weights = np.zeros(len(distinct))
    np.add.at(weights, inverse, named.weights[at])
    order = np.argsort(first, kind="stable")
    pin_ids = [named.pin_ids[position] for position in at[first[order]].tolist()]
    return _Known(pin_ids, distinct[order].astype(np.int32), weights[order]), unknown
