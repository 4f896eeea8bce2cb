"""
LightGBM's model text as arrays that `kernels.score_trees` reads.

Only what the fast scorer gives back to the bit is taken: one tree an iteration, numeric splits on
the value itself, constant leaves, at most 64 leaves a tree.  Everything else is refused with its
reason, and the caller lets LightGBM itself score.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranking_service.kernels import LANE_COUNT

FORMAT: Final = "v4"
"""Version of LightGBM's model text that is read here (LightGBM 4)."""

LEAF_COUNT_MAX: Final = 64
"""Leaves of a tree that fit into one word of the scorer; up to 32 is twice as fast."""

_CATEGORICAL: Final = 1
_MISSING_SHIFT: Final = 2
_MISSING_MASK: Final = 3
_MISSING_IS_ZERO: Final = 1


class ForestUnsupported(Exception):  # noqa: N818  named after what is the case
    """The model uses something that the fast scorer does not give back to the bit."""


@dataclass(frozen=True, slots=True)
class Forest:
    """
    All trees of one model, node by node.

    Attributes:
        feature_names: Names in column order, as the model was trained.
        sigmoid: Slope of the link: probability = 1 / (1 + exp(-sigmoid * score)).
        columns: Feature of each node times LANE_COUNT, int32[nodes].
        thresholds: float32[nodes], rounded down from the model's float64, which decides alike for
            every float32 value.
        masks: Leaves that stay possible where a node's condition fails, uint32 or uint64[nodes].
        node_starts: int64[trees + 1].
        leaf_values: float64[trees * word bits].
    """

    feature_names: tuple[str, ...]
    sigmoid: float
    columns: NDArray[np.int32]
    thresholds: NDArray[np.float32]
    masks: NDArray[Any]
    node_starts: NDArray[np.int64]
    leaf_values: NDArray[np.float64]

    @property
    def tree_count(self) -> int:
        """Number of trees."""
        return self.node_starts.size - 1


def parse_forest(text: str) -> Forest:
    """
    Turn LightGBM's model text into arrays.

    Raises:
        ForestUnsupported: With the first thing found that needs LightGBM itself.
        ValueError: If the text is damaged: its trees are none.
    """
    header_text, *tree_texts = text.partition("\nend of trees")[0].split("\nTree=")
    header = _fields(header_text)
    _check_header(header, header_text)
    trees = [_fields(tree_text) for tree_text in tree_texts]
    leaf_count_max = max((_leaf_count(tree) for tree in trees), default=1)
    if leaf_count_max > LEAF_COUNT_MAX:
        raise ForestUnsupported(f"a tree has {leaf_count_max} leaves, the most is {LEAF_COUNT_MAX}")
    word_bits = 32 if leaf_count_max <= 32 else 64
    leaf_values = np.zeros((len(trees), word_bits), np.float64)
    columns: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
    thresholds: list[NDArray[np.float64]] = [np.empty(0, np.float64)]
    masks: list[int] = []
    node_starts = [0]
    feature_names = tuple(header["feature_names"].split())
    for number, tree in enumerate(trees):
        _check_tree(tree, number)
        values = _floats(tree, "leaf_value")
        order, tree_masks = _leaf_order(
            _integers(tree, "left_child"), _integers(tree, "right_child")
        )
        leaf_values[number, : values.size] = values[order]
        columns.append(_columns(tree, feature_count=len(feature_names)))
        thresholds.append(_floats(tree, "threshold"))
        masks += tree_masks
        node_starts.append(len(masks))
    word = np.uint32 if word_bits == 32 else np.uint64
    return Forest(
        feature_names=feature_names,
        sigmoid=_sigmoid(header.get("objective", "")),
        columns=np.concatenate(columns),
        thresholds=round_down(np.concatenate(thresholds)),
        masks=np.array([mask & (2**word_bits - 1) for mask in masks], word),
        node_starts=np.array(node_starts, np.int64),
        leaf_values=leaf_values.ravel(),
    )


