"""`corkboard demo`: from nothing to explained recommendations on real data, in one command."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corkboard.cli.build import build_all, print_results
from corkboard.cli.data import import_showing, print_import
from corkboard.cli.options import ArchiveFolder, CacheFolder, ExitCode, cache_folder
from corkboard.cli.output import notes, out
from corkboard.pipeline import Outcome

if TYPE_CHECKING:
    from datasets.dataset import DataSet

MARKER = ".made-by-corkboard-demo"
DEFAULT_FOLDER = Path("corkboard-data") / "demo"


class DataSetName(StrEnum):
    """The worlds that the demo can show."""

    MOVIELENS = "movielens"
    OPENMOJI = "openmoji"
    TINY = "tiny"


def demo(
    folder: Annotated[
        Path,
        typer.Option("--data-root", help="Where the demo lives; its own folder.", file_okay=False),
    ] = DEFAULT_FOLDER,
    cache: CacheFolder = None,
    archive: ArchiveFolder = None,
    dataset: Annotated[
        DataSetName,
        typer.Option(
            "--dataset",
            help="Films people rated, emoji with pictures (scripted visitors), or a tiny world.",
        ),
    ] = DataSetName.MOVIELENS,
    is_tiny: Annotated[
        bool,
        typer.Option("--tiny", help="As --dataset tiny: hand-made, no network needed."),
    ] = False,
    train: Annotated[
        bool,
        typer.Option("--train/--no-train", help="Whether the ranker is trained by replay."),
    ] = True,
    is_fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Build anew even if today's demo is already built."),
    ] = False,
) -> None:
    """See it all at once: real people and films, all jobs, three services, explained answers.

    Fetches MovieLens 100K (2 MB, once; see datasets/README.md for its terms), imports it, runs all
    jobs, trains the ranker, starts the services on free ports, and shows one person's interests,
    their home feed with reasons, what goes with one film, and how one action changes the next
    answer.

    Without a network and without a cached copy it says so and shows a small hand-made world.
    A second run on the same day re-uses what the first one built, without what it recorded.

    Examples:
      corkboard demo

      corkboard demo --archive ~/Downloads/ml-100k

      corkboard demo --dataset openmoji
    """
    timings = Timings()
    with timings.step("data"):
        chosen = DataSetName.TINY if is_tiny else dataset
        world = load_world(cache_folder(cache), archive, chosen)
    wanted = {"world": world.name, "day": f"{datetime.now(tz=UTC):%Y-%m-%d}", "is_trained": train}
    if not is_fresh and _made(folder) == wanted:
        out.print(f"{folder} was built today: re-using it (--fresh builds anew)")
        shutil.rmtree(folder / "live", ignore_errors=True)
    else:
        prepare_folder(folder)
        with timings.step("import"):
            print_import(import_showing(world.write(folder / "import"), folder))
        with timings.step("build"):
            results = build_all(folder, as_of=time.time(), with_training=train)
        print_results(results)
        if any(result.outcome is Outcome.FAILED for result in results):
            raise typer.Exit(ExitCode.FAILED)
        (folder / MARKER).write_text(json.dumps(wanted), encoding="utf-8")
    _show(folder, world.name, timings)
    timings.show()


def load_world(cache: Path, archive: Path | None, name: DataSetName) -> "DataSet":
    """The world that was asked for, or the tiny one where MovieLens 100K cannot be had."""
    from datasets import movielens, tiny

    now = datetime.now(tz=UTC)
    if name is DataSetName.TINY:
        return tiny.load(as_of=now)
    if name is DataSetName.OPENMOJI:
        return _load_openmoji(now)
    try:
        world = movielens.load(cache=cache / "movielens", today=now.date(), archive=archive)
    except movielens.MovieLensError as error:
        notes.print(f"[yellow]MovieLens 100K cannot be had:[/yellow] {error}")
        notes.print("[yellow]falling back to a small hand-made world (--tiny)[/yellow]")
        return tiny.load(as_of=now)
    out.print(
        f"MovieLens 100K: {len(world.pins):,} films, {len(world.saves):,} saves and "
        f"{len(world.actions):,} other actions of real people "
        "[dim](terms: research use, no redistribution; F. M. Harper, J. A. Konstan 2015)[/dim]",
    )
    return world


def _load_openmoji(now: datetime) -> "DataSet":
    from datasets import openmoji

    world = openmoji.load(today=now.date())
    scripted = sum(save.user_id.startswith(openmoji.VISITOR_PREFIX) for save in world.saves)
    out.print(
        f"OpenMoji: {len(world.pins):,} pictures on their designers' boards "
        f"[dim]({openmoji.CREDIT})[/dim]\n"
        f"[yellow]Nobody recorded what people keep of them: {openmoji.VISITOR_COUNT} visitors with "
        f"{scripted:,} saves are scripted[/yellow]",
    )
    return world


def prepare_folder(folder: Path) -> None:
    """Make an empty folder that is ours; refuse to empty one that is not.

    Raises:
        typer.Exit: The folder holds something that no demo made.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        notes.print(f"[red]{folder} holds something that the demo did not make; name another[/red]")
        raise typer.Exit(ExitCode.USAGE)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()


def _made(folder: Path) -> dict[str, object]:
    """What a demo that was built to its end left word of; {} if there is none."""
    try:
        made = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return made if isinstance(made, dict) else {}


class Timings:
    """How long each step took, shown as it ends and once more at the end."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step under a headline."""
        out.rule(f"[bold]{name}[/bold]", align="left", style="dim")
        begin = time.monotonic()
        yield
        self._seconds[name] = time.monotonic() - begin
        notes.print(f"[dim]{name}: {self._seconds[name]:.1f} s[/dim]")

    def show(self) -> None:
        """All steps on one line."""
        steps = " · ".join(f"{name} {seconds:.1f} s" for name, seconds in self._seconds.items())
        out.print(f"[dim]{steps} · together {sum(self._seconds.values()):.1f} s[/dim]")


def _show(folder: Path, world_name: str, timings: Timings) -> None:
    """Start the services on free ports and let them answer."""
    from corkboard.cli.story import STORIES, tell
    from corkboard.stack import Stack, StackFailed

    with (folder / "services.log").open("a", encoding="utf-8") as log:
        stack = Stack(data_root=folder, on_line=lambda name, text: print(name, text, file=log))
        try:
            with timings.step("services"):
                stack.start()
                out.print(", ".join(f"{name} on {at}" for name, at in stack.targets.items()))
            with timings.step("answers"), stack.client() as client:
                tell(client, world_name)
        except StackFailed as error:
            notes.print(str(error), style="red", markup=False)
            raise typer.Exit(ExitCode.FAILED) from error
        finally:
            stack.stop()
    story = STORIES[world_name]
    out.print(
        f"\nWhere to go next: [bold]corkboard up --data-root {folder}[/bold] serves this world; "
        f"then, in another terminal:\n  corkboard recommend {story.user_id}\n"
        f"  corkboard related {story.query_pin_id} --user {story.user_id}\n"
        f"  corkboard record {story.user_id} {story.query_pin_id}\n"
        "Your own data: corkboard import --help, and docs/guide.md",
    )
