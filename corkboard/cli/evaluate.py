"""`corkboard evaluate`: how good are the sources, and how good is the order, on one's own data."""

import typer

from corkboard.cli.evaluate_candidates import candidates
from corkboard.cli.evaluate_ranking import ranking

app = typer.Typer(
    help="Measure on your own data, as of a day in the past: sources and order.",
    no_args_is_help=True,
)

app.command("candidates")(candidates)
app.command("ranking")(ranking)
