"""Logs and metrics."""

import contextvars
import io
import json
import logging
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service_runtime.call_context import request_id_var
from service_runtime.errors import BindFailed
from service_runtime.telemetry import (
    LogKeyFailed,
    Metrics,
    configure_logging,
    hashed,
    logger,
    use_log_key,
)


@pytest.fixture
def stream() -> Iterator[io.BytesIO]:
    """Where the logs of this test go; afterwards they go to stderr again."""
    yield (stream := io.BytesIO())
    stream.close()
    configure_logging("warning", "tests")


def lines(stream: io.BytesIO) -> list[dict[str, Any]]:
    """The lines written so far."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_line_is_json_with_level_time_and_service(stream: io.BytesIO) -> None:
    """Every line can be searched by its keys."""
    configure_logging("info", "shelf_service", stream=stream)

    logger("shelf").info("shelf.opened", shelf_count=np.int64(3))

    (line,) = lines(stream)
    assert line.pop("time").endswith("Z")
    assert line == {
        "event": "shelf.opened",
        "level": "info",
        "service": "shelf_service",
        "component": "shelf",
        "shelf_count": 3,
    }


def test_lines_below_the_level_are_left_out(stream: io.BytesIO) -> None:
    """The configured level is the least serious one that is written."""
    configure_logging("warning", "x", stream=stream)

    log = logger("shelf")
    log.info("shelf.opened")
    log.warning("shelf.bent")

    assert [line["event"] for line in lines(stream)] == ["shelf.bent"]


def test_logger_made_before_configuring_obeys_it(stream: io.BytesIO) -> None:
    """Modules make their loggers at import time, before there is a config."""
    log = logger("early")
    configure_logging("info", "late", stream=stream)

    log.info("shelf.opened")

    assert lines(stream)[0]["service"] == "late"


def test_line_within_a_call_carries_its_request_id(stream: io.BytesIO) -> None:
    """All lines of one call can be found by its id, without anybody passing it."""
    configure_logging("info", "x", stream=stream)

    def call() -> None:
        request_id_var.set("abc-1")
        logger("shelf").info("shelf.opened")

    contextvars.copy_context().run(call)
    logger("shelf").info("shelf.closed")

    inside, outside = lines(stream)
    assert inside["request_id"] == "abc-1"
    assert "request_id" not in outside


def test_exception_is_described_without_values(stream: io.BytesIO) -> None:
    """A crash shows type, text and place, but no variables: those hold people's data."""
    configure_logging("info", "x", stream=stream)

    def crash() -> None:
        secret = "what somebody saved"  # noqa: F841, S105  must not be shown
        raise ZeroDivisionError("by nothing")

    try:
        crash()
    except ZeroDivisionError:
        logger("shelf").exception("shelf.fell")

    (line,) = lines(stream)
    assert line["level"] == "error"
    assert line["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert [frame["name"] for frame in line["exception"][0]["frames"]][-1] == "crash"
    assert "somebody" not in json.dumps(line)


@pytest.mark.parametrize("value", ["\udcff", 2**70, {1: object()}, float("nan"), b"\xff"])
def test_no_value_breaks_a_line(stream: io.BytesIO, value: object) -> None:
    """Whatever is logged, one line of JSON comes out."""
    configure_logging("info", "x", stream=stream)

    logger("shelf").info("shelf.opened", value=value)

    assert lines(stream)[0]["event"] == "shelf.opened"


def test_libraries_log_in_the_same_form(stream: io.BytesIO) -> None:
    """A library's warning is a JSON line as well, its chatter is not written."""
    configure_logging("info", "x", stream=stream)

    logging.getLogger("some.library").info("chatter")
    logging.getLogger("some.library").warning("odd: %s", 3)

    (line,) = lines(stream)
    assert (line["event"], line["message"]) == ("library.logged", "odd: 3")
    assert (line["logger"], line["level"], line["service"]) == ("some.library", "warning", "x")


def test_closed_stream_fails_no_one(stream: io.BytesIO) -> None:
    """When the log cannot be written the work goes on."""
    broken = io.BytesIO()
    configure_logging("info", "x", stream=broken)
    broken.close()

    logger("shelf").info("shelf.opened")
    logging.getLogger("some.library").error("odd")

    assert broken.closed
    assert stream.getvalue() == b""


def test_metrics_bear_the_name_of_their_service() -> None:
    """Names are <service>_<noun>_<unit>, counters end in _total."""
    metrics = Metrics("shelf_service")

    metrics.counter("swaps", "Swaps.", ("result",)).labels("ok").inc(2)
    metrics.gauge("shelf_count", "Shelves.").set(3)
    metrics.histogram("open_seconds", "Time.", buckets=(1.0, 2.0)).observe(1.5)

    text = metrics.text()
    assert 'shelf_service_swaps_total{result="ok"} 2.0' in text
    assert "shelf_service_shelf_count 3.0" in text
    assert 'shelf_service_open_seconds_bucket{le="2.0"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_two_services_in_one_process_do_not_mix() -> None:
    """Each has its own registry; the same name twice is no clash."""
    one, two = Metrics("same"), Metrics("same")
    one.counter("swaps", "Swaps.").inc()
    two.counter("swaps", "Swaps.")

    assert "same_swaps_total 1.0" in one.text()
    assert "same_swaps_total 0.0" in two.text()


def test_page_shows_the_metrics() -> None:
    """Prometheus finds the page over HTTP; closing frees the port."""
    metrics = Metrics("shelf_service")
    metrics.gauge("shelf_count", "Shelves.").set(3)
    port = metrics.serve("127.0.0.1", 0)

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        text = page.read().decode()
    metrics.close()

    assert "shelf_service_shelf_count 3.0" in text
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_taken_port_is_told() -> None:
    """A metrics port that another process holds is a clear error."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]

        with pytest.raises(BindFailed, match=f"cannot serve metrics on 127.0.0.1:{port}"):
            Metrics("x").serve("127.0.0.1", port)


@pytest.fixture
def key_file(tmp_path: Path) -> Iterator[Path]:
    """Where a key for hashes may be; afterwards there is none again."""
    yield tmp_path / "log.key"
    use_log_key(None)


def test_hashes_of_people_depend_on_the_key(key_file: Path) -> None:
    """Who knows ids but not the key cannot find them; everybody with the key has the same hash."""
    plain = hashed("ana")
    key_file.write_text("0123456789abcdef\n")
    use_log_key(key_file)
    first = hashed("ana")
    key_file.write_text("0123456789abcdef")
    use_log_key(key_file)
    again = hashed("ana")
    key_file.write_text("fedcba9876543210")
    use_log_key(key_file)
    other = hashed("ana")

    assert first == again
    assert len({plain, first, other}) == 3
    assert {len(one) for one in (plain, first)} == {12}
    assert hashed("bob") != other


@pytest.mark.parametrize("content", [None, "", "0123456789abcde\n"])
def test_a_key_that_protects_nothing_is_refused(key_file: Path, content: str | None) -> None:
    """Absent, empty or short: the process says so and does not start."""
    if content is not None:
        key_file.write_text(content)

    with pytest.raises(LogKeyFailed, match=r"log\.key"):
        use_log_key(key_file)