def round_down(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above each value, so that x <= both are the same claim."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    above = rounded.astype(np.float64) > values
    rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
    return rounded


def _fields(text: str) -> dict[str, str]:
    """The lines `name=value` of one section."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, found, value in pairs if found}


def _leaf_count(tree: Mapping[str, str]) -> int:
    if not tree.get("num_leaves", "").isdecimal():
        raise ValueError("a tree does not say how many leaves it has")
    return int(tree["num_leaves"])


def _integers(tree: Mapping[str, str], name: str) -> NDArray[np.int64]:
    return np.array(tree.get(name, "").split(), np.int64)


def _floats(tree: Mapping[str, str], name: str) -> NDArray[np.float64]:
    return np.array([float(word) for word in tree.get(name, "").split()], np.float64)


def _columns(tree: Mapping[str, str], *, feature_count: int) -> NDArray[np.int32]:
    """Where each node's feature stands in a block of the scorer."""
    features = _integers(tree, "split_feature")
    if features.size and not 0 <= features.min() <= features.max() < feature_count:
        raise ValueError("a tree splits on a feature that the model does not name")
    return (features * LANE_COUNT).astype(np.int32)


def _check_header(header: Mapping[str, str], text: str) -> None:
    if header.get("version") != FORMAT:
        raise ForestUnsupported(f"model text is {header.get('version')}, known is {FORMAT}")
    if header.get("num_tree_per_iteration") != "1":
        raise ForestUnsupported("the model has several classes")
    if "average_output" in text.splitlines():
        raise ForestUnsupported("the trees are averaged (random forest)")
    if "feature_names" not in header:
        raise ForestUnsupported("this is not a LightGBM model text")


def _check_tree(tree: Mapping[str, str], number: int) -> None:
    if tree.get("num_cat", "0") != "0":
        raise ForestUnsupported(f"tree {number} splits on categories")
    if tree.get("is_linear", "0") != "0":
        raise ForestUnsupported(f"tree {number} has linear leaves")
    decisions = _integers(tree, "decision_type")
    if (decisions & _CATEGORICAL).any():
        raise ForestUnsupported(f"tree {number} splits on categories")
    if ((decisions >> _MISSING_SHIFT & _MISSING_MASK) == _MISSING_IS_ZERO).any():
        raise ForestUnsupported(f"tree {number} takes zero as missing")


def _leaf_order(
    left: NDArray[np.int64], right: NDArray[np.int64]
) -> tuple[NDArray[np.int64], list[int]]:
    """
    Number a tree's leaves from left to right.

    Args:
        left: Left child of each node, int64[nodes]; a leaf is written as -1 - leaf.
        right: Right child alike.

    Returns:
        The model's leaf at each place, and for each node the word that keeps all leaves but those
        of its left subtree.
    """
    order: list[int] = []
    masks = [0] * left.size
    started: dict[int, int] = {}
    pending = [(0 if left.size else -1, False)]
    while pending:
        node, left_is_done = pending.pop()
        if node < 0:
            order.append(-1 - node)
        elif left_is_done:
            masks[node] = ~(2 ** len(order) - 2 ** started[node])
            pending.append((int(right[node]), False))
        elif node >= left.size:
            raise ValueError("a tree is not a tree: a child is missing")
        elif node in started:
            raise ValueError("a tree is not a tree: a node has two parents")
        else:
            started[node] = len(order)
            pending += [(node, True), (int(left[node]), False)]
    if sorted(order) != list(range(left.size + 1)):
        raise ValueError("a tree is not a tree: its leaves do not add up")
    return np.array(order, np.int64), masks


def _sigmoid(objective: str) -> float:
    """Slope of the logistic link, from for example `binary sigmoid:1`; 1 for other objectives."""
    for word in objective.split():
        if word.startswith("sigmoid:"):
            return float(word.removeprefix("sigmoid:"))
    return 1.0
