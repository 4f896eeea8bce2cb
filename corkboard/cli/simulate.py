"""`corkboard simulate`: days of made-up traffic, for trying things out without any."""

import time
from pathlib import Path
from typing import Annotated

import typer

from corkboard.cli.build import StepDisplay
from corkboard.cli.options import AsJson
from corkboard.cli.output import notes, out, print_json
from corkboard.simulate import SIMULATED

ACTS = ("save", "click", "long_click", "hide")


def simulate(
    data_root: Annotated[
        Path, typer.Argument(help="A new folder; it becomes a data root.", file_okay=False)
    ],
    users: Annotated[int, typer.Option(min=10, max=100_000, help="Made-up people.")] = 200,
    pins: Annotated[int, typer.Option(min=100, max=1_000_000, help="Made-up pins.")] = 2_000,
    topics: Annotated[int, typer.Option(min=2, max=1_000, help="Topics to have tastes in.")] = 12,
    days: Annotated[int, typer.Option(min=1, max=60, help="Days of traffic.")] = 4,
    random_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of answers in random order.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Of all chance.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Simulate people with planted tastes who use the three real services for some days.

    They look at the places of a list with falling chance, save, click and hide by taste, and
    sometimes for no reason.  What they would have liked is known, so models, estimates and rules
    can be checked against it.  What comes out says nothing about real people.

    Examples:
      corkboard simulate made-up --days 4

      corkboard evaluate ranking --data-root made-up --report order.html
    """
    from corkboard.simulate.traffic import Plan
    from corkboard.simulate.traffic import simulate as run
    from corkboard.simulate.world import Sizes

    plan = Plan(
        sizes=Sizes(pins=pins, users=users, topics=topics),
        days=days,
        end=time.time(),
        seed=seed,
        random_share=random_share,
    )
    notes.print(SIMULATED, style="bold", markup=False)
    with StepDisplay() as display:
        _, reports = run(
            data_root,
            plan,
            watcher=display,
            say=lambda text: notes.print(text, style="dim", markup=False),
        )
    if as_json:
        print_json({"warning": SIMULATED, "days": reports})
        return
    from corkboard.cli.tables import make_table
    from corkboard.evaluation.page import number

    table = make_table(
        "Simulated days",
        "day",
        "#lists",
        "#pins",
        *(f"#{act}" for act in ACTS),
        "#worth",
        "#at random",
        caption=f"worth: saves that a home feed is worth on average, known. {SIMULATED}",
    )
    for report in reports:
        table.add_row(
            report.day,
            f"{report.lists:,}",
            f"{report.shown:,}",
            *(f"{report.acts.get(act, 0):,}" for act in ACTS),
            number(report.expected, 3),
            number(report.expected_random, 3),
        )
    out.print(table)
