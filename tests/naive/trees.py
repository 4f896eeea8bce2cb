"""Gradient boosted trees walked one row and one node at a time, by LightGBM's own rules."""

import math
from typing import Any

ZERO_BOUND = 1e-35


def tree_score(node: dict[str, Any], row: list[float]) -> float:
    """Follow one row from the root of a dumped tree to its leaf."""
    while "leaf_value" not in node:
        value = float(row[node["split_feature"]])
        value = 0.0 if abs(value) <= ZERO_BOUND else value
        is_left = _goes_left(node, value)
        node = node["left_child"] if is_left else node["right_child"]
    return float(node["leaf_value"])


def _goes_left(node: dict[str, Any], value: float) -> bool:
    assert node["decision_type"] == "<="
    if math.isnan(value) and node["missing_type"] != "NaN":
        value = 0.0
    is_missing = math.isnan(value) or (node["missing_type"] == "Zero" and value == 0.0)
    if is_missing:
        return bool(node["default_left"])
    return value <= node["threshold"]


def forest_score(dump: dict[str, Any], row: list[float]) -> float:
    """Sum the leaves of all trees in their order, in float64."""
    total = 0.0
    for tree in dump["tree_info"]:
        total += tree_score(tree["tree_structure"], row)
    return total
