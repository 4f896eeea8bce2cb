"""A world of five users and eight pins, judged by hand, and the page made of it."""

import math
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from corkboard.answers import SourceList
from corkboard.evaluation.asking import Asked
from corkboard.evaluation.candidate_page import make_page
from corkboard.evaluation.candidates import DEPTHS, CandidateReport
from corkboard.evaluation.choices import SplitKind
from corkboard.evaluation.judging import CURVE_DEPTHS, Judge
from corkboard.evaluation.split import Pairs, Split

# User, pin, microseconds; the split is at 100. Pins p5 and p6 are cold, u4 is a cold user.
ROWS = [
    (0, 0, 1), (0, 1, 2), (0, 2, 150), (0, 5, 160),
    (1, 1, 3), (1, 3, 170),
    (2, 0, 4), (2, 3, 5), (2, 2, 6),
    (3, 2, 7), (3, 1, 180),
    (4, 1, 190), (4, 6, 195),
]  # fmt: skip


def make_judge(user_count_max: int = 10) -> Judge:
    """The world above, split by time."""
    users, pins, times = (np.array(column) for column in zip(*ROWS, strict=True))
    nothing = np.empty(0, np.int32)
    pairs = Pairs(
        user_ids=np.array([f"u{n}" for n in range(5)], object),
        pin_ids=np.array([f"p{n}" for n in range(7)], object),
        users=users.astype(np.int32),
        pins=pins.astype(np.int32),
        times=times.astype(np.int64),
        seen_times=times.astype(np.int64),
        other_users=nothing,
        other_pins=nothing,
        other_times=np.empty(0, np.int64),
    )
    split = Split(SplitKind.TIME, 100 / 1e6, pairs, times >= 100, times < 100)
    judge = Judge(split, DEPTHS, user_count_max=user_count_max, seed=0)
    judge.catalogue_size = 8
    return judge


def asked(user_id: str, *, a: list[str], b: list[str]) -> Asked:
    """The lists of two sources; b is late where it has nothing."""

    def told(source: str, pin_ids: list[str]) -> SourceList:
        status = "ok" if pin_ids else "late"
        scores = tuple(float(-n) for n in range(len(pin_ids)))
        return SourceList(
            source, status, "", tuple(pin_ids), scores, ("",) * len(pin_ids), 500, "g1"
        )

    return Asked(user_id, (told("a", a), told("b", b)), 0.002)


ANSWERS = [
    asked("u0", a=["p3", "p2"], b=["p2", "never-seen"]),
    asked("u1", a=["p0", "p2"], b=["p3"]),
    asked("u3", a=["p1"], b=[]),
    asked("u4", a=[], b=["p1", "p0"]),
]


def test_who_is_asked_for_what() -> None:
    """u2 did nothing afterwards."""
    judge = make_judge()

    assert judge.held_ids() == {
        "u0": {"p2", "p5"},
        "u1": {"p3"},
        "u3": {"p1"},
        "u4": {"p1", "p6"},
    }
    assert judge.histories.sum() == 7
    assert make_judge(user_count_max=2).tested_users.shape == (2,)


def test_sources_by_hand() -> None:
    """A finds u0 p2, u3 p1; b finds u0 p2, u1 p3, u4 p1; of six pairs."""
    a, b = make_judge().sources(["a", "b"], ANSWERS)

    assert a.recall[10].value == pytest.approx((0.5 + 0 + 1 + 0) / 4)
    assert b.recall[10].value == pytest.approx((0.5 + 1 + 0 + 0.5) / 4)
    assert (a.hit_rate[10], b.hit_rate[10]) == (0.5, 0.75)
    assert (a.found, b.found) == (pytest.approx(2 / 6), pytest.approx(3 / 6))
    assert (a.alone, b.alone) == (pytest.approx(1 / 4), pytest.approx(2 / 4))
    assert a.coverage[10] == pytest.approx(4 / 8)
    assert b.coverage[10] == pytest.approx(5 / 8)
    assert a.curve[1] == pytest.approx(1 / 4)
    assert (a.late_share, b.late_share) == (0.25, 0.25)
    assert a.latency_ms["p99"] == 0.5
    assert a.list_length == pytest.approx(5 / 4)


