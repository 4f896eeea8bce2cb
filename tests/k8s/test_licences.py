"""The licences of what we install, and the check that holds them."""

import tomllib

import pytest

from tests.k8s.licences import ACCEPTED, Package, is_accepted, packages, refused

LISTED = tomllib.loads(ACCEPTED.read_text())
ALLOWED = frozenset({"MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"})


def test_every_package_has_a_licence_that_we_accept() -> None:
    """What is installed from the locks, the image's above all."""
    found = list(packages(LISTED))

    assert sum(one.is_shipped for one in found) > 50
    assert refused(found, LISTED) == []


@pytest.mark.parametrize(
    ("expression", "is_good"),
    [
        ("MIT", True),
        ("MIT AND Apache-2.0", True),
        ("GPL-3.0-only OR MIT", True),
        ("Apache-2.0 WITH LLVM-exception AND MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only", False),
        ("MIT AND", False),
        ("some words", False),
        ("", False),
    ],
)
def test_expressions(expression: str, is_good: bool) -> None:  # noqa: FBT001
    """All parts, or one of the alternatives; what cannot be read is not accepted."""
    assert is_accepted(expression, ALLOWED) == is_good


def test_a_development_tool_may_not_be_shipped() -> None:
    """What is accepted because it is only run here is refused in the image."""
    accepted = {"allowed": ["MIT"], "never_shipped": {"tool": "only run"}}

    assert refused([Package("tool", "GPL-3.0-only", is_shipped=False)], accepted) == []
    assert refused([Package("tool", "GPL-3.0-only", is_shipped=True)], accepted) == [
        "tool: GPL-3.0-only"
    ]
