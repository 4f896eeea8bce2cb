"""What ranking is told of pins that are younger than the catalogue: what it compares, no texts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candidate_service.answer_size import entry_bytes
from candidate_service.candidate import CandidateList
from candidate_service.live.segment import LivePin, LiveSegment
from candidate_service.live_vectors import LiveVectors
from corkboard.candidate.v1 import candidate_service_pb2 as wire

_PREFIX_GROWTH_MAX = 4
"""Bytes by which the length in front of a pin may grow with what it says."""


def young_rows(
    live: LiveSegment, queried: NDArray[np.int32], lists: list[CandidateList]
) -> list[int]:
    """Return the rows that are younger than the catalogue, each once.

    Args:
        live: Has them.
        queried: Rows of the query pins; theirs come first.
        lists: What was found; the best of each list come before the second ones.
    """
    if live.row_count == live.base_count:
        return []
    rows = np.concatenate([np.empty(0, np.int32), *(found.rows for found in lists)])
    ranks = np.concatenate([np.empty(0, np.intp), *(np.arange(len(found)) for found in lists)])
    young = rows >= live.base_count
    best_first = rows[young][np.argsort(ranks[young], kind="stable")]
    asked = queried[queried >= live.base_count]
    return list(dict.fromkeys([*asked.tolist(), *best_first.tolist()]))


def add_live_pins(
    answer: wire.RetrieveCandidatesResponse,
    live: LiveSegment,
    rows: list[int],
    *,
    answer_bytes_max: int,
) -> None:
    """Add what is known of live pins to an answer that is else complete, as far as there is room.

    Ids, languages, countries, owners and times go first, then topics and vectors; of either the
    first rows'.
    """
    left = answer_bytes_max - answer.ByteSize()
    told: list[tuple[LivePin, wire.Pin]] = []
    for row in rows:
        if (pin := live.pin(row)) is None:
            continue
        message = _shortest(pin)
        left -= entry_bytes(message)
        if left < 0:
            break
        told.append((pin, message))
    vectors = live.part(LiveVectors)
    for pin, message in told:
        vector = vectors.vector(pin.row)
        least_bytes = sum(map(len, pin.topics)) + (0 if vector is None else vector.nbytes)
        if pin.is_removed or least_bytes > left:
            continue
        more = wire.Pin(topics=pin.topics, vector=None if vector is None else vector.tolist())
        more_bytes = more.ByteSize() + _PREFIX_GROWTH_MAX
        if more_bytes <= left:
            message.MergeFrom(more)
            left -= more_bytes
    answer.live_pins.extend(message for _, message in told)


def _shortest(pin: LivePin) -> wire.Pin:
    """Return what is a few hundred bytes at the most; of a removed pin its id."""
    if pin.is_removed:
        return wire.Pin(pin_id=pin.pin_id)
    message = wire.Pin(
        pin_id=pin.pin_id,
        is_known=True,
        is_live=pin.is_new,
        language=pin.language,
        country=pin.country,
        owner_id=pin.owner_id,
    )
    if pin.creation_time_us is not None:
        message.creation_time.FromMicroseconds(pin.creation_time_us)
    return message
