"""The commands of the guides, run as a reader types them, show what the guides say they show."""

import shutil
from pathlib import Path

import pytest

from tests.docs.pages import blocks, pages, world_of
from tests.docs.session import assert_page_is_true, environment_of, run, why_not
from tests.integration.world import AS_OF, built_root

WORLDS = {"an empty folder", "the tiny world"}
RUN = [page for page in pages() if world_of(page)[1] == "tests/docs"]


def test_there_are_pages_whose_commands_are_run() -> None:
    """A test over no pages would pass."""
    assert len(RUN) >= 4
    assert {world_of(page)[0] for page in pages()} <= {*WORLDS, ""}, "name one of the worlds"


@pytest.mark.timeout(900)  # a build of every artifact, on a machine that has other work
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_commands_of_a_page_work_and_show_what_it_says(page: Path, tmp_path: Path) -> None:
    """In order, in one terminal, each ending with 0."""
    if why_not():
        pytest.skip(why_not())
    needed = {name for block in blocks(page) for name in block.value("needs").split(",")} - {""}
    path = environment_of({})["PATH"]
    missing = sorted(tool for tool in needed if shutil.which(tool, path=path) is None)
    if missing:
        pytest.skip(f"{page.name} was not run; not on this machine: {', '.join(missing)}")
    (tmp_path / "here").mkdir()
    environment = {}
    if world_of(page)[0] == "the tiny world":
        shutil.copytree(built_root(), tmp_path / "here" / "corkboard-data")
        environment = {"CORKBOARD_FIXED_TIME": str(AS_OF.timestamp())}

    ran = run(blocks(page), tmp_path / "here", environment=environment, tools=needed)

    assert_page_is_true(blocks(page), ran)
