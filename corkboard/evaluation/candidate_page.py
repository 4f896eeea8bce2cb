"""The HTML page of `corkboard evaluate candidates`."""

from pathlib import Path

from corkboard.evaluation import page
from corkboard.evaluation.candidates import DEPTHS, CandidateReport
from corkboard.evaluation.judging import CURVE_DEPTHS, PARTS, ListReport
from corkboard.evaluation.page import Section, Table, number
from corkboard.evaluation.plots import bar_plot, line_plot, scatter_plot

TITLE = "What the candidate sources find"


def write_page(report: CandidateReport, path: Path) -> None:
    """Write the page.

    Raises:
        InvalidRequest: The file cannot be written.
    """
    page.write(path, make_page(report))


def make_page(report: CandidateReport) -> str:
    """The page as text."""
    sections = (_recall(report), _parts(report), _shares(report), _breadth(report), _cost(report))
    facts = report.facts | {"took": f"{report.seconds:,.0f} s"}
    return page.render(TITLE, facts, sections, notes=report.warnings)


def _recall(report: CandidateReport) -> Section:
    columns = [
        "",
        *(f"recall@{depth}" for depth in DEPTHS),
        "95 % of recall@100",
        *(f"hit rate@{depth}" for depth in DEPTHS),
        "NDCG@10",
        "from",
    ]
    rows = [
        [
            each.name,
            *(number(each.recall[depth].value) for depth in DEPTHS),
            f"{number(each.recall[100].low)} – {number(each.recall[100].high)}",
            *(number(each.hit_rate[depth]) for depth in DEPTHS),
            number(each.gain[10]),
            each.origin or "this project",
        ]
        for each in report.lists
    ]
    curves = {
        each.name: [(float(depth), each.curve[depth]) for depth in CURVE_DEPTHS]
        for each in report.lists
        if each.list_length > 0
    }
    heights = {each.name: each.recall[100].value for each in report.lists}
    errors = {each.name: (each.recall[100].low, each.recall[100].high) for each in report.lists}
    return Section(
        "Recall on the full catalogue",
        "Recall: share of the pins that a person went on to act on that are in the head of the "
        "list, averaged over people. Hit rate: share of people with at least one of them. All "
        "together: the sources take turns. Intervals are bootstraps over people.",
        [Table(columns, rows, strong=[report.union.name])],
        [
            line_plot(
                curves,
                x="length of the list",
                y="recall",
                dashed=[each.name for each in report.baselines],
                is_log_x=True,
            ),
            bar_plot(heights, y="recall@100", errors=errors, pale=_names(report.baselines)),
        ],
    )


def _parts(report: CandidateReport) -> Section:
    columns = ["", *(f"{part}, @{depth}" for part in PARTS for depth in (10, 100))]
    rows = [
        [each.name, *(number(each.parts[part][depth]) for part in PARTS for depth in (10, 100))]
        for each in report.lists
    ]
    return Section(
        "Cold pins and cold users apart",
        "A pin is cold if nobody acted on it before the split, a person if they did nothing "
        "before it. A dash: there were none.",
        [Table(columns, rows, strong=[report.union.name])],
    )


def _shares(report: CandidateReport) -> Section:
    rows = [
        [each.name, number(each.alone), number(each.found), number(each.list_length, 0)]
        for each in (*report.sources, report.union)
    ]
    return Section(
        "What each source adds",
        "Found alone: of all pairs that any source found, the share that would be lost without "
        "this one. Found: share of all pairs asked for that are anywhere in its list.",
        [Table(["", "found alone", "found", "pins in a list"], rows)],
        [bar_plot({each.name: each.alone for each in report.sources}, y="found by it alone")],
    )


def _breadth(report: CandidateReport) -> Section:
    columns = ["", *(f"{what}@{depth}" for what in ("coverage", "novelty") for depth in DEPTHS)]
    rows = [
        [
            each.name,
            *(number(each.coverage[depth]) for depth in DEPTHS),
            *(number(each.novelty[depth], 2) for depth in DEPTHS),
        ]
        for each in report.lists
    ]
    points = {each.name: (each.novelty[100], each.coverage[100]) for each in report.lists}
    return Section(
        "Breadth",
        "Coverage: share of the catalogue that is proposed to anybody. Novelty: mean surprise of "
        "a proposed pin in bits, -log2 of the share of people who had acted on it.",
        [Table(columns, rows)],
        [scatter_plot(points, x="novelty@100", y="coverage@100", pale=_names(report.baselines))],
    )


def _cost(report: CandidateReport) -> Section:
    rows = [
        [
            each.name,
            number(each.latency_ms["p50"], 2),
            number(each.latency_ms["p99"], 2),
            number(each.late_share),
        ]
        for each in (*report.sources, report.union)
    ]
    return Section(
        "Latency",
        "Of a source: as the service measured it, all sources side by side and two callers. All "
        "together: as the caller waited, the whole call.",
        [Table(["", "p50, ms", "p99, ms", "left out"], rows)],
    )


def _names(reports: tuple[ListReport, ...]) -> list[str]:
    return [each.name for each in reports]
