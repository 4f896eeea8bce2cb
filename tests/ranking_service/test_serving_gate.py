"""When a trained model may take the place of the serving one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ranking_service.feature_table import FEATURE_NAMES
from ranking_service.query import Surface
from ranking_service.ranker import RANKER_ARTIFACT
from ranking_service.serving_gate import Incumbent, compare_with, incumbent, lost
from service_runtime.generation_store import GenerationStore
from tests.ranking_service.test_gate import make_examples
from tests.ranking_service.test_shadow import linear, publish

LISTS = 200
BOTH = list(Surface)


class Known:
    """A model that gives the scores that it was made with."""

    surfaces = frozenset(Surface)

    def __init__(self, scores: Any) -> None:
        self._scores = scores

    def score(self, features: Any) -> Any:
        """The scores, whatever the features."""
        assert len(features) == len(self._scores)
        return self._scores


def first_of(examples: Any, share: float, seed: int = 0) -> Any:
    """Scores that put the positive first in a share of the lists and last in the others."""
    rng = np.random.default_rng(seed)
    signs = np.where(rng.random(LISTS) < share, 1.0, -1.0)[examples.lists]
    return (0.5 + 0.1 * signs * examples.labels).astype(np.float32)


def compare(new: Any, old: Any, examples: Any, as_of_us: int = 0) -> Any:
    """The comparison on both surfaces."""
    return compare_with(Incumbent(Known(old), "g", as_of_us), examples, new, BOTH)  # type: ignore[arg-type]


def test_it_is_refused_only_where_it_loses_beyond_doubt() -> None:
    """Better, as good and hardly worse pass; clearly worse does not, and the words say where."""
    examples = make_examples(LISTS)
    half = first_of(examples, 0.5)

    better = compare(first_of(examples, 0.9), half, examples)
    same = compare(half, half, examples)
    hardly = compare(first_of(examples, 0.48, seed=1), half, examples)
    worse = compare(first_of(examples, 0.1), half, examples)

    assert lost(better) == lost(same) == lost(hardly) == ""
    assert better[Surface.HOME_FEED].difference > 0.1
    assert same[Surface.HOME_FEED].difference == same[Surface.HOME_FEED].high == 0
    assert "home_feed -0." in lost(worse)
    assert "related_pins -0." in lost(worse)


def test_random_lists_decide_where_there_are_enough() -> None:
    """On ordered lists the new one loses, on random ones it wins: it passes."""
    examples = make_examples(LISTS)
    examples = replace(examples, is_randomised=examples.lists < LISTS // 2)
    good, bad = first_of(examples, 1.0), first_of(examples, 0.0)
    new = np.where(examples.is_randomised, good, bad)
    old = np.where(examples.is_randomised, bad, good)

    fair = compare(new, old, examples)
    few = compare(new, old, replace(examples, is_randomised=examples.lists < 10))

    assert lost(fair) == ""
    assert fair[Surface.HOME_FEED].is_random
    assert fair[Surface.HOME_FEED].list_count == LISTS // 4
    assert not few[Surface.HOME_FEED].is_random


def test_lists_that_the_serving_model_may_have_seen_do_not_count() -> None:
    """Only what was shown after its data ended; too little of that is no comparison."""
    examples = make_examples(LISTS)  # list n was shown at n microseconds
    good, bad = first_of(examples, 1.0), first_of(examples, 0.0)

    late = compare(bad, good, examples, as_of_us=LISTS - 60)
    too_late = compare(bad, good, examples, as_of_us=LISTS - 20)

    assert late[Surface.HOME_FEED].list_count == 30
    assert lost(late)
    assert too_late[Surface.HOME_FEED].list_count == 0
    assert lost(too_late) == ""


def test_what_cannot_serve_is_no_rival(tmp_path: Path) -> None:
    """None published, damaged, or made for other features: not compared, and it says why."""
    store = GenerationStore(tmp_path)
    assert incumbent(store, feature_names=FEATURE_NAMES) == Incumbent()
    generation = publish(store, linear({"rank_fusion": 1.0}), RANKER_ARTIFACT)

    found = incumbent(store, feature_names=FEATURE_NAMES)
    foreign = incumbent(store, feature_names=FEATURE_NAMES[:-1])
    (tmp_path / RANKER_ARTIFACT / generation / "model.json").write_text("{}")
    damaged = incumbent(store, feature_names=FEATURE_NAMES)

    assert (found.generation, found.as_of_us, found.reason) == (generation, 1, "")
    assert foreign.ranker is None
    assert "other features" in foreign.reason
    assert damaged.ranker is None
    assert damaged.reason
    assert compare_with(damaged, make_examples(), np.zeros(80, np.float32), BOTH) == {}


def test_a_surface_that_the_serving_model_does_not_rank_is_not_compared() -> None:
    """There the hand-tuned model is the one to beat, which the other gate looks at."""
    examples = make_examples(LISTS)
    rival = Known(first_of(examples, 1.0))
    rival.surfaces = frozenset({Surface.RELATED_PINS})

    found = compare_with(Incumbent(rival, "g"), examples, first_of(examples, 0.0), BOTH)  # type: ignore[arg-type]

    assert list(found) == [Surface.RELATED_PINS]
