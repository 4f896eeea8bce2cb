"""Commands on the generations of a data root: rollback."""

from typing import Annotated

import typer

from corkboard.cli.options import DEFAULT_DATA_ROOT, AsJson, DataRoot
from corkboard.cli.output import out, print_json, since_us
from service_runtime.errors import NotFound


def rollback(
    artifact: Annotated[str, typer.Argument(metavar="ARTIFACT", help="As status names it.")],
    data_root: DataRoot = DEFAULT_DATA_ROOT,
    as_json: AsJson = False,
) -> None:
    """Go back to the generation of ARTIFACT before the current one.

    Running services take it over by themselves within seconds, without an error.  The generation
    that was left is never chosen again; the next build goes on from the data as it is.

    Examples:
      corkboard rollback ranker

      corkboard rollback graph --data-root /srv/corkboard
    """
    from service_runtime.generations import GenerationStore

    root = data_root / "generations"
    known = sorted(path.name for path in root.glob("*") if path.is_dir())
    if artifact not in known:
        hint = f"there are {', '.join(known)}" if known else "nothing has been built here"
        raise NotFound(f"there is no artifact {artifact!r} in {root}", hint=hint)
    generation = GenerationStore(root).roll_back(artifact)
    if as_json:
        print_json({"artifact": artifact, "generation": generation.id})
        return
    built = since_us(generation.manifest.creation_time_us)
    out.print(f"{artifact} is {generation.id} again, built {built}", markup=False)
