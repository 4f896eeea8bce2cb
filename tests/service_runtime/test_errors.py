"""The families of errors."""

import pickle

import pytest

from service_runtime import errors
from service_runtime.errors import (
    CorkboardError,
    Corrupted,
    Exhausted,
    FieldViolation,
    InvalidRequest,
    NotFound,
    reason_of,
)

VIOLATIONS = [FieldViolation(f"items[{i}].id", "STRING_MIN_BYTES", "is empty") for i in range(5)]


class ShelfCorrupted(Corrupted):
    """A family member as a service would define it."""

    HINT = "build the shelf anew"


def test_drawing_shows_every_family() -> None:
    """The tree at the top of errors.py names every class of the file."""
    assert errors.__doc__ is not None
    classes = [
        value.__name__
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, CorkboardError)
    ]

    assert len(classes) > 8
    assert [name for name in classes if name not in errors.__doc__] == []


def test_error_shows_message_and_hint() -> None:
    """An error's text is its message, with what to do in brackets."""
    assert str(NotFound("no such shelf")) == "no such shelf"
    assert str(NotFound("no such shelf", hint="list them")) == "no such shelf (list them)"
    assert str(ShelfCorrupted("shelf 3 is damaged")) == "shelf 3 is damaged (build the shelf anew)"


def test_given_hint_replaces_the_class_hint() -> None:
    """The place that raises knows better than the class what to do."""
    assert ShelfCorrupted("damaged", hint="call us").hint == "call us"


@pytest.mark.parametrize(
    ("error_class", "reason"), [(NotFound, "NOT_FOUND"), (ShelfCorrupted, "SHELF_CORRUPTED")]
)
def test_reason_is_the_class_name_in_upper_snake(
    error_class: type[CorkboardError], reason: str
) -> None:
    """Machines get a stable word without anybody typing it."""
    assert reason_of(error_class) == reason
    assert error_class("x").reason == reason


def test_invalid_request_summarises_its_violations() -> None:
    """The message shows the first three violations and counts the others."""
    error = InvalidRequest(violations=VIOLATIONS)

    expected = "items[0].id: is empty; items[1].id: is empty; items[2].id: is empty; and 2 more"
    assert error.message == expected
    assert (error.field, error.reason) == ("items[0].id", "STRING_MIN_BYTES")
    assert error.violations == tuple(VIOLATIONS)


def test_invalid_request_about_one_field_makes_its_violation() -> None:
    """A rule that raises with a field and a message need not build the violation."""
    error = InvalidRequest("must be 1 to 500", field="limit", reason="RANGE")

    assert error.message == "limit: must be 1 to 500"
    assert error.violations == (FieldViolation("limit", "RANGE", "must be 1 to 500"),)


def test_invalid_request_without_anything_still_says_something() -> None:
    """No error is mute."""
    assert InvalidRequest().message == "the request is invalid"
    assert InvalidRequest("the two times contradict").violations == ()


def test_errors_survive_pickling() -> None:
    """An error raised in a worker process arrives with all it carries."""
    original = Exhausted("full", hint="wait", retry_after_s=2.5)

    copy = pickle.loads(pickle.dumps(original))  # noqa: S301  our own bytes

    assert type(copy) is Exhausted
    assert vars(copy) == vars(original)
