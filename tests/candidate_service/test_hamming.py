"""Hash look-ups against looking at everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from candidate_service.hamming import (
    HammingIndex,
    LiveHashes,
    near_masks,
    open_hashes,
    write_hashes,
)
from candidate_service.hash_kernels import popcount
from candidate_service.image_hash import is_informative
from candidate_service.live.segment import LiveChanges, LivePin
from service_runtime.errors import Corrupted
from service_runtime.generations import GenerationStore
from tests.naive import hamming as naive


def clustered(count: int, seed: int = 5) -> NDArray[np.uint64]:
    """Return hashes of which many differ in few bits."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**64, count // 8 + 1, dtype=np.uint64)
    hashes = centres[rng.integers(0, len(centres), count)]
    for _ in range(6):
        flipped = rng.random(count) < 0.5
        bits = np.uint64(1) << rng.integers(0, 64, count).astype(np.uint64)
        hashes = np.where(flipped, hashes ^ bits, hashes)
    return hashes


@pytest.mark.parametrize("distance_max", range(12))
def test_look_up_finds_what_a_scan_finds(distance_max: int) -> None:
    """Tables by parts are exact at every distance, each hash once."""
    hashes = clustered(400)
    index = HammingIndex(np.arange(400, dtype=np.int32) * 2, hashes)
    known = index.hashes.tolist()

    for query in hashes[:40].tolist():
        rows, distances = index.near(query, distance_max)
        expected = naive.near(known, query, distance_max)
        assert list(zip(distances.tolist(), rows.tolist(), strict=True)) == [
            (apart, int(index.rows[place])) for apart, place in expected
        ]


@pytest.mark.parametrize("distance_max", [0, 4, 9])
def test_groups_are_the_naive_groups(distance_max: int) -> None:
    """Heaviest first, everybody within reach of their leader."""
    hashes = clustered(300)
    rng = np.random.default_rng(2)
    index = HammingIndex(np.arange(300, dtype=np.int32), hashes)
    weights = rng.integers(0, 4, len(index)).astype(np.float32)

    leaders = index.groups(weights, distance_max)

    expected = naive.leaders(index.hashes.tolist(), weights.tolist(), distance_max)
    assert leaders.tolist() == [int(index.rows[place]) for place in expected]


def test_hashes_of_flat_pictures_are_not_compared() -> None:
    """All white pictures have one hash and are not one picture."""
    hashes = np.array([0, 1, 2**64 - 1, 0x00FF00FF00FF00FF], np.uint64)

    assert is_informative(hashes).tolist() == [False, False, False, True]
    assert len(HammingIndex(np.arange(4, dtype=np.int32), hashes)) == 1


def test_popcount() -> None:
    """Bits are counted, the ends of the range included."""
    for value in (0, 1, 2**63, 2**64 - 1, 0xF0F0, 0x123456789ABCDEF0):
        assert popcount(np.uint64(value)) == value.bit_count()
    assert len(near_masks(2)) == 1 + 16 + 120


def test_empty_index() -> None:
    """No hashes, nothing near."""
    index = HammingIndex(np.empty(0, np.int32), np.empty(0, np.uint64))

    assert len(index.near(7, 11)[0]) == 0
    assert len(index.groups(np.empty(0, np.float32), 4)) == 0


def test_live_hashes_follow_changes() -> None:
    """New, changed and removed pictures; the same change twice is one."""
    base = 0x00FF00FF00FF00FF
    live = LiveHashes()
    pins = [LivePin(9, "a", True, image_hash=base), LivePin(3, "b", False, image_hash=base ^ 1)]
    live.apply(LiveChanges(pins=[*pins, *pins]))

    assert live.near(base, 4).tolist() == [9, 3]
    assert (live.hash_of(9), live.is_changed(3), live.is_changed(4)) == (base, True, False)

    live.apply(LiveChanges(pins=[LivePin(9, "a", True, is_removed=True), LivePin(3, "b", False)]))
    assert live.near(base, 4).tolist() == []


def test_hashes_survive_the_disk_and_damage_is_refused(tmp_path: Path) -> None:
    """What was written is found again; arrays that do not fit are not."""
    hashes = clustered(50)
    rows = np.arange(50, dtype=np.int32)
    store = GenerationStore(tmp_path)
    for name, those in (("good", rows), ("bad", rows[1:])):
        with store.draft(name, format_version=1) as draft:
            write_hashes(draft, those, hashes)
            draft.publish(as_of_us=0)
    good, bad = store.current("good"), store.current("bad")
    assert good is not None
    assert bad is not None

    assert len(open_hashes(good)) == len(HammingIndex(rows, hashes))
    with pytest.raises(Corrupted, match="duplicates"):
        open_hashes(bad)
