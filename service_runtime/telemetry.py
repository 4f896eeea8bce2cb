"""
The machinery of logs and metrics; the names of events and metrics belong to who emits them.

Logs are JSON lines on stderr (stdout is for a ready line or a job's report). Event names are a
dotted noun and a past verb, the rest are keys. A log that cannot be written never fails a call.
"""

import contextlib
import hashlib
import json
import logging
import os
import stat
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast
from wsgiref.simple_server import WSGIServer

import orjson
import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
    start_http_server,
)
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from service_runtime.audit_trail import AuditTrail
from service_runtime.call_context import caller_name_var, request_id_var, trace_id_var
from service_runtime.errors import BindFailed, ProcessFailed

SECONDS_BUCKETS = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of latency histograms, seconds: 1-2-5 steps from half a millisecond."""

_JSON = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z


def configure_logging(level: str, service: str, *, stream: BinaryIO | None = None) -> None:
    """
    Send the logs of this process, ours and the libraries', as JSON lines to *stream*.

    Args:
        level: Least serious level written: debug, info, warning or error.
        service: Value of the key `service` in every line.
        stream: Where to write bytes; None = stderr.
    """
    sink = _Sink(stream)
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[_JsonLine(service)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(cast(BinaryIO, sink)),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(_TextSink(sink))
    handler.setFormatter(_ForeignFormatter(service))
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def logger(name: str) -> FilteringBoundLogger:
    """
    A logger whose lines carry `component: name`; may be made at import time.

    Until configure_logging is called, warnings and worse go to stderr.
    """
    if not structlog.is_configured():
        configure_logging("warning", "")
    bound: FilteringBoundLogger = structlog.get_logger(component=name)
    return bound


def audit(action: str, **facts: object) -> None:
    """
    Write a line of the audit log: who did what that takes something back or changes the rules.

    It goes into the log, and into the data root once `keep_audit` was called. Inside of a call it
    says which one and, where access is limited, whose.

    Args:
        action: What was done: a method's name, `import`, `publish`, `roll_back`.
        facts: To what, with which result; never names of users, see `hashed`.
    """
    facts["request_id"] = request_id_var.get()
    if caller := caller_name_var.get():
        facts.setdefault("caller", caller)
    logger("audit").warning("audit.recorded", action=action, **facts)
    for trail in _trails:
        try:
            trail.add(action, facts)
        except OSError as error:
            logger("audit").error("audit.not_kept", action=action, reason=str(error))


def keep_audit(data_root: Path, writer: str) -> None:
    """Keep this process's audit lines below a data root as well, under its name."""
    _trails[:] = [AuditTrail(data_root, writer)]


_trails: list[AuditTrail] = []
"""Where audit lines of this process go beside the log; none or one."""


LOG_KEY_BYTES_MIN = 16
"""Fewer could be found by trying."""


class LogKeyFailed(ProcessFailed):
    """The key for hashes cannot be used."""

    HINT = "head -c 32 /dev/urandom | base64 > FILE, and name it in log_key_file of every service"
    EXIT_CODE = 2


def use_log_key(path: Path | None) -> None:
    """
    Have `hashed` take a key from here on; read once, so a new one needs a restart.

    Args:
        path: File of the key; white space at its ends does not count. None = no key.

    Raises:
        LogKeyFailed: The file cannot be read, or holds too little.
    """
    try:
        key = b"" if path is None else path.read_bytes().strip()
    except OSError as error:
        raise LogKeyFailed(f"cannot read the log key {path}: {error.strerror}") from error
    if path is not None and len(key) < LOG_KEY_BYTES_MIN:
        raise LogKeyFailed(f"the log key {path} has fewer than {LOG_KEY_BYTES_MIN} bytes")
    _log_key[:] = [hashlib.blake2b(key, digest_size=32).digest() if key else b""]


_log_key = [b""]
"""The key of `hashed`; empty = none."""


def hashed(name: str) -> str:
    """
    A name of a person as logs may have it: 12 hex digits, the same for the same name.

    Without a key (`use_log_key`) whoever knows names can compute their hashes.
    """
    return hashlib.blake2b(name.encode(), digest_size=6, key=_log_key[0]).hexdigest()


