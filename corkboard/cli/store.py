"""Commands on the generations of a data root: promote, rollback."""

from typing import Annotated

import typer

from corkboard.cli.audit import note_done
from corkboard.cli.options import DEFAULT_DATA_ROOT, AsJson, DataRoot
from corkboard.cli.output import out, print_json, since_us
from service_runtime.errors import InvalidRequest, NotFound, ProcessFailed


class NotPromoted(ProcessFailed):
    """The staged model cannot serve; the job's words are the message."""


def promote(data_root: DataRoot = DEFAULT_DATA_ROOT, as_json: AsJson = False) -> None:
    """Let the staged ranking model serve.

    A model is staged by `train_ranker --stage`: it ranks a share of the answers beside the serving
    one, and `corkboard status` shows how far the two are apart.  Running services take it over by
    themselves; `corkboard rollback ranker` goes back.

    Example:
      corkboard status && corkboard promote
    """
    import time

    from corkboard.pipeline import Order, job_arguments, parse_report, run_module

    order = Order(data_root, time.time(), 0)
    code, line, said = run_module("ranking_service.jobs.promote_ranker", job_arguments(order))
    report = parse_report(line)
    if code != 0:
        words = str(report.get("error", "")) or "\n".join(said[-8:]) or f"exit code {code}"
        raise NotPromoted(words, hint=str(report.get("hint", "")))
    if as_json:
        print_json({name: report[name] for name in ("model", "generation", "staged_generation")})
        return
    out.print(f"{report['model']} serves as {report['generation']}", markup=False)


def rollback(
    artifact: Annotated[str, typer.Argument(metavar="ARTIFACT", help="As status names it.")],
    data_root: DataRoot = DEFAULT_DATA_ROOT,
    generations_url: Annotated[
        str,
        typer.Option(envvar="CORKBOARD_GENERATIONS_URL", help="The object store, if there is one."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Go back to the generation of ARTIFACT before the current one.

    Running services take it over by themselves within seconds, without an error.  The generation
    that was left is never chosen again; the next build goes on from the data as it is.

    Examples:
      corkboard rollback ranker

      corkboard rollback graph --data-root /srv/corkboard
    """
    from service_runtime.generations import open_generations

    try:
        store = open_generations(data_root, generations_url)
    except ValueError as error:
        raise InvalidRequest(f"--generations-url {generations_url}: {error}") from error
    found = [path.name for path in store.root.glob("*") if path.is_dir()]
    known = sorted({*found, *(store.remote.store.folders() if store.remote else ())})
    if artifact not in known:
        hint = f"there are {', '.join(known)}" if known else "nothing has been built here"
        raise NotFound(f"there is no artifact {artifact!r} in {store.root}", hint=hint)
    generation = store.roll_back(artifact)
    note_done(data_root, "rollback", artifact=artifact, generation=generation.id)
    if as_json:
        print_json({"artifact": artifact, "generation": generation.id})
        return
    built = since_us(generation.manifest.creation_time_us)
    out.print(f"{artifact} is {generation.id} again, built {built}", markup=False)
