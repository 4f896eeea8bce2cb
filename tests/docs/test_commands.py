"""Every command that a page shows exists, with the options that it is given there."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from corkboard.cli import app
from corkboard.steps import STEP_NAMES
from tests.docs.pages import ROOT, blocks, pages, prose

_SHELL = {"sh", "shell", "bash", "console", ""}
_INLINE = re.compile(r"`((?:corkboard|make|python -m) [^`\n]+)`")
_ENDS = set(";|&()<>")
OWN_MODULES = ("corkboard", "profile_service", "candidate_service", "ranking_service", "datasets")
PLACEHOLDERS = {"…", "..."}


def commands_of(page: Path) -> Iterator[list[str]]:
    """Words of every `corkboard`, `make` and `python -m` command that a page shows."""
    text = [block.text for block in blocks(page) if block.language in _SHELL]
    for line in "\n".join(text).replace("\\\n", " ").splitlines():
        yield from _commands(line)
    for line in _INLINE.findall(prose(page)):
        yield from _commands(line)


def _commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # half of a quotation: no command line
        return
    command: list[str] = []
    for word in [*words, ";"]:
        if not set(word) <= _ENDS:
            command.append(word)
            continue
        while command and "=" in command[0]:  # NAME=value in front
            command.pop(0)
        if command and command[0].rpartition("/")[2] in {"corkboard", "make", "python"}:
            yield command
        command = []


@cache
def command_tree() -> Any:
    """Our command line as click sees it."""
    return typer.main.get_command(app)


def fault_of(words: list[str]) -> str:
    """What is wrong with a command; "" if nothing is."""
    name, *rest = [Path(words[0]).name, *words[1:]]
    if name == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        asked = [word for word in rest if "=" not in word and word not in PLACEHOLDERS]
        return "" if set(asked) <= set(targets) else f"no such target: {asked}"
    if name == "python":
        module = rest[1] if rest[:1] == ["-m"] and len(rest) > 1 else ""
        if module.split(".")[0] not in OWN_MODULES:
            return ""
        return "" if importlib.util.find_spec(module) else f"no such module: {module}"
    return _fault_of_ours(rest)


def _fault_of_ours(words: list[str]) -> str:
    command, context = command_tree(), None
    while True:
        context = command.make_context(
            "corkboard", [], parent=context, resilient_parsing=True, ignore_unknown_options=False
        )
        context.resilient_parsing = False  # it would forgive unknown options
        try:
            _, words, _ = command.make_parser(context).parse_args(list(words))
        except Exception as error:  # noqa: BLE001  click's own classes differ between versions
            return str(error)
        if not hasattr(command, "get_command"):
            return ""
        words = [word for word in words if word not in PLACEHOLDERS]
        if not words:
            return ""
        found = command.get_command(context, words[0])
        if found is None:
            return f"no such command: {words[0]}"
        command, words = found, words[1:]


def test_wrong_commands_are_found() -> None:
    """The check itself: unknown commands, options, modules and targets."""
    wrong = [
        "corkboard recommened ana",
        "corkboard recommend ana --limmit 3",
        "corkboard pins upsrt cake",
        "python -m candidate_service.jobs.build_nothing",
        "make nonsense",
    ]
    right = [
        "corkboard recommend ana --limit 3",
        "corkboard --deadline 3 pins upsert cake --title x",
        "python -m candidate_service.jobs.build_graph --help",
        "make setup",
    ]

    for line in wrong:
        assert [fault_of(words) for words in _commands(line)] != [""], line
    for line in right:
        assert [fault_of(words) for words in _commands(line)] == [""], line


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_exist(page: Path) -> None:
    """Whether or not they are run elsewhere."""
    faults = [(words, fault_of(words)) for words in commands_of(page)]

    assert [fault for fault in faults if fault[1]] == []


def test_the_guide_tells_the_steps_of_a_build_in_their_order() -> None:
    """All of them, as `corkboard build` has them."""
    text = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `((?:export|build|learn|train|rebuild)_\w+)` \|", text, re.MULTILINE)

    assert named == [*STEP_NAMES, "train_ranker"]


def test_pages_show_commands() -> None:
    """A test over no commands would pass."""
    assert sum(len(list(commands_of(page))) for page in pages()) > 100
