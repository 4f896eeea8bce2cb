"""What ranking knows of the user, as profile_service told it."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RecentActions:
    """
    What a user did lately that says something of taste, newest first. Arrays are parallel.

    Attributes:
        pin_ids: To which pin.
        kinds: What, as the contract of profile_service spells it, lower-case: `save`, `click`, ….
        times: When, Unix seconds, float64[r].
    """

    pin_ids: tuple[str, ...]
    kinds: tuple[str, ...]
    times: NDArray[np.float64]

    def __post_init__(self) -> None:
        """
        Check that the arrays belong together.

        Raises:
            ValueError: If a length differs.
        """
        if not len(self.pin_ids) == len(self.kinds) == self.times.size:
            raise ValueError("the arrays of recent actions differ in length")
        self.times.setflags(write=False)

    def __len__(self) -> int:
        """Number of actions."""
        return len(self.pin_ids)

    def since(self, time: float, count_max: int) -> "RecentActions":
        """The newest actions at or after a time, the newest one of each pin, at most so many."""
        chosen: dict[str, int] = {}
        for place, pin_id in enumerate(self.pin_ids):
            if len(chosen) >= count_max or self.times[place] < time:
                break
            chosen.setdefault(pin_id, place)
        places = list(chosen.values())
        return RecentActions(
            tuple(chosen), tuple(map(self.kinds.__getitem__, places)), self.times[places]
        )


NO_ACTIONS: Final = RecentActions((), (), np.empty(0, np.float64))
"""Nothing was done lately."""


@dataclass(frozen=True, slots=True)
class Profile:
    """
    The interests of one user, most important first. Arrays become read-only.

    Attributes:
        medoid_ids: The pin that stands for each interest.
        importances: Time-decayed weight of each, float32[m], >= 0.
        action_counts: Actions in each, int32[m].
        online_times: When the newest action of each happened, Unix seconds, float64[m]; 0 for those
            that the last batch run knew already.
        acted_pin_ids: Pins the user acted on or hid.
        hidden_pin_ids: Pins the user hid or reported.
        is_cold_start: True where nothing is known but, perhaps, declared interests.
        batch_time: Up to when the batch part knows the user, Unix seconds; 0 = no batch part.
        generation: Generation of the batch part; empty without one.
        missing_reason: Why profile_service could not be asked; empty where it answered.
        recent_actions: What the user did lately, newest first.
        declared_pin_ids: Interests that the user picked at sign-up, in their order.
        language: The user's language; empty = not known.
        country: The user's country; empty = not known.
        segment: The segment that the operator put the user into; empty = none.
    """

    medoid_ids: tuple[str, ...]
    importances: NDArray[np.float32]
    action_counts: NDArray[np.int32]
    online_times: NDArray[np.float64]
    acted_pin_ids: tuple[str, ...] = ()
    hidden_pin_ids: tuple[str, ...] = ()
    is_cold_start: bool = False
    batch_time: float = 0.0
    generation: str = ""
    missing_reason: str = ""
    recent_actions: RecentActions = NO_ACTIONS
    declared_pin_ids: tuple[str, ...] = ()
    language: str = ""
    country: str = ""
    segment: str = ""

    def __post_init__(self) -> None:
        """
        Check that the arrays belong together.

        Raises:
            ValueError: If a length is wrong or an importance is negative or not finite.
        """
        arrays = (self.importances, self.action_counts, self.online_times)
        if {array.size for array in arrays} != {len(self.medoid_ids)}:
            raise ValueError(
                f"{len(self.medoid_ids)} medoids, but {[array.size for array in arrays]} "
                "importances, counts and times"
            )
        if not (np.isfinite(self.importances) & (self.importances >= 0)).all():
            raise ValueError("importances must be finite and at least 0")
        for array in arrays:
            array.setflags(write=False)

    @property
    def is_empty(self) -> bool:
        """Whether there is no interest to start from."""
        return not self.medoid_ids

    def recent_ids(self, *, since: float, count_max: int) -> tuple[str, ...]:
        """Medoids of what the user did since then and after the batch run, newest first."""
        newest_first = np.argsort(-self.online_times, kind="stable")[:count_max]
        return tuple(
            self.medoid_ids[place]
            for place in newest_first.tolist()
            if self.online_times[place] >= max(since, 1.0)
        )


def empty_profile(*, missing_reason: str = "") -> Profile:
    """The profile of nobody: for calls without a user, or when profile_service is away."""
    return Profile(
        medoid_ids=(),
        importances=np.empty(0, np.float32),
        action_counts=np.empty(0, np.int32),
        online_times=np.empty(0, np.float64),
        is_cold_start=not missing_reason,
        missing_reason=missing_reason,
    )


NOBODY: Final = empty_profile()
"""The profile behind calls without a user id."""
