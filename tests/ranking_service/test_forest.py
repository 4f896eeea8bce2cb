"""Reading model text: every strange model is refused with its reason, never scored wrongly."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking_service.forest import ForestUnsupported, parse_forest, round_down
from ranking_service.ranker import GbdtRanker, RankerCorrupted
from tests.ranking_service.test_ranker import make_world, train


@pytest.fixture(scope="module")
def text() -> Any:
    """A sound model."""
    x, y = make_world(1)
    return train(x, y, 3, num_leaves=7).model_to_string()


@given(st.lists(st.floats(allow_nan=False), max_size=20), st.floats(width=32, allow_nan=False))
def test_rounding_down_decides_alike_for_every_float32(values: Any, x: Any) -> None:
    """X <= value and x <= rounded value are the same claim."""
    rounded = round_down(np.array(values, np.float64))

    claims = [x <= value for value in values]
    assert (np.float32(x) <= rounded).tolist() == claims


def test_a_sound_model_is_taken(text: Any) -> None:
    """Names, trees and words are all there."""
    forest = parse_forest(text)

    assert forest.tree_count == 3
    assert forest.feature_names == tuple(f"Column_{i}" for i in range(5))
    assert forest.masks.dtype == np.uint32
    assert forest.leaf_values.size == 3 * 32


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"left_child=0|left_child=1", "left_child=9"),
        (r"right_child=\S+", "right_child=-9"),
        (r"split_feature=\d+", "split_feature=77"),
        (r"num_leaves=7", "num_leaves=x"),
        (r"threshold=\S+", "threshold=?"),
        (r"feature_names=[^\n]*", ""),
    ],
)
def test_a_damaged_model_is_refused(text: Any, pattern: Any, replacement: Any) -> None:
    """Whatever does not make trees is refused before anything scores with it."""
    damaged = re.sub(pattern, replacement, text, count=1)
    assert damaged != text

    with pytest.raises((ForestUnsupported, ValueError)):
        parse_forest(damaged)
    with pytest.raises(RankerCorrupted):
        GbdtRanker(damaged)
