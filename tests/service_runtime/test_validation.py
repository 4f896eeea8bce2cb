"""Constraints of .proto files, enforced."""

from typing import Any

import pytest

from service_runtime import validation
from service_runtime.errors import InvalidRequest
from tests.service_runtime.echo import SERVICE, Echo


def make_tree(depth: int, leaf: str) -> Any:
    """An echo with *depth* ancestors, each its parent's second child."""
    if depth == 0:
        return Echo(text=leaf)
    return Echo(text="x", children=[Echo(text="x"), make_tree(depth - 1, leaf)])


def test_valid_message_has_no_violations() -> None:
    """A message that keeps its rules passes, at the bounds too."""
    assert validation.violations(Echo(text="a")) == []
    assert validation.violations(Echo(text="a" * 128)) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "STRING_MIN_BYTES"), ("a" * 129, "STRING_MAX_BYTES"), ("é" * 65, "STRING_MAX_BYTES")],
)
def test_violation_names_field_and_reason(text: str, reason: str) -> None:
    """A broken rule is named by a word for machines; bytes count, not characters."""
    (violation,) = validation.violations(Echo(text=text))

    assert (violation.field, violation.reason) == ("text", reason)
    assert violation.description == "must be 1 to 128 bytes"


def test_path_is_written_as_a_programmer_would() -> None:
    """Lists show the index, maps the key in quotes."""
    nested = make_tree(2, "")
    named = Echo(text="x", named={"k": Echo(text="")})

    assert validation.violations(nested)[0].field == "children[1].children[1].text"
    assert validation.violations(named)[0].field == "named['k'].text"


def test_all_violations_are_reported() -> None:
    """A caller sees everything that is wrong at once, in order."""
    message = Echo(text="", children=[Echo(text="ok"), Echo(text=""), Echo(text="y" * 200)])

    fields = [violation.field for violation in validation.violations(message)]

    assert fields == ["text", "children[1].text", "children[2].text"]


def test_huge_message_is_refused_at_its_first_violation() -> None:
    """Of many values one violation is enough: a hostile message must not cost seconds."""
    message = Echo(text="x", children=[Echo(text="")] * 200_000)

    assert len(validation.violations(message)) == 1


@pytest.mark.parametrize(
    ("message", "count"),
    [
        (Echo(text="x", children=[Echo(text="y" * 129)] * 900), 900),
        (Echo(text="x", children=[Echo()] * 1999), 1999),
        (Echo(text="x", children=[Echo()] * 2000), 1),
        (Echo(text="x", children=[Echo(text="x", children=[Echo()] * 700)] * 3), 1),
        (Echo(text="x", named={str(at): Echo() for at in range(2000)}), 1),
        (Echo(text="x", named={str(at): Echo() for at in range(100)}), 100),
    ],
)
def test_violations_are_collected_by_how_many_there_could_be(message: Any, count: int) -> None:
    """Not by bytes: an empty text that breaks a rule is two of them."""
    assert len(validation.violations(message)) == count


def test_first_violation_is_that_of_all() -> None:
    """For items of batches, of which one is told."""
    message = Echo(text="", children=[Echo(text="")])

    assert validation.first_violation(message) == validation.violations(message)[0]
    assert validation.first_violation(Echo(text="a")) is None


def test_long_key_is_not_sent_back() -> None:
    """A path of megabytes would not fit into an answer."""
    named = Echo(text="x", named={"\x01" * 1_000_000: Echo(text="")})

    (violation,) = validation.violations(named)

    assert len(violation.field) < 300
    assert violation.field.endswith("…'].text")


def test_check_raises_with_every_violation() -> None:
    """Check turns violations into the error that the edge reports."""
    validation.check(Echo(text="fine"))

    with pytest.raises(InvalidRequest) as caught:
        validation.check(Echo(text="", children=[Echo(text="")]))

    assert [violation.field for violation in caught.value.violations] == [
        "text",
        "children[0].text",
    ]


def test_prepare_takes_known_and_unknown_services() -> None:
    """Rules are compiled ahead for services that exist; a name without a descriptor is skipped."""
    validation.prepare([SERVICE, "no.such.Service"])

    assert validation.violations(Echo(text="a")) == []
