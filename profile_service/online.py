"""Today's actions folded into last night's profile: a pure function of what the stores hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profile_service.actions import (
    VOIDING,
    Action,
    ActionColumns,
    ActionType,
    columns_of,
    evidence,
    join,
)
from profile_service.adjustments import (
    Adjustment,
    AdjustmentKind,
    PinSpace,
    adjusted,
    forgotten,
)
from profile_service.clustering import cluster_actions
from profile_service.codec import Declared
from profile_service.profile import DAY_SECONDS, NO_CLUSTERS, ClusterOrigin, Clusters, merge


@dataclass(frozen=True, slots=True)
class Rules:
    """
    The constants of a profile.

    Attributes:
        alpha: Greatest squared Ward height within a cluster.
        decay_per_day: Lambda of importance.
        window_days: Older actions form no interests.
        cluster_action_count_max: Only the newest so many actions of interest are clustered.
        declared_evidence_half: Importance of acted-on interests at which declared ones count half.
    """

    alpha: float
    decay_per_day: float
    window_days: float
    cluster_action_count_max: int
    declared_evidence_half: float


@dataclass(frozen=True, slots=True)
class BatchPart:
    """
    What the last generation says about a user.

    Attributes:
        clusters: Importances as of as_of_us.
        as_of_us: When it was built, microseconds since the epoch.
        history: Gives the stored actions, oldest first; asked only when it is needed.
    """

    clusters: Clusters
    as_of_us: int
    history: Callable[[], ActionColumns]


def cluster_columns(
    actions: ActionColumns,
    kept: NDArray[np.bool_],
    space: PinSpace,
    rules: Rules,
    *,
    now: float,
    rows: NDArray[np.int32] | None = None,
) -> Clusters:
    """
    Cluster a user's actions, for last night's profiles and today's alike.

    Left out are actions that do not speak for an interest, that lie outside the window, whose pin
    the catalogue does not know (they join once it does), and all but the newest
    `cluster_action_count_max`.

    Args:
        actions: Oldest first.
        kept: Which of them speak for an interest (`actions.evidence`), bool[n].
        space: The pins.
        rules: The constants.
        now: The moment for which importance is wanted, Unix seconds.
        rows: Number of each action's pin, where it was looked up already.
    """
    oldest_us = (now - rules.window_days * DAY_SECONDS) * 1e6
    chosen = np.flatnonzero(kept & (actions.times_us >= oldest_us))
    if rows is None:
        numbers = space.rows([actions.pin_ids[row] for row in chosen.tolist()])
    else:
        numbers = rows[chosen]
    is_known = numbers >= 0
    chosen = chosen[is_known][-rules.cluster_action_count_max :]
    numbers = numbers[is_known][-rules.cluster_action_count_max :]
    if len(chosen) == 0:
        return NO_CLUSTERS
    return _named(actions, chosen, numbers, space, rules, now=now)


def _named(
    actions: ActionColumns,
    chosen: NDArray[np.int64],
    numbers: NDArray[np.int32],
    space: PinSpace,
    rules: Rules,
    *,
    now: float,
) -> Clusters:
    """Cluster the chosen actions and give the medoids their names back."""
    found = cluster_actions(
        numbers,
        space.vectors_of(numbers),
        actions.times_us[chosen] / 1e6,
        actions.strengths[chosen],
        now=now,
        alpha=rules.alpha,
        decay_per_day=rules.decay_per_day,
    )
    newest_us = np.full(len(found), np.iinfo(np.int64).min)
    np.maximum.at(newest_us, found.labels, actions.times_us[chosen])
    order = np.argsort(numbers, kind="stable")
    at = chosen[order[np.searchsorted(numbers[order], found.medoids)]]
    return Clusters(
        [actions.pin_ids[row] for row in at.tolist()],
        found.importances,
        found.action_counts,
        newest_us,
    )


def fold(
    batch: BatchPart | None,
    online: ActionColumns,
    declared: Declared | None,
    space: PinSpace,
    rules: Rules,
    *,
    now: float,
    adjustments: Sequence[Adjustment] = (),
) -> tuple[Clusters, NDArray[np.uint8]]:
    """
    Unite what is known of a user into one list of clusters.

    Actions after the batch run give clusters of their own, beside those of the batch run, whose
    importances are let decay from then to now. A hide, report or unsave reaches across: where one
    touches a pin of the stored history, the batch clusters are computed again without it, by the
    function that computed them.

    Args:
        batch: Last night's part, None without one.
        online: Live actions that the batch part does not know, oldest first.
        declared: What the user picked.
        space: The pins.
        rules: The constants.
        now: Unix seconds.
        adjustments: What the user said about their interests: muted ones are left out, boosted ones
            count twice, actions of forgotten ones count no more.

    Returns:
        Clusters, most important first, and the ClusterOrigin of each, uint8[c].
    """
    kept = evidence(online)
    parts: list[tuple[Clusters, ClusterOrigin]] = []
    if batch is not None:
        clusters, kept = _batch_clusters(batch, online, kept, space, rules, adjustments)
        age_days = max(0.0, now - batch.as_of_us / 1e6) / DAY_SECONDS
        parts.append(
            (clusters.scaled(math.exp(-rules.decay_per_day * age_days)), ClusterOrigin.BATCH)
        )
    if adjustments:
        kept = kept & ~forgotten(online, adjustments, space, alpha=rules.alpha)
    parts.append((cluster_columns(online, kept, space, rules, now=now), ClusterOrigin.ONLINE))
    parts = [(_adjusted(part, adjustments, space, rules), origin) for part, origin in parts]
    total = sum(float(clusters.importances.sum()) for clusters, _ in parts)
    if declared is not None:
        picked = declared_clusters(declared, space, rules, now=now)
        picked = _adjusted(picked, adjustments, space, rules)
        weight = 1.0 / (1.0 + total / rules.declared_evidence_half)
        parts.append((picked.scaled(weight), ClusterOrigin.DECLARED))
    return merge(parts)


def _adjusted(
    clusters: Clusters, adjustments: Sequence[Adjustment], space: PinSpace, rules: Rules
) -> Clusters:
    return adjusted(clusters, adjustments, space, alpha=rules.alpha) if adjustments else clusters


def declared_clusters(declared: Declared, space: PinSpace, rules: Rules, *, now: float) -> Clusters:
    """
    Cluster the pins that a user picked, each as one action of strength 1 at the time of picking.

    Nothing is left out: the window does not apply, and pins that the catalogue does not know stand
    as clusters of one, so that a picked interest is never lost.
    """
    picked = columns_of(
        [
            Action(f"{place}", "", pin_id, ActionType.SAVE, declared.time_us)
            for place, pin_id in enumerate(declared.pin_ids)
        ]
    )
    numbers = space.rows(picked.pin_ids)
    unknown = numbers < 0
    vectors = space.vectors_of(np.maximum(numbers, 0)) * ~unknown[:, None]
    numbers[unknown] = np.arange(unknown.sum()) + numbers.max(initial=0) + 1
    everything = np.arange(len(picked))
    return _named(picked, everything, numbers, _Given(vectors), rules, now=now)


@dataclass(frozen=True, slots=True)
class _Given:
    """Vectors that were looked up already."""

    vectors: NDArray[np.float32]

    def rows(self, pin_ids: Sequence[str]) -> NDArray[np.int32]:
        return np.arange(len(pin_ids), dtype=np.int32)

    def vectors_of(self, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        assert len(rows) == len(self.vectors)
        return self.vectors


def _batch_clusters(
    batch: BatchPart,
    online: ActionColumns,
    kept: NDArray[np.bool_],
    space: PinSpace,
    rules: Rules,
    adjustments: Sequence[Adjustment],
) -> tuple[Clusters, NDArray[np.bool_]]:
    """
    The batch clusters and which online actions speak for an interest, each knowing of the other.

    The stored clusters hold unless an online action voids something in the history, or is so late
    that something in the history may void it, or the user had an interest forgotten since.
    """
    is_voiding = np.isin(online.action_types, np.array(VOIDING, np.uint8))
    is_late = online.times_us < batch.as_of_us
    must_forget = any(
        one.kind is AdjustmentKind.FORGET and one.time_us >= batch.as_of_us for one in adjustments
    )
    if not (is_voiding.any() or is_late.any() or must_forget):
        return batch.clusters, kept
    history = batch.history()
    touched = {online.pin_ids[row] for row in np.flatnonzero(is_voiding).tolist()}
    must_recompute = must_forget or not touched.isdisjoint(history.pin_ids)
    if not must_recompute and not is_late.any():
        return batch.clusters, kept
    both = join(history, online)
    kept_of_both = evidence(both)
    online_ids = dict(zip(online.action_ids, range(len(online)), strict=True))
    is_online = np.array([action_id in online_ids for action_id in both.action_ids], np.bool_)
    kept = kept.copy()
    for row in np.flatnonzero(is_online).tolist():
        kept[online_ids[both.action_ids[row]]] = kept_of_both[row]
    if not must_recompute:
        return batch.clusters, kept
    as_of = batch.as_of_us / 1e6
    old = kept_of_both & ~is_online & ~forgotten(both, adjustments, space, alpha=rules.alpha)
    return cluster_columns(both, old, space, rules, now=as_of), kept
