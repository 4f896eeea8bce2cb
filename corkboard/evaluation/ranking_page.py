"""The HTML page of `corkboard evaluate ranking`."""

from collections.abc import Mapping
from pathlib import Path

from corkboard.evaluation import page
from corkboard.evaluation.page import Section, Table, number
from corkboard.evaluation.plots import bar_plot, line_plot
from corkboard.evaluation.ranking import RankingReport

TITLE = "How good the order is"
FIGURES = {
    "ndcg_at_10": "NDCG@10",
    "pr_auc": "PR-AUC",
    "auc": "AUC",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
    "examined": "positives met",
    "diversity": "diversity@10",
    "coverage": "coverage@10",
    "flipped": "popular above saved",
}
SHORT = ("ndcg_at_10", "pr_auc", "auc", "log_loss", "calibration_error")


def write_page(report: RankingReport, path: Path) -> None:
    """Write the page.

    Raises:
        InvalidRequest: The file cannot be written.
    """
    page.write(path, make_page(report))


def make_page(report: RankingReport) -> str:
    """The page as text."""
    sections = [
        _models(report),
        _parts(report),
        _reliability(report),
        _side_by_side(
            "What each family of features is worth",
            "The model is trained again without one family at a time; `none` is with all of them.",
            report.families,
        ),
        _side_by_side(
            "What negatives do to session_pairs",
            "Beside the pins shown before the saved one: the pin after it, unrelated popular pins, "
            "or both. Popular above saved: share of such pairs in the wrong order.",
            report.negatives,
            more=("flipped",),
        ),
        _side_by_side(
            "What up-weighting positives does",
            "Calibration is corrected after it; the order may change.",
            report.weights,
            more=("positive_weight",),
        ),
    ]
    if report.slices:
        sections.append(
            _side_by_side(
                "What randomly ordered lists are worth",
                "Trained on all lists, on those in random order only, or on both at equal weight; "
                "judged on lists in random order only.",
                report.slices,
                more=("examples",),
            )
        )
    return page.render(TITLE, dict(report.facts), sections, notes=report.notes)


def model_rows(report: RankingReport) -> list[list[str]]:
    """One row a model, best NDCG first."""
    ordered = sorted(report.models, key=lambda name: -_value(report.models[name], "ndcg_at_10"))
    return [
        [name, *(number(_value(report.models[name], figure)) for figure in FIGURES)]
        for name in ordered
    ]


def _models(report: RankingReport) -> Section:
    bars = {name: _value(figures, "ndcg_at_10") for name, figures in report.models.items()}
    met = {name: _value(figures, "examined") for name, figures in report.models.items()}
    return Section(
        "The models side by side",
        "Trained on the same examples, judged on the same newer lists. Positives met: what one "
        "would meet in a list who looks at each place with the chance of the examination curve.",
        [Table(["", *FIGURES.values()], model_rows(report), strong=["pointwise_gbdt"])],
        [
            bar_plot(bars, y="NDCG@10", pale=["hand_tuned"]),
            bar_plot(met, y="positives met a list", pale=["hand_tuned"]),
        ],
    )


def _parts(report: RankingReport) -> Section:
    columns = [
        "",
        *(f"{part}, {name}" for part in ("cold", "warm") for name in ("NDCG@10", "PR-AUC")),
    ]
    rows = [
        [
            name,
            *(
                number(_value(figures[part], figure))
                for part in ("cold", "warm")
                for figure in ("ndcg_at_10", "pr_auc")
            ),
        ]
        for name, figures in report.models.items()
    ]
    first = next(iter(report.models.values()))
    counts = ", ".join(f"{first[part]['lists']:,.0f} {part} lists" for part in ("cold", "warm"))
    return Section(
        "Cold and warm",
        f"Cold: people of whom at most five pins or actions are known. {counts}.",
        [Table(columns, rows)],
    )


def _reliability(report: RankingReport) -> Section:
    lines = {
        name: [(bar["predicted"], bar["observed"]) for bar in figures["reliability"]]
        for name, figures in report.models.items()
    }
    most = max((point[0] for points in lines.values() for point in points), default=1.0)
    lines["perfect"] = [(0.0, 0.0), (most, most)]
    return Section(
        "Reliability",
        "Examples in ten bars by their score: mean probability across, share of positives up. A "
        "model whose scores are probabilities lies on the diagonal.",
        plots=[line_plot(lines, x="predicted", y="observed", dashed=["perfect", "hand_tuned"])],
    )


def _side_by_side(
    title: str, text: str, rows: Mapping[str, Mapping[str, float]], *, more: tuple[str, ...] = ()
) -> Section:
    figures = (*SHORT, *more)
    names = [FIGURES.get(figure, figure.replace("_", " ")) for figure in figures]
    cells = [[name, *(number(_value(row, f)) for f in figures)] for name, row in rows.items()]
    bars = {name: _value(row, "ndcg_at_10") for name, row in rows.items()}
    return Section(title, text, [Table(["", *names], cells)], [bar_plot(bars, y="NDCG@10")])


def _value(row: Mapping[str, object], name: str) -> float:
    """A figure; NaN where JSON had none."""
    value = row.get(name)
    return float(value) if isinstance(value, int | float) else float("nan")
