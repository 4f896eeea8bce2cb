"""Commands that ask ranking_service for its reasons: explain, memboost, impressions, experiment."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from corkboard.cli.options import AsJson, ExitCode, Seed, connected
from corkboard.cli.output import out, print_json
from corkboard.cli.records import parse_moment

if TYPE_CHECKING:
    from corkboard.answers import MemboostScore, PinExplanation

FEATURES_SHOWN = 12
HOME = "home"

memboost = typer.Typer(
    help="What is remembered of a pin under a query pin; show it, or forget it.",
    no_args_is_help=True,
)
QueryPin = Annotated[
    str, typer.Argument(metavar="QUERY_PIN", help=f"The pin it was shown under; {HOME} = feed.")
]
ResultPin = Annotated[str, typer.Argument(metavar="PIN", help="The pin that was shown.")]


def explain(
    context: typer.Context,
    user_id: Annotated[str, typer.Argument(metavar="USER", help='Id of a user; "" for nobody.')],
    pin_id: Annotated[str, typer.Argument(metavar="PIN", help="The pin in question.")],
    query_pin_id: Annotated[str, typer.Option("--with", help="Related pins of this one.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500)] = 25,
    seed: Seed = 1,
    scenario: Annotated[str, typer.Option(help="The place in the product.")] = "",
    as_json: AsJson = False,
) -> None:
    """Why PIN is, or is not, in what USER would be shown.

    Sources with their ranks, the features that moved the score, what is remembered of it, and the
    rules that moved it; or the step at which it fell out.

    Examples:
      corkboard explain u1 m50

      corkboard explain u1 m172 --with m50
    """
    from corkboard.questions import Rules

    with connected(context) as client:
        found = client.explain(
            pin_id,
            user_id=user_id,
            query_pin_id=query_pin_id,
            limit=limit,
            seed=seed,
            rules=Rules(scenario=scenario),
        )
    if as_json:
        print_json(found)
    else:
        _print_explanation(found)


@memboost.command("show")
def show_memboost(
    context: typer.Context,
    query_pin_id: QueryPin,
    result_pin_id: ResultPin,
    as_json: AsJson = False,
) -> None:
    """How often PIN was shown under QUERY_PIN, where, and what people did.

    Examples:
      corkboard memboost show m50 m172

      corkboard memboost show home m172
    """
    from corkboard.cli.tables import make_table

    with connected(context) as client:
        found = client.memboost("" if query_pin_id == HOME else query_pin_id, result_pin_id)
    if as_json:
        print_json(found)
        return
    out.print(_memboost_line(found.score))
    columns = ("#position", "#shown", "actions", "#expected")
    table = make_table("", "platform", *columns)
    for counter in found.counters:
        actions = ", ".join(f"{count:,} {kind}" for kind, count in counter.action_counts.items())
        table.add_row(
            counter.platform,
            str(counter.position + 1),
            f"{counter.impression_count:,}",
            actions,
            f"{counter.expected_action_count:.2f}",
        )
    if found.counters:
        out.print(table)


@memboost.command("reset")
def reset_memboost(
    context: typer.Context,
    query_pin_id: Annotated[str, typer.Option("--under", help="Query pin; default: any.")] = "",
    result_pin_id: Annotated[str, typer.Option("--pin", help="Result pin; default: any.")] = "",
    begin: Annotated[str, typer.Option("--from", help="Impressions from this time on.")] = "",
    end: Annotated[str, typer.Option("--until", help="Impressions before this time.")] = "",
    reason: Annotated[str, typer.Option(help="For the audit log.")] = "",
    is_sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget what is remembered, for example of a day when a broken client clicked by itself.

    Examples:
      corkboard memboost reset --pin m172 --reason "title was wrong" --yes

      corkboard memboost reset --from 2026-03-01 --until 2026-03-02
    """
    if not any((query_pin_id, result_pin_id, begin, end)):
        raise typer.BadParameter("say what: --under, --pin, --from or --until")
    if not is_sure:
        typer.confirm("Forget this engagement for good?", abort=True, err=True)
    with connected(context) as client:
        done = client.reset_memboost(
            query_pin_id=query_pin_id,
            result_pin_id=result_pin_id,
            begin_time=parse_moment(begin, option="--from"),
            end_time=parse_moment(end, option="--until"),
            reason=reason,
        )
    if as_json:
        print_json(done)
    else:
        out.print(f"{done.pair_count:,} pairs changed; reset {done.reset_id}", markup=False)


