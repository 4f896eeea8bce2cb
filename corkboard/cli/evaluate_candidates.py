"""`corkboard evaluate candidates`: what each source finds of what people did afterwards."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from corkboard.cli.build import StepDisplay
from corkboard.cli.options import DEFAULT_DATA_ROOT, AsJson, DataRoot
from corkboard.cli.output import notes, out, print_json
from corkboard.cli.records import parse_moment
from corkboard.evaluation.choices import SplitKind, Start
from service_runtime.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corkboard.evaluation.baselines import Baseline
    from corkboard.evaluation.candidates import CandidateReport
    from corkboard.evaluation.judging import ListReport

NO_BASELINE = "none"


def candidates(
    data_root: DataRoot = DEFAULT_DATA_ROOT,
    split: Annotated[
        SplitKind, typer.Option(help="by time, or each user's last pin; auto looks at the data.")
    ] = SplitKind.AUTO,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="What happened from here on is to be predicted.")
    ] = "",
    test_share: Annotated[
        float, typer.Option(min=0.001, max=0.9, help="Share of the pairs after the split.")
    ] = 0.1,
    horizon_days: Annotated[
        float,
        typer.Option(
            "--horizon", metavar="DAYS", min=0.001, help="Days after it", show_default="all"
        ),
    ] = math.inf,
    user_count: Annotated[
        int, typer.Option("--users", min=1, max=1_000_000, help="People to ask, by chance.")
    ] = 1_000,
    start: Annotated[
        Start, typer.Option(help="Ask with sampled interests as ranking does, or all history.")
    ] = Start.INTERESTS,
    sources: Annotated[
        list[str] | None, typer.Option("--source", help="Only this one; may be repeated.")
    ] = None,
    chosen: Annotated[
        list[str] | None,
        typer.Option("--baseline", help=f"Only this one, or {NO_BASELINE}; may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all chance.")] = 0,
    report: Annotated[
        Path | None, typer.Option(help="Where the HTML page goes.", dir_okay=False)
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Keep the data root that was built as of the split.", file_okay=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure every candidate source on imported data, as of a day in the past.

    Everything is built anew from what happened before the split, in a folder of its own; the real
    services are asked; what they propose out of the full catalogue is compared with what people
    did afterwards, and with popularity, ItemKNN, RP3beta, EASE and ALS on the same rows.  A run in
    which anything of the future could be learned from fails.  docs/evaluate.md explains the
    figures.

    Examples:
      corkboard evaluate candidates --report sources.html

      corkboard evaluate candidates --since 2026-03-01 --users 500

      corkboard evaluate candidates --split last --source pixie --baseline ItemKNN
    """
    from corkboard.evaluation.candidates import Plan, evaluate

    moment = parse_moment(since, option="--since")
    plan = Plan(
        kind=split,
        since=moment.timestamp() if moment else None,
        test_share=test_share,
        horizon_days=horizon_days,
        user_count_max=user_count,
        start=start,
        seed=seed,
        baselines=_baselines(chosen),
        sources=tuple(sources or ()),
        keep=keep,
    )
    with StepDisplay() as display:
        found = evaluate(
            data_root, plan, watcher=display, say=lambda text: notes.print(text, style="dim")
        )
    if report is not None:
        from corkboard.evaluation.candidate_page import write_page

        write_page(found, report)
        notes.print(f"report: {report}", markup=False)
    if as_json:
        print_json(found)
    else:
        print_report(found)


def print_report(found: "CandidateReport") -> None:
    """The tables of a report."""
    from corkboard.cli.tables import make_table
    from corkboard.evaluation.judging import PARTS

    facts = make_table("", "measured", "")
    for name, value in found.facts.items():
        facts.add_row(name, value)
    out.print(facts)
    columns = ("#recall@10", "#@100", "#@400", "#hit rate@10", "#coverage@100", "#novelty@100")
    caption = (
        "recall and hit rate on the full catalogue; coverage: share of it shown to anybody; "
        "novelty in bits; alone: share of all that was found that only this source found"
    )
    table = make_table("Sources", "", *columns, "#alone", "#p50 ms", "#p99 ms", caption=caption)
    for each in found.lists:
        table.add_row(
            Text(each.name, style="dim" if each.origin else "bold"),
            *(_share(each.recall[depth].value) for depth in (10, 100, 400)),
            _share(each.hit_rate[10]),
            _share(each.coverage[100]),
            _number(each.novelty[100]),
            _share(each.alone),
            _number(each.latency_ms["p50"]),
            _number(each.latency_ms["p99"]),
            end_section=each.name
            in {found.sources[-1].name if found.sources else "", found.weighed.name},
        )
    out.print(table)
    parts = make_table("Recall@100 by part", "", *(f"#{part}" for part in PARTS))
    for each in found.lists:
        parts.add_row(each.name, *(_share(each.parts[part][100]) for part in PARTS))
    out.print(parts)
    union: ListReport = found.union
    words = f"all sources together propose {union.list_length:,.0f} pins to each, {union.found:.1%}"
    out.print(f"{words} of what people went on to do among them · {found.seconds:,.0f} s")
    for warning in found.warnings:
        notes.print(warning, style="yellow", markup=False)


def _baselines(chosen: "list[str] | None") -> "Sequence[Baseline]":
    """The named baselines; all without names, none for the one word that says so."""
    from corkboard.evaluation.baselines import BASELINES

    if not chosen:
        return BASELINES
    known = {baseline.name.casefold(): baseline for baseline in BASELINES}
    unknown = [name for name in chosen if name.casefold() not in {*known, NO_BASELINE}]
    if unknown:
        raise InvalidRequest(
            f"there is no baseline {unknown[0]!r}",
            hint=f"there are {', '.join(baseline.name for baseline in BASELINES)}, {NO_BASELINE}",
        )
    return [known[name.casefold()] for name in chosen if name.casefold() != NO_BASELINE]


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"
