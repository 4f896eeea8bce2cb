"""`corkboard doctor`: what is wrong here, and what to do about it."""

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.text import Text

from corkboard.cli.options import DEFAULT_DATA_ROOT, AsJson, DataRoot, ExitCode, Targets
from corkboard.cli.output import out, print_json
from corkboard.doctor.finding import Finding, Level

MARKS = {Level.OK: ("✓", "green"), Level.WARNING: ("!", "yellow"), Level.PROBLEM: ("✗", "red")}


def doctor(
    context: typer.Context,
    data_root: DataRoot = DEFAULT_DATA_ROOT,
    is_offline: Annotated[
        bool, typer.Option("--offline", help="Look at machine, settings and data only.")
    ] = False,
    is_quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show only what is not as it should be.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look at everything that is known to go wrong, and say what to do about it.

    The machine (disk, memory, limits, versions), the settings as the services would read them here
    (certificates too), the data root (every generation to the last byte, the live log, the object
    store that generations_url names), and the running services (health, clocks, their own figures).
    Changes nothing.  The exit code is 1 if there is a problem; warnings alone leave it 0.

    Examples:
      corkboard doctor

      corkboard doctor --json | jq '.findings[] | select(.level != "ok")'
    """
    from corkboard.doctor.report import look

    targets: Targets = context.obj
    findings = look(data_root, None if is_offline else addresses(targets), targets.tls())
    count = print_as_json(findings) if as_json else print_as_text(findings, is_quiet=is_quiet)
    if count[Level.PROBLEM]:
        raise typer.Exit(ExitCode.FAILED)


def addresses(targets: Targets) -> dict[str, str]:
    """`host:port` of each service."""
    return {
        "profile_service": targets.profile,
        "candidate_service": targets.candidate,
        "ranking_service": targets.ranking,
    }


def print_as_json(findings: Iterator[Finding]) -> dict[Level, int]:
    """All findings as one document; how many there are of each level."""
    found = list(findings)
    count = {level: sum(one.level is level for one in found) for level in Level}
    print_json({"findings": found, "counts": {level.value: n for level, n in count.items()}})
    return count


def print_as_text(findings: Iterator[Finding], *, is_quiet: bool) -> dict[Level, int]:
    """Each finding as it is found, the remedy below it; how many there are of each level."""
    count, area = dict.fromkeys(Level, 0), ""
    for finding in findings:
        count[finding.level] += 1
        if is_quiet and finding.level is Level.OK:
            continue
        if finding.area != area:
            area = finding.area
            out.print(f"[bold]{area}[/bold]")
        mark, style = MARKS[finding.level]
        line = Text(f"  {mark} ", style=style) + Text(f"{finding.check}: ", style="default")
        told = Text(finding.told, style="dim" if finding.level is Level.OK else "")
        out.print(line + told, soft_wrap=True)
        if finding.remedy:
            out.print(Text(f"      → {finding.remedy}", style=style), soft_wrap=True)
    problems, warnings = count[Level.PROBLEM], count[Level.WARNING]
    style = "red" if problems else "yellow" if warnings else "green"
    out.print(Text(f"{problems} problems, {warnings} warnings, {count[Level.OK]} good", style))
    return count
