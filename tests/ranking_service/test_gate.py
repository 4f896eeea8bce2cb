"""When a trained model may rank."""

from typing import Any

import numpy as np

from ranking_service.features import FEATURE_NAMES
from ranking_service.gate import judge
from ranking_service.query import Surface
from tests.ranking_service.example_worlds import make_examples_of


def make_examples(list_count: Any = 20) -> Any:
    """Lists of four pins on either surface in turn, the first pin of each a positive."""
    n = list_count * 4
    lists = np.repeat(np.arange(list_count), 4)
    features = np.zeros((n, len(FEATURE_NAMES)), np.float32)
    features[:, FEATURE_NAMES.index("is_related")] = lists % 2
    labels = (np.arange(n) % 4 == 0).astype(np.int8)
    return make_examples_of(features, labels, lists)


def verdicts(trained: Any, hand_tuned: Any, *, training: Any = 40, judging: Any = 40) -> Any:
    """Judge scores that put the positive first (1), last (-1), or on the home feed only (0)."""
    newer = make_examples(judging)
    is_home = newer.features[:, FEATURE_NAMES.index("is_related")] == 0

    def scores(kind: Any) -> Any:
        signs = np.where(is_home, 1, -1) if kind == 0 else np.full(len(newer), kind)
        return (0.5 + 0.1 * signs * newer.labels).astype(np.float32)

    found = judge(
        make_examples(training),
        newer,
        trained=scores(trained),
        hand_tuned=scores(hand_tuned),
        surfaces=list(Surface),
    )
    return {surface.name: verdict.passes for surface, verdict in found.items()}


def test_the_gate_opens_surface_by_surface() -> None:
    """As good is good enough; worse is not, on that surface only."""
    assert verdicts(1, -1) == {"HOME_FEED": True, "RELATED_PINS": True}
    assert verdicts(1, 1) == {"HOME_FEED": True, "RELATED_PINS": True}
    assert verdicts(0, 1) == {"HOME_FEED": True, "RELATED_PINS": False}
    assert verdicts(-1, 1) == {"HOME_FEED": False, "RELATED_PINS": False}


def test_the_gate_stays_shut_where_there_is_too_little_to_tell() -> None:
    """A model neither taught nor judged by enough may not rank, however good it looks."""
    shut = {"HOME_FEED": False, "RELATED_PINS": False}

    assert verdicts(1, -1, training=20) == shut
    assert verdicts(1, -1, judging=20) == shut