class Metrics:
    """
    The metrics of one service in one process, apart from prometheus_client's global registry.

    Labels come from closed sets only (source, method, status), never ids.
    """

    def __init__(self, service: str) -> None:
        self.service = service
        self.registry = CollectorRegistry()
        self._page: tuple[WSGIServer, threading.Thread] | None = None
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def counter(self, name: str, description: str, labels: Sequence[str] = ()) -> Counter:
        """A number that only grows, published as `<service>_<name>_total`."""
        return Counter(f"{self.service}_{name}", description, labels, registry=self.registry)

    def gauge(self, name: str, description: str, labels: Sequence[str] = ()) -> Gauge:
        """A number that goes up and down, published as `<service>_<name>`."""
        return Gauge(f"{self.service}_{name}", description, labels, registry=self.registry)

    def histogram(
        self,
        name: str,
        description: str,
        labels: Sequence[str] = (),
        *,
        buckets: Sequence[float] = SECONDS_BUCKETS,
    ) -> Histogram:
        """How often values fell below each of *buckets*, published as `<service>_<name>`."""
        full_name = f"{self.service}_{name}"
        return Histogram(full_name, description, labels, registry=self.registry, buckets=buckets)

    def text(self) -> str:
        """The page as Prometheus reads it."""
        return generate_latest(self.registry).decode()

    def serve(self, host: str, port: int) -> int:
        """
        Show the page under http://host:port/metrics from a thread of its own.

        Returns:
            The port, also if 0 (any free one) was asked for.

        Raises:
            BindFailed: The address cannot be had.
        """
        try:
            self._page = start_http_server(port, host, self.registry)
        except OSError as error:
            raise BindFailed(f"cannot serve metrics on {host}:{port}: {error}") from error
        return int(self._page[0].server_port)

    def close(self) -> None:
        """End the page, if there is one."""
        if self._page is not None:
            server, thread = self._page
            server.shutdown()
            server.server_close()
            thread.join()
            self._page = None


class _JsonLine:
    """
    Turns an event into a line: level, time, service, request id inside a call, exception if any.

    One processor instead of structlog's usual five: a line a call is among the larger costs of a
    call, and each layer adds to it.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        # Without locals: they hold requests, and requests hold what people did.
        self._describe = structlog.tracebacks.ExceptionDictTransformer(
            show_locals=False, max_frames=30
        )

    def __call__(self, _: WrappedLogger, level: str, event: EventDict) -> bytes:
        event["level"] = "error" if level == "exception" else level
        event.setdefault("time", datetime.now(UTC))
        event["service"] = self._service
        if request_id := request_id_var.get():
            event.setdefault("request_id", request_id)
        if trace_id := trace_id_var.get():
            event.setdefault("trace_id", trace_id)
        if "exc_info" in event:
            self._add_exception(event)
        return _to_json(event)

    def _add_exception(self, event: EventDict) -> None:
        error = event.pop("exc_info")
        if error is True:
            error = sys.exception()
        if isinstance(error, BaseException):
            event["exception"] = self._describe((type(error), error, error.__traceback__))


class _Sink:
    """
    A byte stream whose failures are silent: a full disk or closed pipe must not fail calls.

    Nor must a pipe that nobody empties: it would stop the process at its 65,536th byte. Where
    stderr is a pipe, lines that do not fit are left out and counted in the next one that does.
    """

    def __init__(self, stream: BinaryIO | None) -> None:
        self._stream = stream
        self._pipe = _open_stderr_pipe() if stream is None else None
        self._dropped_count = 0

    def write(self, line: bytes) -> None:
        """Write all of *line*, or as much as can be."""
        if self._pipe is not None:
            self._write_to_pipe(self._pipe, line)
            return
        with contextlib.suppress(OSError, ValueError):
            stream = self._stream or sys.stderr.buffer  # looked up now: tests redirect it
            stream.write(line)
            stream.flush()

    def flush(self) -> None:
        """Nothing to do: each line is flushed."""

    def _write_to_pipe(self, pipe: int, line: bytes) -> None:
        if self._dropped_count:
            note = b'{"event":"log.lines_dropped","level":"warning","count":%d}\n'
            line = note % self._dropped_count + line
        try:
            os.write(pipe, line)
            self._dropped_count = 0
        except OSError:
            self._dropped_count += 1


def _open_stderr_pipe() -> int | None:
    """
    A second, non-blocking end of the pipe that is stderr; None if it is no pipe.

    A second one, because the flag belongs to what is shared with whoever else writes there.
    """
    try:
        descriptor = sys.stderr.fileno()
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
    except (OSError, ValueError, AttributeError):
        pass  # not Linux, not allowed, or replaced by something without a descriptor
    return None


class _TextSink:
    """The same sink for the standard library's logging, which writes text."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink

    def write(self, text: str) -> None:
        self._sink.write(text.encode("utf-8", "replace"))

    def flush(self) -> None:
        self._sink.flush()


class _ForeignFormatter(logging.Formatter):
    """A library's log record as one JSON line of our form."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "event": "library.logged",
            "message": record.getMessage(),
            "logger": record.name,
            "level": record.levelname.lower(),
            "time": datetime.fromtimestamp(record.created, UTC),
            "service": self._service,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _to_json(line).decode()


def _to_json(event: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(event, default=str, option=_JSON)
    except TypeError:  # text that is no valid Unicode, numbers above 64 bits
        texts = {str(k): v if isinstance(v, str) else repr(v) for k, v in event.items()}
        return json.dumps(texts).encode()
