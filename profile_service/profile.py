"""What is known of a user: the values that everyone in this service passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profile_service.actions import ActionColumns, columns_of

DAY_SECONDS = 86_400.0

NO_ACTIONS = columns_of([])


class ClusterOrigin(IntEnum):
    """Where a cluster comes from; the numbers are those of the wire."""

    BATCH = 1
    ONLINE = 2
    DECLARED = 3


@dataclass(frozen=True, slots=True)
class Clusters:
    """
    Interests of one user, most important first, as parallel arrays.

    Attributes:
        medoid_pin_ids: The medoid of each cluster.
        importances: Time-decayed weight, float64[c], >= 0.
        action_counts: Number of actions in each, int64[c], >= 1.
        newest_times_us: When the newest of them happened, int64[c], microseconds since the epoch.
    """

    medoid_pin_ids: Sequence[str]
    importances: NDArray[np.float64]
    action_counts: NDArray[np.int64]
    newest_times_us: NDArray[np.int64]

    def __post_init__(self) -> None:
        count = len(self.medoid_pin_ids)
        for values in (self.importances, self.action_counts, self.newest_times_us):
            assert values.shape == (count,)
            values.setflags(write=False)

    def __len__(self) -> int:
        return len(self.medoid_pin_ids)

    def scaled(self, factor: float) -> Clusters:
        """The same clusters with all importances multiplied."""
        return Clusters(
            self.medoid_pin_ids,
            self.importances * factor,
            self.action_counts,
            self.newest_times_us,
        )

    def take(self, rows: NDArray[np.integer[Any]]) -> Clusters:
        """The clusters at the given rows, in the order given."""
        return Clusters(
            [self.medoid_pin_ids[row] for row in rows.tolist()],
            self.importances[rows],
            self.action_counts[rows],
            self.newest_times_us[rows],
        )


NO_CLUSTERS = Clusters([], np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is known of a user beside their actions; an empty word is not known."""

    language: str = ""
    country: str = ""
    segment: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """
    The interests of one user at one moment.

    Attributes:
        clusters: Most important first, of all origins.
        origins: ClusterOrigin of each, uint8[c].
        is_cold_start: Nothing is known but, perhaps, declared interests.
        batch_time_us: Up to when the batch part knows the user's actions; None without one.
        generation: The generation that was read; empty without one.
        online_action_count: Actions since the batch run that are part of this.
        acted_pin_ids: Pins acted on, newest first, as many as were asked for.
        hidden_pin_ids: Those of them that the user hid or reported.
        recent: The newest actions that speak for an interest, newest first, as many as were asked
            for; not in the order that ActionColumns promises.
        declared_pin_ids: What the user picked, in their order.
        attributes: What is known of the user beside their actions.
    """

    user_id: str
    clusters: Clusters
    origins: NDArray[np.uint8]
    is_cold_start: bool
    batch_time_us: int | None
    generation: str
    online_action_count: int
    acted_pin_ids: Sequence[str] = ()
    hidden_pin_ids: Sequence[str] = ()
    recent: ActionColumns = NO_ACTIONS
    declared_pin_ids: Sequence[str] = ()
    attributes: Attributes = Attributes()


def merge(parts: Sequence[tuple[Clusters, ClusterOrigin]]) -> tuple[Clusters, NDArray[np.uint8]]:
    """
    Put clusters of several origins into one list, most important first.

    Clusters are not united: those of today stay beside those of last night (PinnerSage, section on
    online inference). Ties go to the newer, then to the smaller medoid id.

    Returns:
        All clusters, and the origin of each, uint8[c].
    """
    joined = Clusters(
        [pin_id for clusters, _ in parts for pin_id in clusters.medoid_pin_ids],
        np.concatenate([np.empty(0), *(clusters.importances for clusters, _ in parts)]),
        np.concatenate([NO_CLUSTERS.action_counts, *(part.action_counts for part, _ in parts)]),
        np.concatenate([NO_CLUSTERS.newest_times_us, *(part.newest_times_us for part, _ in parts)]),
    )
    origins = np.repeat(
        np.array([origin for _, origin in parts], np.uint8), [len(part) for part, _ in parts]
    )
    order = sorted(
        range(len(joined)),
        key=lambda row: (
            -joined.importances[row],
            -joined.newest_times_us[row],
            joined.medoid_pin_ids[row],
        ),
    )
    rows = np.array(order, np.int64)
    return joined.take(rows), origins[rows]
