"""The page of `corkboard evaluate ranking`: every model and figure is on it, and what it is not."""

import json
from pathlib import Path
from typing import Any

import pytest

from corkboard.evaluation.ranking import RankingNotCompared, _read, evaluate
from corkboard.evaluation.ranking_page import FIGURES, make_page, model_rows, write_page
from corkboard.pipeline import Order, Watcher
from corkboard.simulate import MARK_FILE, SIMULATED

BARS = [
    {"predicted": 0.1, "observed": 0.12, "example_count": 50},
    {"predicted": 0.4, "observed": 0.35, "example_count": 50},
]


def figures(ndcg: float) -> Any:
    """Figures of one model."""
    part = {"ndcg_at_10": ndcg, "pr_auc": 0.2, "auc": 0.7, "log_loss": 0.3, "lists": 10}
    own = dict.fromkeys(FIGURES, 0.5) | {"ndcg_at_10": ndcg, "diversity": None}
    return own | {"cold": part, "warm": part, "reliability": BARS, "positive_weight": 1.0}


def report_of(root: Any, *, slices: Any = None) -> Any:
    """A report as the job prints it, read."""
    models = {"hand_tuned": figures(0.4), "pointwise_gbdt": figures(0.6), "rank_svm": figures(0.5)}
    raw = {
        "examples": {"training": 1000, "judging": 200},
        "positives": {"training": 100, "judging": 20},
        "examination": [0.68, 0.61],
        "models": models,
        "families": {"none": figures(0.6), "user": figures(0.3)},
        "negatives": {"none": figures(0.2), "both": figures(0.5)},
        "weights": {"automatic": figures(0.6), "none": figures(0.6)},
        "slices": slices or {},
    }
    told = json.loads(json.dumps(raw))
    return _read(told, is_logged=True, order=Order(root, 1.8e9), seconds=12.0)


def test_every_model_and_figure_is_on_the_page(tmp_path: Path) -> None:
    """Best first; a figure that there is not is a dash; plots are drawn."""
    report = report_of(tmp_path)

    page = make_page(report)

    assert [row[0] for row in model_rows(report)] == ["pointwise_gbdt", "rank_svm", "hand_tuned"]
    for name in (*report.models, *FIGURES.values(), "Reliability", "Cold and warm"):
        assert name in page
    assert page.count("<svg") >= 5
    assert "–" in page
    assert "random order to compare slices" in page


def test_a_simulated_root_is_called_so(tmp_path: Path) -> None:
    """Made-up people stand in the first note; slices have a section where there are any."""
    (tmp_path / MARK_FILE).write_text(SIMULATED)

    report = report_of(tmp_path, slices={"all": figures(0.4), "random": figures(0.5)})
    write_page(report, tmp_path / "pages" / "order.html")
    page = (tmp_path / "pages" / "order.html").read_text()

    assert report.notes[0] == SIMULATED
    assert SIMULATED in page
    assert "What randomly ordered lists are worth" in page


def test_an_empty_root_is_refused_in_words(tmp_path: Path) -> None:
    """Nothing logged and nothing to replay: what to do is said."""
    with pytest.raises(RankingNotCompared) as caught:
        evaluate(Order(tmp_path, 1.8e9), Watcher())

    assert "simulate" in caught.value.hint
