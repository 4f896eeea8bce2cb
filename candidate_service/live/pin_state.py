"""What all changes of one pin come to, whatever the order in which they were read.

Every field keeps the version that set it, so changes of several logs give the same result in any
order: of each field the newest value counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from candidate_service.live.records import UNKNOWN_PIN, PinWrite

Version = tuple[int, str]
"""Time in microseconds and name of the log: newer is greater, all logs agree."""

NEVER: Version = (-1, "")


@dataclass(frozen=True, slots=True, eq=False)
class PinState:
    """The changes of one pin so far; folding gives a new state.

    Attributes:
        fields: The values that were set.
        versions: Which change set a field that was set on its own.
        whole: The newest change that set all fields; NEVER before one.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Version] = field(default_factory=dict)
    whole: Version = NEVER

    def fold(self, write: PinWrite, version: Version) -> PinState:
        """Return the state after one more change; the same state if all of it is older."""
        if version <= self.whole:
            return self
        if write.is_whole:
            younger = {name: at for name, at in self.versions.items() if at > version}
            kept = {name: self.fields[name] for name in younger}
            return PinState({**write.fields, **kept}, younger, version)
        set_now = {
            name: value
            for name, value in write.fields.items()
            if version > self.versions.get(name, NEVER)
        }
        if not set_now:
            return self
        return PinState(
            {**self.fields, **set_now},
            {**self.versions, **dict.fromkeys(set_now, version)},
            self.whole,
        )

    def over(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """Return all fields of the pin.

        Args:
            base: What was known before these changes; of a pin that a whole change describes
                nothing of it is left.
        """
        below = UNKNOWN_PIN if self.whole > NEVER else {**UNKNOWN_PIN, **base}
        return {**below, **self.fields}

    def newest(self) -> Version:
        """Return the newest change that is in here."""
        return max((self.whole, *self.versions.values()))
