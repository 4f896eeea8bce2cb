"""Changes of one pin from several logs come to the same, in whatever order they are read."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from candidate_service.live.pin_state import PinState
from candidate_service.live.records import PinWrite
from tests.naive.pin_state import fields_after

FIELDS = st.dictionaries(
    st.sampled_from(["title", "language", "is_deleted", "attributes"]),
    st.sampled_from(["", "a", "b"]),
    max_size=3,
)
CHANGES = st.lists(
    st.tuples(st.tuples(st.integers(1, 6), st.sampled_from(["0", "1"])), FIELDS, st.booleans()),
    max_size=8,
    unique_by=lambda change: change[0],
)


@given(changes=CHANGES, base=FIELDS, seed=st.integers(0, 1000))
def test_state_equals_its_naive_twin_in_any_order(
    changes: list[tuple[tuple[int, str], dict[str, str], bool]], base: dict[str, str], seed: int
) -> None:
    """Of each field the newest value counts; applying all of it again changes nothing."""
    writes = [
        (version, PinWrite(version[0], "p", fields, is_whole))
        for version, fields, is_whole in changes
    ]
    shuffled = list(writes)
    random.Random(seed).shuffle(shuffled)
    state = PinState()
    for version, write in shuffled:
        state = state.fold(write, version)
    again = state
    for version, write in writes:
        again = again.fold(write, version)

    assert state.over(base) == fields_after(base, writes)
    assert again.over(base) == state.over(base)
