"""The tiny world built by the real jobs, once a test run, and stacks of real servers on it."""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from corkboard.importing import import_folder
from corkboard.pipeline import Order, Outcome, choose_steps, run_steps
from corkboard.stack import SERVICES, Stack
from datasets import tiny

AS_OF = datetime(2026, 1, 31, 12, tzinfo=UTC)
"""Everything of the tiny world lies before it; servers in tests stand still at it."""

QUICK = ("drain_wait_seconds=0", "generation_poll_seconds=0.1")
"""No load balancer to wait for, and swaps are seen at once."""


@cache
def built_root() -> Path:
    """A data root with every artifact but a trained ranker; treat it as read-only."""
    folder = Path(tempfile.mkdtemp(prefix="corkboard-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    root = folder / "root"
    import_folder(tiny.load(as_of=AS_OF).write(folder / "import"), root)
    build(root)
    return root


def build(root: Path, *names: str) -> None:
    """Run some jobs, or all, on a data root; they must succeed."""
    results = run_steps(choose_steps(only=names), Order(root, AS_OF.timestamp()))
    for result in results:
        assert result.outcome in (Outcome.DONE, Outcome.SKIPPED), (result.step.name, result.reason)


def copy_of_root(folder: Path) -> Path:
    """A data root of one's own, to write to and to damage."""
    return Path(shutil.copytree(built_root(), folder / "root"))


def make_stack(
    root: Path,
    *,
    settings: dict[str, list[str]] | None = None,
    on_line: Callable[[str, str], None] | None = None,
) -> Stack:
    """The three services on free ports with their clocks at AS_OF; not started yet."""
    merged = {name: [*QUICK, *(settings or {}).get(name, [])] for name in SERVICES}
    merged["ranking_service"].insert(0, "random_share=0")  # nothing by chance
    return Stack(
        data_root=root,
        settings=merged,
        fixed_time=AS_OF.timestamp(),
        on_line=on_line,
    )
