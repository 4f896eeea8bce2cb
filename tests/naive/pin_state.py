"""The state of a pin after changes, found by going through them in the order of their versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from candidate_service.live.records import UNKNOWN_PIN, PinWrite


def fields_after(
    base: Mapping[str, Any], changes: Sequence[tuple[tuple[int, str], PinWrite]]
) -> dict[str, Any]:
    """Return all fields of a pin: newest last, a whole change forgets what was before."""
    fields = {**UNKNOWN_PIN, **base}
    for _, change in sorted(changes, key=lambda pair: pair[0]):
        if change.is_whole:
            fields = dict(UNKNOWN_PIN)
        fields |= change.fields
    return fields
