"""The counters behind scores: a recount, what is forgotten, what is damaged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking_service.memboost.counting import KINDS, credit
from ranking_service.memboost.curves import POSITION_COUNT, RankCurves, estimate, flat_curves
from ranking_service.memboost.memory import NO_MEMORY, Memboost
from ranking_service.memboost.table import MemboostTable, Reset, make_table
from ranking_service.pin_keys import key_of, keys_of
from service_runtime.errors import Corrupted
from tests.naive import memboost as naive
from tests.ranking_service.memboost.worlds import (
    HOUR_US,
    PLATFORMS,
    act_rows,
    random_world,
    shown_rows,
)

WEIGHTS = np.array([0.3, 0.6, 0.2, 1.0])
NAMED = dict(zip(KINDS, WEIGHTS.tolist(), strict=True))
FOREVER = 2**62


def random_curves(seed: int) -> RankCurves:
    """Any rates."""
    rates = np.random.default_rng(seed).random((2, len(PLATFORMS), POSITION_COUNT, len(KINDS)))
    return RankCurves(rates * 0.3, np.zeros(2, np.bool_))


def table_of(shown: Any, acts: Any, curves: Any, window_us: int = HOUR_US) -> MemboostTable:
    """A table of a small world."""
    rows = shown_rows(shown)
    acted = credit(rows, act_rows(acts), window_us=window_us)
    return make_table(rows, acted, curves, platform_names=PLATFORMS, weights=WEIGHTS)


def recount(shown: Any, acts: Any, curves: Any, window_us: int = HOUR_US) -> Any:
    """The scores by the slow twin."""

    def rate(is_related: bool, platform: str, position: int, kind: str) -> float:  # noqa: FBT001
        place = PLATFORMS.index(platform)
        return float(curves.rates[int(is_related), place, position, KINDS.index(kind)])

    followed = naive.credited(shown, acts, window_us)
    return naive.scores(shown, followed, rate, NAMED, 1.0)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_scores_equal_a_recount(seed: int) -> None:
    """Every pair that was shown; 0 for all others."""
    shown, acts = random_world(seed)
    curves = random_curves(seed)
    expected = recount(shown, acts, curves)
    one = Memboost((table_of(shown, acts, curves),))

    for query in ("", "q1", "q2", "q3"):
        pins = [f"p{number}" for number in range(9)]
        found = one.scores(key_of(query), keys_of(pins)).tolist()
        assert found == pytest.approx([expected.get((query, pin), 0.0) for pin in pins], abs=1e-5)


def test_a_pair_never_shown_scores_exactly_zero() -> None:
    """Neither an empty memory nor a full one says anything of it."""
    shown, acts = random_world(3)
    memory = Memboost((table_of(shown, acts, random_curves(3)),))

    assert memory.scores(key_of("q1"), keys_of(["unseen"])).tolist() == [0.0]
    assert NO_MEMORY.scores(0, keys_of(["p1"])).tolist() == [0.0]
    assert NO_MEMORY.is_empty


def test_one_impression_without_a_click_moves_little() -> None:
    """A large a holds a score near 0 until there is evidence."""
    shown = [("l", "ann", "q", "p", "ios", 0, 0)]
    table = table_of(shown, [], random_curves(1))

    loose, firm = (
        float(Memboost((table,), smoothing=a).scores(key_of("q"), keys_of(["p"]))[0])
        for a in (0.1, 100.0)
    )

    assert loose < firm < 0
    assert firm > -0.01


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_what_is_forgotten_was_never_shown(seed: int) -> None:
    """A pair, a pin, a range of time: as if the impressions had not been."""
    shown, acts = random_world(seed)
    curves = random_curves(seed)
    table = table_of(shown, acts, curves)
    begin, end = 2 * HOUR_US, 6 * HOUR_US
    cases = (
        (
            Reset(key_of("q1"), key_of("p1"), 0, FOREVER),
            lambda row: row[2] == "q1" and row[3] == "p1",
        ),
        (Reset(None, key_of("p2"), 0, FOREVER), lambda row: row[3] == "p2"),
        (Reset(None, None, begin, end), lambda row: begin <= row[6] < end),
    )
    for reset, is_gone in cases:
        acted = naive.credited(shown, acts, HOUR_US)
        kept = [(row, kinds) for row, kinds in zip(shown, acted, strict=True) if not is_gone(row)]
        rows, followed = [row for row, _ in kept], [kinds for _, kinds in kept]

        def rate(is_related: bool, platform: str, position: int, kind: str) -> float:  # noqa: FBT001
            place = PLATFORMS.index(platform)
            return float(curves.rates[int(is_related), place, position, KINDS.index(kind)])

        expected = naive.scores(rows, followed, rate, NAMED, 1.0)
        memory = Memboost((table.without([reset]),))
        for query in ("", "q1", "q2"):
            pins = [f"p{number}" for number in range(8)]
            found = memory.scores(key_of(query), keys_of(pins)).tolist()
            wanted = [expected.get((query, pin), 0.0) for pin in pins]
            assert found == pytest.approx(wanted, abs=1e-5)


def test_counters_add_up_to_the_score() -> None:
    """What GetMemboost shows is what the score is made of."""
    shown, acts = random_world(11)
    memory = Memboost((table_of(shown, acts, random_curves(11)),))
    query, pin = "q1", "p3"

    counters = memory.counters(key_of(query), key_of(pin))
    counts = memory.counts(key_of(query), keys_of([pin]))

    own = [row for row in shown if row[2] == query and row[3] == pin]
    assert sum(counter.impression_count for counter in counters) == len(own) > 0
    assert {(c.platform, c.position) for c in counters} == {(row[4], row[5]) for row in own}
    weighted = sum(NAMED[kind] * count for c in counters for kind, count in c.action_counts.items())
    assert weighted == pytest.approx(float(counts.actions[0]), abs=1e-5)
    expected = sum(counter.expected_count for counter in counters)
    assert expected == pytest.approx(float(counts.expected[0]), abs=1e-5)


def test_winners_are_the_best_with_enough_evidence() -> None:
    """Best first, none below the bar, none that was hardly shown."""
    shown, acts = [], []
    for number in range(30):
        for place, pin in enumerate(("hit", "good", "dull")):
            shown.append((f"l{number}", "ann", "q", pin, "web", place, number * HOUR_US))
        acts.append((f"l{number}", "ann", "hit", "save", number * HOUR_US + 1))
        if number % 2:
            acts.append((f"l{number}", "ann", "good", "save", number * HOUR_US + 1))
    shown.append(("once", "bob", "q", "lucky", "web", 0, 0))
    acts.append(("once", "bob", "lucky", "save", 1))
    rates = np.full((2, 3, POSITION_COUNT, 4), 0.02)
    memory = Memboost((table_of(shown, acts, RankCurves(rates, np.zeros(2, np.bool_))),))

    keys, scores = memory.winners(key_of("q"), 5, score_min=0.5, impressions_min=10)

    assert keys.tolist() == [key_of("hit"), key_of("good")]
    assert scores[0] > scores[1] > 0.5
    assert memory.winners(key_of("nothing"), 5, score_min=0, impressions_min=0)[0].size == 0


def test_a_planted_position_bias_is_removed_where_the_raw_rate_is_fooled() -> None:
    """
    The better a pin, the lower it was shown: raw rates turn the order round, Memboost does not.

    20 pins, 60,000 impressions of which 20,000 in random order; appeal grows with the number of
    the pin, examination falls with the position. The rank correlations are far from any chance.
    """
    rng = np.random.default_rng(5)
    examination = np.array([0.68, 0.61, 0.48, 0.34, 0.28, 0.20, 0.11, 0.10, 0.08, 0.06])
    appeal = np.linspace(0.1, 0.4, 20)
    shown, acts, is_random = [], [], []
    for number in range(6000):
        random = number % 3 == 0
        drawn = rng.permutation(20)[:10]
        pins = drawn if random else np.sort(drawn)  # an old model that has it all wrong
        for position, pin in enumerate(pins.tolist()):
            shown.append((f"l{number}", "ann", "q", f"p{pin}", "ios", position, number))
            is_random.append(random)
            if rng.random() < examination[position] * appeal[pin]:
                acts.append((f"l{number}", "ann", f"p{pin}", "save", number))
    rows = shown_rows(shown, is_random)
    acted = credit(rows, act_rows(acts), window_us=HOUR_US)
    curves = estimate(rows, acted, platform_count=3, smoothing=50.0, random_count_min=10_000)
    table = make_table(rows, acted, curves, platform_names=PLATFORMS, weights=WEIGHTS)
    pins = keys_of([f"p{number}" for number in range(20)])
    counts = Memboost((table,)).counts(key_of("q"), pins)

    raw = counts.actions / counts.impressions
    corrected = counts.scores(1.0)

    assert curves.is_random.tolist() == [False, True]
    assert np.corrcoef(raw, appeal)[0, 1] < 0
    assert np.corrcoef(corrected, appeal)[0, 1] > 0.9
    related = curves.rates[1, 1, :10, 3]
    assert np.allclose(related / related[0], examination / examination[0], atol=0.15)


def test_curves_of_few_impressions_are_drawn_to_the_mean() -> None:
    """A place where nothing was shown yet is expected to do what places do on the whole."""
    shown, acts = random_world(2, list_count=200, act_count=400)
    rows = shown_rows(shown)
    acted = credit(rows, act_rows(acts), window_us=24 * HOUR_US)

    curves = estimate(rows, acted, platform_count=3, smoothing=10.0, random_count_min=1)

    assert curves.is_random.tolist() == [False, False]
    empty = curves.rates[1, :, 50:, :]
    assert np.allclose(empty, empty[0, 0])
    assert (curves.rates >= 0).all()
    assert (curves.rates <= 1).all()


def test_a_table_is_read_back(tmp_path: Path) -> None:
    """What is opened is what was written, also when nothing was ever shown."""
    shown, acts = random_world(4)
    for rows, name in ((shown, "full"), ([], "empty")):
        folder = tmp_path / name
        folder.mkdir()
        table = table_of(rows, acts if rows else [], random_curves(4))
        table.write(folder)
        opened = MemboostTable.open(folder)

        assert opened.platform_names == PLATFORMS
        for field in ("query_keys", "result_keys", "action_counts", "times_us", "acted"):
            assert np.array_equal(getattr(opened, field), getattr(table, field)), field
        assert np.array_equal(opened.curves.rates, table.curves.rates)


@pytest.mark.parametrize("name", ["acted.npy", "memboost.json", "rates.npy", "pair_starts.npy"])
def test_a_damaged_table_is_refused(tmp_path: Path, name: str) -> None:
    """Cut, missing or foreign: the old table serves on."""
    table_of(*random_world(4), random_curves(4)).write(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(Corrupted):
        MemboostTable.open(tmp_path)
    path.unlink()
    with pytest.raises(Corrupted):
        MemboostTable.open(tmp_path)


def test_files_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    """A file of another generation is noticed."""
    table_of(*random_world(4), random_curves(4)).write(tmp_path)
    np.save(tmp_path / "acted.npy", np.zeros(3, np.uint8))

    with pytest.raises(Corrupted, match="fit"):
        MemboostTable.open(tmp_path)


def test_flat_curves_expect_nothing() -> None:
    """Before any count nothing is expected anywhere."""
    assert not flat_curves(3).rates.any()
