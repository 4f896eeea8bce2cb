"""Nothing that a page points at is missing: pages, their headings, files of the tree."""

import re
import subprocess
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs.pages import ROOT, blocks, pages, prose

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_IMAGE = re.compile(r"!\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*/?")
_OUTSIDE = ("https://", "http://", "mailto:")
_LABELS = {"corkboard/client", "corkboard/writer"}
"""Of pods: they only look like paths."""


@cache
def tracked() -> frozenset[str]:
    """Files of the tree and the folders they are in, as a fresh clone has them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("no git here: what is in the tree cannot be told from what was made in it")
    files = {Path(name) for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    assert len(files) > 300
    folders = {folder for file in files for folder in file.parents}
    return frozenset(str(path) for path in files | folders)


@cache
def anchors(page: Path) -> frozenset[str]:
    """What `#…` may name on a page: its headings as the usual renderers write them."""
    found = set()
    for line in prose(page).splitlines():
        if line.startswith("#"):
            words = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
            found.add(words.replace(" ", "-"))
    return frozenset(found)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_of_a_page_is_dead(page: Path) -> None:
    """Relative ones lead to a file that is in the tree, and to a heading that it has."""
    dead = []
    for match in [*_LINK.finditer(prose(page)), *_IMAGE.finditer(prose(page))]:
        target = unquote(match["target"])
        if target.startswith(_OUTSIDE):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        is_there = file == page or str(file.relative_to(ROOT)) in tracked()
        if not is_there or (anchor and anchor not in anchors(file)):
            dead.append(target)

    assert dead == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_that_a_page_names_exist(page: Path) -> None:
    """`k8s/base/jobs.yaml` in code marks is a promise: from the root, or from the page's folder."""
    roots = {name for name in tracked() if "/" not in name and (ROOT / name).is_dir()} - {"."}
    missing = []
    for code in _CODE.findall(prose(page)):
        first = code.split("/")[0]
        if "/" not in code or not _PATH.fullmatch(code) or first not in roots or code in _LABELS:
            continue
        name = code.rstrip("/")
        beside = str((page.parent / name).resolve().relative_to(ROOT))
        if name not in tracked() and beside not in tracked() and f"{name}.py" not in tracked():
            missing.append(code)

    assert missing == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_that_a_command_names_exist(page: Path) -> None:
    """`k8s/checks/run` in a block of commands is one, too."""
    roots = {name for name in tracked() if "/" not in name and (ROOT / name).is_dir()} - {"."}
    missing = [
        word
        for block in blocks(page)
        if block.language in {"sh", ""} and block.words <= {"run"}
        for word in re.split(r"[\s'\"=|;&()]+", block.text)
        if word.split("/")[0] in roots
        and _PATH.fullmatch(word)
        and "/" in word
        and word.rstrip("/") not in tracked()
    ]

    assert missing == []


def test_every_guide_is_in_the_index() -> None:
    """docs/README.md leads to each page of docs/."""
    index = ROOT / "docs" / "README.md"
    targets = {match["target"].partition("#")[0] for match in _LINK.finditer(prose(index))}
    guides = {str(path.relative_to(ROOT / "docs")) for path in pages() if "docs" in path.parts}

    assert len(guides) > 10
    assert guides - {"README.md"} - targets == set()
