"""The command line `corkboard`: from a folder of data to explained recommendations."""

import inspect
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from corkboard.cli import (
    ask,
    audit,
    backup,
    build,
    catalogue,
    data,
    demo,
    doctor,
    evaluate,
    people,
    reasons,
    serve,
    simulate,
    store,
)
from corkboard.cli.options import (
    EXIT_CODES,
    CaFile,
    CertificateFile,
    ExitCode,
    KeyFile,
    Targets,
    TokenFile,
)
from corkboard.cli.output import notes
from service_runtime.errors import (
    CorkboardError,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    ProcessFailed,
    Unavailable,
)

app = typer.Typer(
    name="corkboard",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def corkboard(
    context: typer.Context,
    profile: Annotated[
        str,
        typer.Option(
            "--profile-target",
            envvar="CORKBOARD_CLIENT_PROFILE",
            help="Where profile_service is.",
        ),
    ] = "127.0.0.1:50051",
    candidate: Annotated[
        str,
        typer.Option(
            "--candidate-target",
            envvar="CORKBOARD_CLIENT_CANDIDATE",
            help="Where candidate_service is.",
        ),
    ] = "127.0.0.1:50052",
    ranking: Annotated[
        str,
        typer.Option(
            "--ranking-target",
            envvar="CORKBOARD_CLIENT_RANKING",
            help="Where ranking_service is.",
        ),
    ] = "127.0.0.1:50053",
    deadline_s: Annotated[
        float,
        typer.Option("--deadline", min=0.001, help="Seconds that a call may take."),
    ] = 10.0,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    token_file: TokenFile = None,
) -> None:
    """Self-hosted recommendations in the Pinterest style.

    From your data to an answer:

      corkboard validate FOLDER     is every row as it should be?

      corkboard import FOLDER       Parquet, CSV or JSON lines into the data root

      corkboard build               learn from it

      corkboard up                  serve it

      corkboard recommend USER      ask

    Or see it all at once, on real data: corkboard demo
    """
    context.obj = Targets(
        profile,
        candidate,
        ranking,
        deadline_s,
        ca_file=ca_file,
        certificate_file=certificate_file,
        key_file=key_file,
        token_file=token_file,
    )


def help_text(command: Callable[..., None]) -> str:
    """A command's docstring: each paragraph on one line, indented examples as they are."""
    lines: list[str] = []
    for line in (inspect.getdoc(command) or "").splitlines():
        is_prose = bool(line) and not line.startswith(" ")
        if is_prose and lines and lines[-1] and not lines[-1].startswith(" "):
            lines[-1] += f" {line}"
        elif line.startswith(" ") and lines and lines[-1]:
            lines += ["", line]
        else:
            lines.append(line)
    return "\n".join(lines)


for _command in (
    demo.demo,
    data.validate,
    data.import_,
    build.build,
    serve.up,
    serve.status,
    doctor.doctor,
    audit.audit,
    ask.recommend,
    ask.related,
    ask.profile,
    ask.record,
    ask.declare,
    ask.rank,
    reasons.explain,
    catalogue.search,
    catalogue.boards,
    catalogue.sources,
    reasons.impressions,
    reasons.experiment,
    people.adjust,
    people.describe,
    people.merge,
    ask.erase,
    people.erasure,
    data.export,
    store.promote,
    store.rollback,
    backup.backup,
    backup.restore,
    simulate.simulate,
):
    app.command(_command.__name__.rstrip("_"), help=help_text(_command))(_command)

for _name, _group in (
    ("pins", catalogue.pins),
    ("saves", catalogue.saves),
    ("memboost", reasons.memboost),
    ("evaluate", evaluate.app),
):
    for _registered in _group.registered_commands:
        _registered.help = help_text(_registered.callback)  # type: ignore[arg-type]
    app.add_typer(_group, name=_name)


def main() -> None:
    """Run the command line; errors become one sentence, a hint and an exit code."""
    try:
        app(prog_name="corkboard")
    except Unavailable as error:
        _say(error.message, error.hint or "does it run?  corkboard up starts it, status shows it")
        sys.exit(exit_code_of(error))
    except CorkboardError as error:
        _say(error.message, error.hint)
        sys.exit(exit_code_of(error))
    except ValueError as error:
        _say(str(error), "")
        sys.exit(ExitCode.USAGE)


def exit_code_of(error: CorkboardError) -> int:
    """The exit code that stands for an error's family."""
    if isinstance(error, InvalidRequest):
        return ExitCode.USAGE
    if isinstance(error, NotFound):
        return ExitCode.NOT_FOUND
    if isinstance(error, Unavailable | DeadlineExceeded):
        return ExitCode.UNREACHABLE
    return error.EXIT_CODE if isinstance(error, ProcessFailed) else ExitCode.FAILED


def _say(message: str, hint: str) -> None:
    notes.print(message, style="red", markup=False)
    if hint:
        notes.print(f"hint: {hint}", style="dim", markup=False)