def test_parts_by_hand() -> None:
    """Cold pairs: p5 of u0 and p6 of u4; u4 is the only cold user."""
    a, b = make_judge().sources(["a", "b"], ANSWERS)

    known, cold_pins, cold_users = (b.parts[part][10] for part in b.parts)
    assert known == pytest.approx((1 + 1 + 0) / 3)
    assert cold_pins == 0.0
    assert cold_users == pytest.approx(1 / 2)
    assert a.parts["cold users"][10] == 0.0


def test_union_takes_turns() -> None:
    """u0: p3 (a), p2 (b), never-seen; everything is found but the cold pins."""
    union = make_judge().union(["a", "b"], ANSWERS)

    assert union.found == pytest.approx(4 / 6)
    assert union.recall[10].value == pytest.approx((0.5 + 1 + 1 + 0.5) / 4)
    assert union.curve[1] == pytest.approx((0 + 0 + 1 + 0.5) / 4)
    assert union.latency_ms["p50"] == pytest.approx(2.0)
    assert math.isnan(union.alone)


def test_weighed_union_counts_a_source_by_what_it_found_for_others() -> None:
    """Nothing is lost that turns find; weights are the recall among the other half."""
    judge = make_judge()

    weighed = judge.weighed(["a", "b"], ANSWERS)

    assert weighed.found == judge.union(["a", "b"], ANSWERS).found
    by_source = [judge._lists_of(name, ANSWERS) for name in ("a", "b")]
    expected = [[0.0, 0.0], [0.0, 0.0]]
    for at, lists in enumerate(by_source):
        for place, (found, wanted) in enumerate(zip(lists, judge.wanted, strict=True)):
            expected[place % 2][at] += len(set(found[:100]) & set(wanted)) / len(wanted)
    np.testing.assert_allclose(judge._weights_by_half(by_source), expected)


def test_people_without_an_answer_count_as_misses() -> None:
    """And are told of."""
    judge = make_judge()

    a, _ = judge.sources(["a", "b"], ANSWERS[:1])

    assert a.recall[10].value == pytest.approx(0.5 / 4)
    assert any("3 people got no answer" in words for words in judge.warnings(["a"], ANSWERS[:1]))


def make_report() -> CandidateReport:
    """Sources, union and one baseline."""
    judge = make_judge()
    lists = [np.array([1, 2], np.int32)] * 4
    return CandidateReport(
        facts=judge.facts(),
        sources=judge.sources(["a", "b"], ANSWERS),
        union=judge.union(["a", "b"], ANSWERS),
        weighed=judge.weighed(["a", "b"], ANSWERS),
        baselines=(judge.report("popularity", lists, origin="<b>someone</b>", seconds=0.1),),
        build=(),
        seconds=3.0,
        warnings=("only 4 people & a <dog>",),
    )


def test_page_is_self_contained_and_safe() -> None:
    """Nothing is loaded from elsewhere, what is text stays text, ids are unique, SVG is XML."""
    page = make_page(make_report())

    assert "<b>someone</b>" not in page
    assert "only 4 people &amp; a &lt;dog&gt;" in page
    assert not re.findall(r"<(?:script|link|img|iframe)\b", page)
    assert not re.findall(r'(?:src|href)="(?!#)', page.replace("xlink:href", "href"))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    plots = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(plots) == 4
    for plot in plots:
        assert ET.fromstring(plot).tag.endswith("svg")  # noqa: S314  our own text
    for name in ("a", "b", "all together", "popularity"):
        assert f"<td>{name}</td>" in page
    assert "0.3750" in page  # recall of a


def test_page_is_the_same_for_the_same_report() -> None:
    """No times and no chance in it."""
    assert make_page(make_report()) == make_page(make_report())


def test_curve_ends_at_the_deepest_cut() -> None:
    """So that the plot and the table agree."""
    (a, _) = make_judge().sources(["a", "b"], ANSWERS)

    assert CURVE_DEPTHS[-1] == DEPTHS[-1]
    assert a.curve[400] == a.recall[400].value