def impressions(
    context: typer.Context,
    list_id: Annotated[str, typer.Argument(metavar="LIST", help="Id of the answer.")],
    pin_ids: Annotated[list[str], typer.Argument(metavar="PIN…", help="Shown, in their order.")],
    user_id: Annotated[str, typer.Option("--user", help="To whom.")] = "",
    query_pin_id: Annotated[str, typer.Option("--under", help="Default: the home feed.")] = "",
    platform: Annotated[str, typer.Option(help="The kind of client, such as ios.")] = "",
    first: Annotated[int, typer.Option("--first", min=1, help="Place of the first PIN.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Record what a client really showed of an answer.

    Example:
      corkboard impressions 0193f2 m50 m172 m181 --user u1 --platform ios
    """
    from corkboard.questions import ShownPin

    shown = [ShownPin(pin_id, first - 1 + at) for at, pin_id in enumerate(pin_ids)]
    with connected(context) as client:
        count = client.record_impressions(
            list_id, shown, user_id=user_id, query_pin_id=query_pin_id, platform=platform
        )
    if as_json:
        print_json({"recorded_count": count})
    else:
        known = f"; {len(shown) - count} were recorded before" if count < len(shown) else ""
        out.print(f"recorded {count} of {len(shown)}{known}")


def experiment(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    as_json: AsJson = False,
) -> None:
    """What the arms of an experiment earned, with 95 % intervals.

    Example:
      corkboard experiment more_walks
    """
    from corkboard.cli.tables import make_table

    with connected(context) as client:
        found = client.experiment(name)
    if as_json:
        print_json(found)
        return
    columns = ("#users", "#shown", "#actions per 1,000 shown", "#share of users who act")
    table = make_table(found.experiment, "arm", "source", *columns)
    for result in found.results:
        volume, share = result.volume, result.propensity
        table.add_row(
            result.arm,
            result.source or "all",
            f"{result.user_count:,}",
            f"{result.impression_count:,}",
            f"{volume.value:.1f} ({volume.low:.1f} to {volume.high:.1f})",
            f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})",
        )
    out.print(table)
    for arm, reason in found.stopped_arms.items():
        out.print(f"stopped: {arm}: {reason}", style="yellow", markup=False)


def _memboost_line(score: "MemboostScore") -> str:
    return (
        f"memboost {score.score:+.3f} (adds {score.boost:+.3f}): {score.action_count:.1f} actions "
        f"where {score.expected_action_count:.1f} were to be expected of "
        f"{score.impression_count:,} impressions"
    )


def _print_explanation(found: "PinExplanation") -> None:
    """The whole of it in sections; exit code 3 if the catalogue does not know the pin."""
    from corkboard.cli.tables import make_table

    pin = found.pin
    where = f"place {pin.position + 1}" if not found.absence else found.absence.replace("_", " ")
    out.print(Text(pin.name, "bold").append(f"  {where}", "green" if not found.absence else "red"))
    if found.detail:
        out.print(found.detail, markup=False)
    for source in pin.sources:
        because = f" from {source.query_pin_id}" if source.query_pin_id else ""
        line = f"  {source.source}: rank {source.rank + 1}, score {source.score:.4g}{because}"
        out.print(line, markup=False)
    if (explained := pin.explanation) is not None:
        scores = f"coarse score {explained.coarse_score:.4f} · model {explained.model_score:.4f}"
        out.print(f"{scores} · final {pin.score:.4f}", markup=False)
        table = make_table("", "feature", "#value", "#adds to the logit")
        for part in explained.contributions[:FEATURES_SHOWN]:
            table.add_row(part.feature, f"{part.value:.4g}", f"{part.contribution:+.4f}")
        if explained.contributions:
            out.print(table)
        if explained.memboost is not None and explained.memboost.impression_count:
            out.print(_memboost_line(explained.memboost), markup=False)
        for rule in explained.rules:
            moved = f"{rule.position_before + 1} → {rule.position_after + 1}"
            out.print(f"rule {rule.rule}: place {moved}", markup=False)
    for missing in found.degradations:
        out.print(f"degraded: {missing.part}: {missing.reason}", style="yellow", markup=False)
    facts = f"model {found.model} · {found.candidate_count:,} candidates"
    out.print(facts, style="dim", markup=False)
    if found.absence == "unknown_pin":
        raise typer.Exit(ExitCode.NOT_FOUND)
