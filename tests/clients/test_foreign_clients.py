"""docs/clients-in-other-languages.md as it stands, against three real services."""

import os
import shutil

import pytest

from tests.clients import tools
from tests.docs.pages import ROOT, blocks
from tests.docs.session import Ran, assert_page_is_true, run, why_not
from tests.integration.world import AS_OF, built_root

PAGE = ROOT / "docs" / "clients-in-other-languages.md"
TOOLS = {"buf": tools.buf, "grpcurl": tools.grpcurl, "node": tools.node_modules}
MISSING = {
    "buf": "buf is not installed: make setup",
    "grpcurl": "grpcurl is not here and cannot be fetched",
    "node": "Node.js with @grpc/grpc-js is not here and cannot be fetched",
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The page, run once with the tools that there are."""
    if why_not():
        pytest.skip(why_not())
    here = tmp_path_factory.mktemp("clients") / "here"
    shutil.copytree(built_root(), here / "corkboard-data")
    (here / "protos").symlink_to(ROOT / "protos")
    found = {name: folder for name, find in TOOLS.items() if (folder := find())}
    if "node" in found:
        (here / "node_modules").symlink_to(found["node"])
    path = [str(folder) for name, folder in found.items() if name != "node"]
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


@pytest.mark.parametrize("tool", TOOLS)
def test_the_page_was_run_with(tool: str, ran: Ran) -> None:
    """Each tool has its part of the page, and none was left out unnoticed."""
    asked = [block for block in blocks(PAGE) if block.value("needs") == tool]
    assert asked
    if not TOOLS[tool]():
        pytest.skip(MISSING[tool])

    assert all(block in ran.output for block in asked)


def test_every_need_of_the_page_is_known() -> None:
    """A block with a misspelt need would never be run."""
    needs = {block.value("needs") for block in blocks(PAGE)} - {""}

    assert needs == set(TOOLS)
