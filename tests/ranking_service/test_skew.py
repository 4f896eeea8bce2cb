"""Logged features against recomputed ones: silent while they agree, loud when they do not."""

from typing import Any

import numpy as np
import pytest

from ranking_service.feature_table import FEATURE_NAMES
from ranking_service.features import feature_rows, make_context
from ranking_service.pool import merge
from ranking_service.query import Surface, Viewer
from ranking_service.skew import WINDOW_MIN, SkewCheck
from service_runtime.telemetry import Metrics
from tests.ranking_service.worlds import (
    NOW,
    make_candidates,
    make_list,
    make_profile,
    make_world,
)

ROWS = 20


def make_check(share: Any = 1.0, alarm: Any = 0.01) -> Any:
    """A check and the page that its metrics appear on."""
    metrics = Metrics("ranking_service")
    return SkewCheck(share=share, alarm=alarm, metrics=metrics), metrics


def values(seed: int = 0) -> Any:
    """Rows of features."""
    return np.random.default_rng(seed).random((ROWS, len(FEATURE_NAMES))).astype(np.float32)


def test_equal_rows_raise_nothing() -> None:
    """However often they are compared."""
    check, _ = make_check()

    for number in range(20):
        assert check.check(f"list-{number}", values(number), lambda n=number: values(n))

    assert not check.is_alarmed


def test_a_column_that_drifts_raises_the_alarm() -> None:
    """One feature of 94 that differs everywhere is above one percent; it is named once."""
    check, _ = make_check()
    drifted = values()
    drifted[:, 7] += 1e-3

    for number in range(WINDOW_MIN // drifted.size + 2):
        assert not check.check(f"list-{number}", values(), lambda: drifted)

    assert check.is_alarmed


def test_rounding_is_no_skew() -> None:
    """A sum in another order is the same value."""
    check, _ = make_check(alarm=0.0)

    assert check.check("list", values(), lambda: np.nextafter(values(), np.float32(2)))


def test_rows_of_another_shape_differ_everywhere() -> None:
    """A log that lost a column agrees with nothing."""
    check, _ = make_check()

    assert not check.check("list", values(), lambda: values()[:, 1:])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_answers_is_compared(share: Any) -> None:
    """The same ones whoever asks; 2,000 names: four standard errors are 0.04."""
    check, _ = make_check(share=share)
    chosen = [check.is_chosen(f"list-{number}") for number in range(2000)]

    assert np.mean(chosen) == pytest.approx(share, abs=0.04)
    assert chosen == [check.is_chosen(f"list-{number}") for number in range(2000)]


def test_shown_pins_alone_have_the_features_they_had_in_the_pool(tmp_path: Any) -> None:
    """What is compared in earnest: a fresh context and only the shown pins give the same rows."""
    world = make_world(tmp_path, 60)
    rng = np.random.default_rng(1)
    lists = [make_list(name, rng.permutation(60)[:30].tolist()) for name in ("ann", "pixie")]
    pool = merge(make_candidates(*lists), excluded_rows=np.empty(0, np.int32))

    def rows(shown: Any) -> Any:
        context = make_context(
            world,
            make_profile([1, 2, 3], acted_pin_ids=("pin-4", "pin-9")),
            Viewer("en", "NL"),
            surface=Surface.RELATED_PINS,
            query_row=5,
            now=NOW,
        )
        return feature_rows(shown, context)

    places = rng.permutation(len(pool))[:10]
    check, _ = make_check(alarm=0.0)

    assert check.check("list", rows(pool)[places], lambda: rows(pool.take(places)))
