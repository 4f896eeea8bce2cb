"""Which pins a request starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from candidate_service.query_pins import QueriedPins, WeightedPins, choose_queried_pins
from service_runtime.errors import NotFound
from service_runtime.id_table import IdTable

NONE = WeightedPins([], np.empty(0))


@pytest.fixture
def ids(tmp_path: Path) -> IdTable:
    """Ten pins, a to j."""
    return IdTable.build(list("abcdefghij"), tmp_path)


def pins(named: Mapping[str, float]) -> WeightedPins:
    """Return pins with their weights."""
    return WeightedPins(list(named), np.asarray(list(named.values())))


def choose(
    ids: IdTable, query_pins: WeightedPins = NONE, medoids: WeightedPins = NONE, seed: int = 1
) -> QueriedPins:
    """Sample three medoids."""
    return choose_queried_pins(ids, query_pins, medoids, sample_count=3, seed=seed)


def test_query_pins_come_first_and_are_certain(ids: IdTable) -> None:
    """All query pins are queried with probability 1, then the sample of medoids."""
    chosen = choose(ids, pins({"c": 2, "a": 1}), pins(dict.fromkeys("defgh", 1.0)))

    assert chosen.pin_ids[:2] == ["c", "a"]
    assert chosen.query_pin_count == 2
    assert len(chosen.pin_ids) == 5
    assert chosen.inclusion_probabilities[:2].tolist() == [1, 1]
    np.testing.assert_allclose(chosen.inclusion_probabilities[2:], 0.6)
    assert ids.ids(chosen.rows) == chosen.pin_ids


def test_pin_named_twice_is_queried_once(ids: IdTable) -> None:
    """The weights add up."""
    chosen = choose(ids, WeightedPins(["b", "a", "b"], np.array([1.0, 5.0, 2.0])))

    assert chosen.pin_ids == ["b", "a"]
    assert chosen.weights.tolist() == [3, 5]


def test_medoid_that_is_a_query_pin_is_not_sampled(ids: IdTable) -> None:
    """A pin is not started from twice; the sample goes to the others."""
    chosen = choose(ids, pins({"a": 1}), pins({"a": 100, "b": 1, "c": 1, "d": 1}))

    assert sorted(chosen.pin_ids) == ["a", "b", "c", "d"]


def test_unknown_pins_are_named_and_left_out(ids: IdTable) -> None:
    """An unknown medoid is never sampled."""
    chosen = choose(ids, pins({"x": 1, "a": 1}), pins({"y": 100, "b": 1}))

    assert chosen.pin_ids == ["a", "b"]
    assert chosen.unknown_pin_ids == ["x", "y"]


def test_only_query_pin_unknown_is_not_found(ids: IdTable) -> None:
    """With nothing else to start from the error names the pin."""
    with pytest.raises(NotFound, match="'x'"):
        choose(ids, pins({"x": 1}))


def test_only_medoids_unknown_is_an_empty_start(ids: IdTable) -> None:
    """A profile of pins that are gone still gets what is popular."""
    assert choose(ids, medoids=pins({"x": 1})).pin_ids == []


def test_nothing_named_is_an_empty_start(ids: IdTable) -> None:
    """A newcomer has neither medoids nor a query pin."""
    chosen = choose(ids)

    assert chosen.pin_ids == []
    assert len(chosen.rows) == 0
