"""The licence of every package that we install, held to the list of those that we accept.

    python -m tests.k8s.licences

The names come from the locks, the licences from what is installed; a package of another platform
is not installed and so not looked at.
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from license_expression import AND, OR, ExpressionError, get_spdx_licensing

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
IMAGE_LOCK = ROOT / "k8s" / "image" / "requirements.lock"
ACCEPTED = Path(__file__).with_name("licences.toml")
_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", re.MULTILINE)


@dataclass(frozen=True)
class Package:
    """A package and its licence.

    Attributes:
        name: As the lock spells it.
        licence: SPDX expression; "" if nothing is known.
        is_shipped: Whether it is in the image.
    """

    name: str
    licence: str
    is_shipped: bool


def packages(accepted: Mapping[str, Any]) -> Iterator[Package]:
    """Every installed package of the locks."""
    shipped = set(_PINNED.findall(IMAGE_LOCK.read_text()))
    for name in sorted({*_PINNED.findall(LOCK.read_text()), *shipped}):
        try:
            told = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            continue
        licence = accepted["read"].get(name) or _expression(told, accepted["spelling"])
        yield Package(name, licence, name in shipped)


def _expression(told: Any, spelling: Mapping[str, str]) -> str:
    """The expression itself, else the classifiers, else the free text where it is a plain name."""
    expression = told.get("License-Expression")
    if expression:
        return str(expression)
    classified = [spelling[one] for one in told.get_all("Classifier", []) if spelling.get(one)]
    if classified:
        return " AND ".join(classified)
    text = str(told.get("License", ""))
    return text if len(text) < 50 else ""


def is_accepted(expression: str, allowed: frozenset[str]) -> bool:
    """Whether every part of the expression, or one of its alternatives, is allowed."""
    licensing = get_spdx_licensing()
    try:
        tree = licensing.parse(expression)
    except ExpressionError:
        return False
    return tree is not None and _holds(tree, allowed)


def _holds(tree: Any, allowed: frozenset[str]) -> bool:
    if isinstance(tree, AND):
        return all(_holds(part, allowed) for part in tree.args)
    if isinstance(tree, OR):
        return any(_holds(part, allowed) for part in tree.args)
    return str(tree) in allowed


def refused(found: list[Package], accepted: Mapping[str, Any]) -> list[str]:
    """A sentence for each package whose licence is not accepted; empty is good."""
    allowed = frozenset(accepted["allowed"])
    return [
        f"{one.name}: {one.licence or 'no licence that we can read'}"
        for one in found
        if not is_accepted(one.licence, allowed)
        and (one.is_shipped or one.name not in accepted["never_shipped"])
    ]


def main() -> int:
    """Print the list; exit code 1 if a licence is not accepted."""
    accepted = tomllib.loads(ACCEPTED.read_text())
    found = list(packages(accepted))
    for one in found:
        place = "image" if one.is_shipped else "development"
        sys.stdout.write(f"{one.name:45} {place:12} {one.licence}\n")
    bad = refused(found, accepted)
    sys.stderr.write("".join(f"not accepted: {line}\n" for line in bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
