"""What a guide shows: its fenced blocks, and the words beside a fence that say what becomes of it.

````
```sh run              run as a reader would type it; must end with 0
```sh serve            goes on running (another terminal) until it says "corkboard is up"
```sh stop             a Ctrl-C in that terminal, then as run
```csv file=pins.csv   written to that file
```text shown          the block before printed this; … stands for anything, lines may be left out
```sh run needs=a,b    run where both a and b can be had
````

Blocks without such a word are only read: their commands must exist (test_commands.py).
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+)(?P<info>[^`\n]*)$")
_WORLD = re.compile(
    r"^<!-- commands run on: (?P<world>.+?)(, by (?P<by>tests\S+))? -->$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        page: Path of the page from the root.
        line: Of its opening fence, from 1.
        language: First word beside the fence, or "".
        words: The others, `key=value` as they stand.
        text: What is between the fences, without the fence's indent; ends with a newline.
    """

    page: str
    line: int
    language: str
    words: frozenset[str]
    text: str

    def value(self, key: str) -> str:
        """What stands behind `key=`, or ""."""
        return next((w.partition("=")[2] for w in self.words if w.startswith(f"{key}=")), "")

    @property
    def place(self) -> str:
        """`docs/guide.md:12`."""
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every hand-written page of the tree."""
    found = sorted(
        path
        for path in ROOT.rglob("*.md")
        if not any(
            part.startswith(".") or part in {"corkboard-data", "node_modules", "build"}
            for part in path.relative_to(ROOT).parts
        )
    )
    assert len(found) > 15, "the pages were not found; nothing would be checked"
    return found


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return _blocks(page.read_text(encoding="utf-8"), str(page.relative_to(ROOT)))


@cache
def _blocks(text: str, name: str) -> list[Block]:
    found, opened, lines = [], None, []
    for number, line in enumerate(text.splitlines(), start=1):
        fence = _FENCE.match(line)
        if opened is None and fence:
            opened, lines = (number, fence), []
        elif opened and fence and fence["ticks"] == opened[1]["ticks"] and not fence["info"]:
            language, *words = opened[1]["info"].split() or [""]
            found.append(Block(name, opened[0], language, frozenset(words), "".join(lines)))
            opened = None
        elif opened:
            lines.append(line.removeprefix(opened[1]["indent"]) + "\n")
    assert opened is None, f"{name}:{opened[0]}: this block is never closed"
    return found


def world_of(page: Path) -> tuple[str, str]:
    """What the commands of a page run on, and the folder of the test that runs them.

    As its comment says: `<!-- commands run on: the tiny world -->`, or with `, by tests/clients`
    at the end. ("", "") if they are not run.
    """
    named = _WORLD.search(page.read_text(encoding="utf-8"))
    return (named["world"], named["by"] or "tests/docs") if named else ("", "")


def prose(page: Path) -> str:
    """A page without its blocks."""
    kept, fence = [], ""
    for line in page.read_text(encoding="utf-8").splitlines():
        match = _FENCE.match(line)
        if match and not fence:
            fence = match["ticks"]
        elif match and match["ticks"] == fence:
            fence = ""
        elif not fence:
            kept.append(line)
    return "\n".join(kept)
