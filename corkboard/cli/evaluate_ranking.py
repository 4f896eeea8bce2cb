"""`corkboard evaluate ranking`: how good the order is, and what it comes from."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corkboard.cli.build import StepDisplay
from corkboard.cli.options import DEFAULT_DATA_ROOT, AsJson, DataRoot
from corkboard.cli.output import notes, out, print_json
from corkboard.cli.records import parse_moment
from corkboard.pipeline import Order

if TYPE_CHECKING:
    from corkboard.evaluation.ranking import RankingReport


def ranking(
    data_root: DataRoot = DEFAULT_DATA_ROOT,
    as_of: Annotated[
        str, typer.Option(metavar="TIME", help="Look at nothing from here on; default now.")
    ] = "",
    model: Annotated[
        str, typer.Option(help="Model that families, slices and weights are tried on.")
    ] = "pointwise_gbdt",
    day_count: Annotated[
        int, typer.Option("--days", min=2, max=20, help="Days to replay if little was logged.")
    ] = 2,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of ranking_service."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all chance.")] = 0,
    report: Annotated[
        Path | None, typer.Option(help="Where the HTML page goes.", dir_okay=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train every model on the same lists and judge all of them on newer ones.

    The lists are those that were logged; where there are too few yet, past days are replayed.
    Shown are the seven models side by side, cold and warm, calibration, what each family of
    features is worth, what negatives and weights do, and what randomly ordered lists are worth.

    Examples:
      corkboard evaluate ranking --report order.html

      corkboard evaluate ranking --model ranknet_gbdt --set tree_count_max=100
    """
    from corkboard.evaluation.ranking import evaluate

    moment = parse_moment(as_of, option="--as-of")
    order = Order(data_root, moment.timestamp() if moment else time.time(), seed)
    with StepDisplay() as display:
        found = evaluate(
            order,
            display,
            model=model,
            day_count=day_count,
            settings=tuple(settings or ()),
            say=lambda text: notes.print(text, style="dim", markup=False),
        )
    if report is not None:
        from corkboard.evaluation.ranking_page import write_page

        write_page(found, report)
        notes.print(f"report: {report}", markup=False)
    if as_json:
        print_json(found)
    else:
        print_report(found)


def print_report(found: "RankingReport") -> None:
    """The tables of a report."""
    from corkboard.cli.tables import make_table
    from corkboard.evaluation.page import number
    from corkboard.evaluation.ranking_page import FIGURES, SHORT, model_rows

    for note in found.notes:
        out.print(note, style="bold" if note.startswith("SIMULATION") else "dim", markup=False)
    facts = make_table("", "compared", "")
    for name, value in found.facts.items():
        facts.add_row(name, value)
    out.print(facts)
    table = make_table("Models", "", *(f"#{name}" for name in list(FIGURES.values())[:6]))
    for row in model_rows(found):
        table.add_row(*row[:7])
    out.print(table)
    for title, rows in (
        ("Without a family of features", found.families),
        ("session_pairs by its negatives", found.negatives),
        ("Weight of positives", found.weights),
        ("Lists that train, judged on random ones", found.slices),
    ):
        if rows:
            table = make_table(title, "", *(f"#{FIGURES[figure]}" for figure in SHORT))
            for name, figures in rows.items():
                table.add_row(
                    name, *(number(figures.get(figure, float("nan"))) for figure in SHORT)
                )
            out.print(table)
