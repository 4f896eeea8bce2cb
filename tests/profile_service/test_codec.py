"""What is written reads back, what is damaged is refused, what was written long ago still opens."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_service import codec
from profile_service.actions import Action, ActionType, columns_of
from profile_service.adjustments import Adjustment, AdjustmentKind
from profile_service.codec import Declared, Erasure, RecordCorrupted
from profile_service.profile import Attributes, Clusters

GOLDEN = Path("tests/golden/profile_service")

ids = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
times = st.integers(0, 2**52)
actions = st.builds(
    Action,
    action_id=ids,
    user_id=st.just("someone"),
    pin_id=ids,
    action_type=st.sampled_from(ActionType),
    time_us=times,
    strength=st.none() | st.floats(-1, 1, width=32),
    board_id=ids | st.just(""),
    list_id=ids | st.just(""),
)


@given(actions)
def test_action_reads_back(action: Action) -> None:
    """Encode then decode is identity."""
    assert codec.decode_action(codec.encode_action(action), "someone") == action


@given(st.lists(actions, max_size=20))
def test_history_reads_back(many: list[Action]) -> None:
    """Columns of any number of actions, none included, read back equal."""
    history = columns_of(many, range(len(many)))

    found = codec.decode_history(codec.encode_history(history))

    for name in ("action_ids", "pin_ids", "board_ids", "list_ids"):
        assert list(getattr(history, name)) == list(getattr(found, name))
    for name in ("action_types", "times_us", "strengths", "positions"):
        assert np.array_equal(getattr(history, name), getattr(found, name))


@given(st.lists(st.tuples(ids, st.floats(0, 1e6), st.integers(1, 10**6), times), max_size=30))
def test_clusters_read_back(rows: list[tuple[str, float, int, int]]) -> None:
    """Profiles of any number of clusters read back equal, to the bit."""
    clusters = _clusters(rows)

    found = codec.decode_clusters(codec.encode_clusters(clusters))

    assert list(clusters.medoid_pin_ids) == list(found.medoid_pin_ids)
    assert np.array_equal(clusters.importances, found.importances)
    assert np.array_equal(clusters.action_counts, found.action_counts)
    assert np.array_equal(clusters.newest_times_us, found.newest_times_us)


@given(times, st.lists(ids, max_size=10), st.integers(1, 2**50))
def test_declared_and_erasures_read_back(time_us: int, pins: list[str], position: int) -> None:
    """The small records too."""
    declared = Declared(time_us, tuple(pins))
    erasure = Erasure(position, time_us, "receipt")

    assert codec.decode_declared(codec.encode_declared(declared)) == declared
    assert codec.decode_erasure(codec.encode_erasure(erasure)) == erasure


@given(
    st.builds(Attributes, *[ids | st.just("")] * 3),
    st.lists(st.builds(Adjustment, ids, st.sampled_from(AdjustmentKind), times), max_size=5),
)
def test_attributes_and_adjustments_read_back(
    attributes: Attributes, adjustments: list[Adjustment]
) -> None:
    """What is known of a user, and what they said."""
    assert codec.decode_attributes(codec.encode_attributes(attributes)) == attributes
    found = codec.decode_adjustments(codec.encode_adjustments(adjustments))
    assert found == tuple(adjustments)


@given(actions, st.data())
def test_any_changed_byte_is_noticed(action: Action, data: st.DataObject) -> None:
    """A record with one wrong byte, or cut short, is refused and never read as something else."""
    record = bytearray(codec.encode_action(action))
    at = data.draw(st.integers(0, len(record) - 1))
    record[at] ^= data.draw(st.integers(1, 255))

    with pytest.raises(RecordCorrupted):
        codec.decode_action(bytes(record), "someone")
    with pytest.raises(RecordCorrupted):
        codec.decode_action(codec.encode_action(action)[:at], "someone")


def test_record_of_another_kind_is_refused() -> None:
    """A history is not read as clusters."""
    with pytest.raises(RecordCorrupted, match="kind"):
        codec.decode_clusters(codec.encode_history(columns_of([])))


def test_records_of_version_1_still_open() -> None:
    """Whatever was ever published must open for ever; these bytes were written by version 1."""
    files = sorted(GOLDEN.glob("v1-*.bin"))
    assert [file.stem for file in files] == [
        "v1-action",
        "v1-adjustments",
        "v1-attributes",
        "v1-clusters",
        "v1-declared",
        "v1-erasure",
        "v1-history",
    ]
    read = {file.stem: file.read_bytes() for file in files}

    assert codec.decode_action(read["v1-action"], "anna") == GOLDEN_ACTIONS[0]
    history = codec.decode_history(read["v1-history"])
    assert list(history.pin_ids) == [action.pin_id for action in GOLDEN_ACTIONS]
    assert history.strengths.tolist() == [1.0, 0.5]
    assert history.positions.tolist() == [7, 8]
    clusters = codec.decode_clusters(read["v1-clusters"])
    assert list(clusters.medoid_pin_ids) == ["teapot", "tëa"]
    assert clusters.importances.tolist() == [1.25, 0.5]
    assert codec.decode_declared(read["v1-declared"]) == Declared(5, ("teapot", "tëa"))
    assert codec.decode_erasure(read["v1-erasure"]) == Erasure(9, 1_000_000, "receipt")
    assert codec.decode_attributes(read["v1-attributes"]) == Attributes("ja", "JP", "tëens")
    assert codec.decode_adjustments(read["v1-adjustments"]) == (
        Adjustment("teapot", AdjustmentKind.MUTE, 5),
        Adjustment("tëa", AdjustmentKind.FORGET, 9),
    )


GOLDEN_ACTIONS = (
    Action("a1", "anna", "teapot", ActionType.SAVE, 1_700_000_000_000_000, None, "tea", "list"),
    Action("a2", "anna", "tëa", ActionType.CLICK, 1_700_000_000_000_001, 0.5),
)


def _clusters(rows: list[tuple[str, float, int, int]]) -> Clusters:
    return Clusters(
        [row[0] for row in rows],
        np.array([row[1] for row in rows], np.float64),
        np.array([row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.int64),
    )
