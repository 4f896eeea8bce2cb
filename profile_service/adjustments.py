"""What users say about their interests: mute this one, boost that one, forget another.

An adjustment names a pin and holds for every cluster that the pin falls into: the cluster whose
medoid it is, or one that the pin would join by the rule that made the clusters. As stores keep
medoids only, the medoid stands for the centre: pin p falls into a cluster of n actions with medoid
m if 2 n / (n + 1) |p - m|^2 <= alpha.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from profile_service.actions import ActionColumns
from profile_service.profile import Clusters

ADJUSTMENTS_MAX: Final = 1000
"""Of one user; the oldest go first."""
BOOST_FACTOR: Final = 2.0


class AdjustmentKind(IntEnum):
    """What to do with an interest; the numbers are those of the wire and of the stores."""

    RESET = 1
    MUTE = 2
    BOOST = 3
    FORGET = 4


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What a user said about an interest: which pin stands for it, what, and when."""

    pin_id: str
    kind: AdjustmentKind
    time_us: int


class PinSpace(Protocol):
    """What is known about pins: the number of each, and its vector."""

    def rows(self, pin_ids: Sequence[str]) -> NDArray[np.int32]:
        """Number of each pin, int32[n]; -1 for a pin that the catalogue does not know (yet)."""

    def vectors_of(self, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """Vector of each number >= 0, float32[n, d], unit length; zero for a pin without one."""


def with_adjustment(adjustments: Sequence[Adjustment], new: Adjustment) -> tuple[Adjustment, ...]:
    """
    Take an adjustment in: it replaces what was said about the same pin; a reset takes it back.

    A reset does not bring back what was forgotten: those actions stay left out, as the user said.
    """
    is_reset = new.kind is AdjustmentKind.RESET
    kept = [
        old
        for old in adjustments
        if old.pin_id != new.pin_id
        or (old.kind is AdjustmentKind.FORGET and new.kind is not AdjustmentKind.FORGET)
    ]
    return tuple([*kept, *([] if is_reset else [new])][-ADJUSTMENTS_MAX:])


def adjusted(
    clusters: Clusters,
    adjustments: Sequence[Adjustment],
    space: PinSpace,
    *,
    alpha: float,
) -> Clusters:
    """
    Leave muted interests out and double boosted ones.

    Args:
        clusters: In any order.
        adjustments: Of the user.
        space: The pins.
        alpha: Greatest squared Ward height within a cluster.

    Returns:
        The clusters that are left, in their order.
    """
    factors = np.ones(len(clusters))
    for kind, factor in ((AdjustmentKind.BOOST, BOOST_FACTOR), (AdjustmentKind.MUTE, 0.0)):
        pins = [one.pin_id for one in adjustments if one.kind is kind]
        if pins and len(clusters):
            counts = clusters.action_counts
            factors[_falls_into(pins, clusters.medoid_pin_ids, counts, space, alpha)] *= factor
    places = np.flatnonzero(factors > 0)
    left = clusters.take(places)
    return Clusters(
        left.medoid_pin_ids,
        left.importances * factors[places],
        left.action_counts,
        left.newest_times_us,
    )


def forgotten(
    actions: ActionColumns,
    adjustments: Sequence[Adjustment],
    space: PinSpace,
    *,
    alpha: float,
) -> NDArray[np.bool_]:
    """
    Tell which actions belong to an interest that the user had forgotten after them, bool[n].

    What the user does with such pins later counts again.
    """
    gone = np.zeros(len(actions), np.bool_)
    for one in adjustments:
        before = np.flatnonzero((actions.times_us <= one.time_us) & ~gone)
        if one.kind is not AdjustmentKind.FORGET or not len(before):
            continue
        pins = [actions.pin_ids[row] for row in before.tolist()]
        ones = np.ones(len(pins), np.int64)
        gone[before[_falls_into([one.pin_id], pins, ones, space, alpha)]] = True
    return gone


def unwanted(
    pin_ids: Sequence[str],
    adjustments: Sequence[Adjustment],
    space: PinSpace,
    *,
    alpha: float,
) -> NDArray[np.bool_]:
    """Tell which pins belong to an interest that is muted, bool[n]."""
    muted = [one.pin_id for one in adjustments if one.kind is AdjustmentKind.MUTE]
    if not muted or not pin_ids:
        return np.zeros(len(pin_ids), np.bool_)
    return _falls_into(muted, pin_ids, np.ones(len(pin_ids), np.int64), space, alpha)


def _falls_into(
    pins: Sequence[str],
    medoids: Sequence[str],
    counts: NDArray[np.int64],
    space: PinSpace,
    alpha: float,
) -> NDArray[np.bool_]:
    """Tell which clusters any of the pins falls into, bool[c]."""
    named = set(pins)
    hit = np.array([medoid in named for medoid in medoids], np.bool_)
    vectors, centres = _vectors(space, pins), _vectors(space, medoids)
    known = vectors.any(axis=1)
    if known.any():
        squares = 2.0 - 2.0 * (centres @ vectors[known].T)
        heights = squares * (2.0 * counts / (counts + 1.0))[:, None]
        hit |= centres.any(axis=1) & (heights <= alpha).any(axis=1)
    return hit


def _vectors(space: PinSpace, pins: Sequence[str]) -> NDArray[np.float32]:
    """Vector of each pin, float32[n, d], zero where there is none."""
    rows = space.rows(pins)
    vectors = space.vectors_of(np.maximum(rows, 0)) if len(rows) else space.vectors_of(rows)
    return vectors * (rows >= 0)[:, None]
