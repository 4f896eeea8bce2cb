"""Examples for the tests of training: lists with planted truths."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranking_service.examples import OBJECTIVES, Examples


def make_examples_of(
    features: NDArray[np.float32],
    labels: NDArray[np.int8],
    lists: NDArray[np.int64],
    **fields: Any,
) -> Examples:
    """Examples with these features, labels and lists; all else neutral unless given."""
    n = labels.size
    starts = np.r_[0, np.flatnonzero(np.diff(lists)) + 1] if n else np.empty(0, np.int64)
    first = np.repeat(starts, np.diff(np.r_[starts, n]))
    outcomes = np.zeros((n, len(OBJECTIVES)), np.int8)
    outcomes[:, 0] = labels
    given = {
        "times_us": lists.astype(np.int64),
        "user_parts": lists.astype(np.int64),
        "positions": np.arange(n) - first,
        "query_keys": lists.astype(np.int64),
        "pin_keys": np.arange(n, dtype=np.int64),
        "outcomes": outcomes,
        "is_randomised": np.zeros(n, np.bool_),
    }
    return Examples(features=features, labels=labels, lists=lists, **(given | fields))
