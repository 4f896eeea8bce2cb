"""docs/clients-in-other-languages.md as it stands, against three real services."""

import os
import shutil

import pytest

from tests.clients.tools import INSTALLED, NAMES, find
from tests.docs.pages import ROOT, blocks
from tests.docs.session import Ran, assert_page_is_true, can_run, run, why_not
from tests.integration.world import AS_OF, built_root

PAGE = ROOT / "docs" / "clients-in-other-languages.md"
PARTS = sorted({block.value("needs") for block in blocks(PAGE)} - {""})
"""What parts of the page need, as it stands beside their fences."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The page, run once with the tools that there are, from a folder with the tree's files."""
    if why_not():
        pytest.skip(why_not())
    here = tmp_path_factory.mktemp("clients") / "here"
    shutil.copytree(built_root(), here / "corkboard-data")
    for folder in ("protos", "k8s"):
        (here / folder).symlink_to(ROOT / folder)
    found = {name: find(name).folder for name in NAMES if not find(name).missing}
    if "node" in found:
        (here / "node_modules").symlink_to(found["node"])
    path = [str(folder) for name, folder in found.items() if name not in {"node", "curl"}]
    return run(
        blocks(PAGE),
        here,
        environment={
            "CORKBOARD_FIXED_TIME": str(AS_OF.timestamp()),
            "PATH": os.pathsep.join([*path, os.environ["PATH"]]),
        },
        tools=found,
    )


def test_what_could_be_run_shows_what_the_page_says(ran: Ran) -> None:
    """With buf at least, which is always there."""
    assert_page_is_true(blocks(PAGE), ran)


@pytest.mark.parametrize("tool", sorted(INSTALLED))
def test_what_we_install_is_there(tool: str) -> None:
    """No run is green because its own environment lacks something."""
    assert find(tool).missing == ""


@pytest.mark.parametrize("needs", PARTS)
def test_the_page_was_run_with(needs: str, ran: Ran) -> None:
    """Each part of the page was run, or the summary says which was not, and why."""
    asked = [block for block in blocks(PAGE) if block.value("needs") == needs]
    missing = [find(name).missing for name in needs.split(",") if find(name).missing]
    if missing:
        pytest.skip(f"{len(asked)} commands of {PAGE.name} were not run; {'; '.join(missing)}")

    assert all(can_run(block, needs.split(",")) for block in asked)
    assert all(block in ran.output for block in asked)


def test_every_need_of_the_page_is_known() -> None:
    """A block with a misspelt need would never be run."""
    assert {name for part in PARTS for name in part.split(",")} == set(NAMES)
