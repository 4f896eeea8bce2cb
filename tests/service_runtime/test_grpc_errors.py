"""Errors on the wire, there and back, through a real server."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import grpc
import lightgbm  # noqa: F401  must be loaded before usearch (which a service imports)
import numba  # noqa: F401  as above
import pytest

import candidate_service
import corkboard
import profile_service
import ranking_service
import service_runtime
from service_runtime.errors import (
    CorkboardError,
    Corrupted,
    DeadlineExceeded,
    Exhausted,
    FieldViolation,
    Internal,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    NotReady,
    PermissionDenied,
    ProcessFailed,
    Unavailable,
)
from service_runtime.grpc_client import call
from service_runtime.grpc_errors import FAMILIES, family
from tests.service_runtime.echo import Echo, raises, serving

PACKAGES = (service_runtime, profile_service, candidate_service, ranking_service, corkboard)


class ShelfCorrupted(Corrupted):
    """A family member as a service would define it."""

    HINT = "build the shelf anew"


def error_classes() -> Iterator[type[CorkboardError]]:
    """Every error class of the product."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    waiting: list[type[CorkboardError]] = [CorkboardError]
    while waiting:
        subclasses = waiting.pop().__subclasses__()
        waiting += subclasses
        yield from subclasses


def sent_and_received(error: Exception) -> CorkboardError:
    """What a caller gets when a service raises *error*."""
    with serving(raises(error)) as (_, method), pytest.raises(CorkboardError) as caught:
        call(method, Echo(text="x"), timeout_s=30)
    return caught.value


def test_every_error_class_has_a_status() -> None:
    """No error of ours reaches a caller as an accident; those of processes never reach one."""
    classes = list(error_classes())

    assert len(classes) > 10
    unmapped = [
        error_class.__name__
        for error_class in classes
        if not issubclass(error_class, (*FAMILIES, ProcessFailed))
    ]
    assert unmapped == []


def test_every_family_has_its_own_status() -> None:
    """A status tells the family."""
    assert len(set(FAMILIES.values())) == len(FAMILIES)


@pytest.mark.parametrize(
    "error_class", [*(c for c in FAMILIES if c is not InvalidRequest)], ids=lambda c: c.__name__
)
def test_error_arrives_as_it_was_raised(error_class: type[CorkboardError]) -> None:
    """Class, message, hint and reason survive the wire."""
    error = error_class("the shelf is gone", hint="look behind it", reason="GONE")

    received = sent_and_received(error)

    assert type(received) is error_class
    assert (received.message, received.hint) == ("the shelf is gone", "look behind it")
    assert received.reason == "GONE"


def test_derived_error_arrives_as_its_family() -> None:
    """A service's own class is told by its reason; its family decides the status."""
    received = sent_and_received(ShelfCorrupted("shelf 3 is damaged"))

    assert type(received) is Corrupted
    assert (received.reason, received.hint) == ("SHELF_CORRUPTED", "build the shelf anew")


def test_error_without_family_is_internal() -> None:
    """Raising the root class is a bug of ours, and told so."""
    assert family(CorkboardError("what?")) is Internal


def test_violations_arrive() -> None:
    """Each field at fault comes with path, reason and description."""
    violations = (
        FieldViolation("actions[3].pin_id", "STRING_MAX_BYTES", "must be 1 to 128 bytes"),
        FieldViolation("limit", "RANGE", "must be at most 500"),
    )

    received = sent_and_received(InvalidRequest(violations=violations))

    assert isinstance(received, InvalidRequest)
    assert received.violations == violations
    assert received.message.startswith("actions[3].pin_id: must be 1 to 128 bytes; limit: ")


@pytest.mark.parametrize("text", ["x" * 5_000, "é" * 5_000, "a\nb\tc" * 500])
def test_ten_thousand_violations_fit_into_a_trailer(text: str) -> None:
    """However much is wrong, the caller gets INVALID_ARGUMENT and the first faults."""
    violations = [FieldViolation(f"items[{i}].{text}", "BAD", text) for i in range(10_000)]

    received = sent_and_received(InvalidRequest(violations=violations))

    assert isinstance(received, InvalidRequest)
    assert 1 <= len(received.violations) < 10_000
    assert received.violations[0].field.startswith("items[0].")


def test_retry_delay_arrives() -> None:
    """An overloaded server says when to come again."""
    received = sent_and_received(Exhausted("full", retry_after_s=1.25))

    assert isinstance(received, Exhausted)
    assert received.retry_after_s == 1.25


def test_crash_tells_the_caller_nothing_but_the_request_id() -> None:
    """An unknown exception is INTERNAL; its text and stack stay at home."""
    received = sent_and_received(ZeroDivisionError("secret: 42"))

    assert type(received) is Internal
    assert received.message.startswith("internal error; request id ")
    assert "secret" not in str(received)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.OUT_OF_RANGE, InvalidRequest),
        (grpc.StatusCode.FAILED_PRECONDITION, NotReady),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Exhausted),
        (grpc.StatusCode.CANCELLED, Unavailable),
        (grpc.StatusCode.ABORTED, Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.UNAUTHENTICATED, NotAuthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, PermissionDenied),
        (grpc.StatusCode.UNIMPLEMENTED, Internal),
        (grpc.StatusCode.UNKNOWN, Internal),
    ],
    ids=lambda value: getattr(value, "name", getattr(value, "__name__", "")),
)
def test_status_of_a_stranger_finds_its_class(
    code: grpc.StatusCode, expected: type[CorkboardError]
) -> None:
    """A server that sends no details is understood as well."""

    def behavior(_: Any, context: grpc.ServicerContext) -> Any:
        context.abort(code, "so it is")

    with (
        serving(behavior) as (_, method),
        pytest.raises(CorkboardError, match="so it is") as caught,
    ):
        call(method, Echo(text="x"), timeout_s=30)

    assert type(caught.value) is expected
    if expected is Internal:
        assert caught.value.message == f"{code.name}: so it is"


def test_malformed_details_do_not_hide_the_status() -> None:
    """A trailer that is no google.rpc.Status is ignored."""

    def behavior(_: Any, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff not a message"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "not here")

    with serving(behavior) as (_, method), pytest.raises(NotFound, match="not here"):
        call(method, Echo(text="x"), timeout_s=30)
