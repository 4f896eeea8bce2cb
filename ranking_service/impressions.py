"""
What was shown, where, why and with which features: an append-only log, written behind the answers.

A record is one answer: a version byte, the length of a JSON header, the header, and the features of
the shown pins as raw little-endian float32.  `jobs/export_impressions` turns records into Parquet,
one row a shown pin (IMPRESSION_SCHEMA).
"""

import hashlib
import queue
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from ranking_service.answer import Answer
from ranking_service.features import FEATURE_NAMES
from ranking_service.query import Origin, Surface
from service_runtime.errors import CorkboardError, Corrupted
from service_runtime.event_log import EventLog
from service_runtime.manifest import MANIFEST_FILE, parse_manifest
from service_runtime.telemetry import Metrics, logger

RECORD_VERSION: Final = 1
BATCH_COUNT_MAX: Final = 64
"""Answers that are appended together at the most."""
GATHER_SECONDS: Final = 0.05
"""How long the first answer waits for others: one wake-up and one sync for all, not for each."""

_PREFIX: Final = struct.Struct("<BI")

IMPRESSION_SCHEMA: Final = pa.schema(
    [
        ("list_id", pa.string()),
        ("request_id", pa.string()),
        ("impression_time_us", pa.int64()),
        ("feature_time_us", pa.int64()),
        ("generations_as_of_us", pa.int64()),
        ("generations", pa.string()),
        ("user_id", pa.string()),
        ("surface", pa.string()),
        ("query_pin_id", pa.string()),
        ("model", pa.string()),
        ("position", pa.int32()),
        ("pin_id", pa.string()),
        ("score", pa.float32()),
        ("because_pin_id", pa.string()),
        ("propensity", pa.float32()),
        ("sources", pa.list_(pa.string())),
        ("source_ranks", pa.list_(pa.int32())),
        ("source_scores", pa.list_(pa.float32())),
        ("source_query_pin_ids", pa.list_(pa.string())),
        ("feature_set", pa.string()),
        ("features", pa.list_(pa.float32())),
        ("platform", pa.string()),
        ("origin", pa.string()),
        ("scenario", pa.string()),
        ("experiment_arms", pa.string()),
        ("is_randomised", pa.bool_()),
        ("slice_propensity", pa.float32()),
        ("position_propensity", pa.float32()),
        ("memboost", pa.float32()),
        ("promotion", pa.string()),
    ]
)
"""
One row a shown pin; `generations` and `experiment_arms` are JSON, `features` are in the order of
`feature_set`.
"""

_LATER_PIN_FIELDS: Final = {"position_propensity": 1.0, "memboost": 0.0, "promotion": ""}
"""Fields of a pin that older records lack, and what they mean then."""

_log = logger("ranking_service.impressions")


def feature_set_of(names: Sequence[str]) -> str:
    """Name of a list of features: rows of another set cannot be trained on together."""
    return hashlib.blake2b("\n".join(names).encode(), digest_size=8).hexdigest()


FEATURE_SET: Final = feature_set_of(FEATURE_NAMES)
"""Name of the features that this build computes."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """One answer on its way to the log."""

    answer: Answer
    features: NDArray[np.float32]
    time: float
    as_of_us: int


class GenerationTimes:
    """
    Up to when the data behind a generation reaches, whichever artifact it belongs to.

    Args:
        root: Folder of all artifacts.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, int] = {}

    def as_of_us(self, generation_id: str) -> int:
        """Microseconds since the epoch; 0 if the generation is not on this machine."""
        if generation_id not in self._known:
            found = 0
            for path in self._root.glob(f"*/{generation_id}/{MANIFEST_FILE}"):
                with suppress(Corrupted, OSError, ValueError):
                    found = max(found, parse_manifest(path.read_bytes()).as_of_us)
            self._known[generation_id] = found
        return self._known[generation_id]


class ImpressionLog:
    """
    Writes what was shown from a thread of its own.

    Args:
        log: Where records go; closed by `close`.
        queue_count_max: Answers that may wait; one more is dropped and counted.
        metrics: Gets `impressions_written_total`, `impressions_dropped_total`.
        as_of_us: Says up to when the data behind a generation reaches; 0 = not known.
    """

    def __init__(
        self,
        log: EventLog,
        *,
        queue_count_max: int,
        metrics: Metrics,
        as_of_us: Callable[[str], int],
    ) -> None:
        self._log = log
        self._as_of_us = as_of_us
        self._queue: queue.Queue[_Shown | None] = queue.Queue(queue_count_max)
        self._written = metrics.counter("impressions_written", "Answers that were logged.")
        self._dropped = metrics.counter(
            "impressions_dropped", "Answers that were not logged.", ["reason"]
        )
        for reason in ("queue_full", "log_failed", "unforeseen"):
            self._dropped.labels(reason)  # 0 from the start: a rate sees the first one
        self._thread = threading.Thread(target=self._run, name="impressions", daemon=True)
        self._thread.start()

    def record(
        self, answer: Answer, features: NDArray[np.float32], *, time: float, as_of_us: int
    ) -> None:
        """See `recommend.ImpressionRecorder`: never waits, never fails."""
        try:
            self._queue.put_nowait(_Shown(answer, features, time, as_of_us))
        except queue.Full:
            self._dropped.labels("queue_full").inc()

    def flush(self) -> None:
        """Wait until everything recorded so far is in the log or dropped."""
        self._queue.join()

    def close(self) -> None:
        """Write what waits, end the thread, close the log. Once."""
        self._queue.put(None)
        self._thread.join()
        self._log.close()

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch = [self._queue.get()]
            if batch[0] is not None:
                sleep(GATHER_SECONDS)
            with suppress(queue.Empty):
                while len(batch) < BATCH_COUNT_MAX:
                    batch.append(self._queue.get_nowait())
            is_open = None not in batch
            shown = [item for item in batch if item is not None]
            try:
                self._write(shown)
            except CorkboardError as fault:
                self._dropped.labels("log_failed").inc(len(shown))
                _log.error("impressions.dropped", count=len(shown), reason=str(fault))
            except Exception:  # noqa: BLE001  the thread must outlive any one record
                self._dropped.labels("unforeseen").inc(len(shown))
                _log.exception("impressions.dropped", count=len(shown))
            for _ in batch:
                self._queue.task_done()

    def _write(self, shown: Sequence[_Shown]) -> None:
        self._log.append([self._encode(item) for item in shown])
        if self._queue.empty():
            self._log.sync()
        self._written.inc(len(shown))

    def _encode(self, item: _Shown) -> bytes:
        known = (self._as_of_us(generation) for generation in item.answer.generations.values())
        return encode_record(
            item.answer, item.features, time=item.time, as_of_us=max(item.as_of_us, *known, 0)
        )


def encode_record(
    answer: Answer, features: NDArray[np.float32], *, time: float, as_of_us: int
) -> bytes:
    """One answer as bytes."""
    header = {
        "answer": answer,
        "feature_set": FEATURE_SET,
        "time_us": round(time * 1e6),
        "as_of_us": as_of_us,
    }
    encoded = orjson.dumps(header)
    little_endian = np.ascontiguousarray(features, "<f4").tobytes()
    return _PREFIX.pack(RECORD_VERSION, len(encoded)) + encoded + little_endian


def decode_record(payload: bytes) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """
    The header of a record and its features, float32[k, f].

    Raises:
        Corrupted: If this is no record of ours.
    """
    try:
        version, length = _PREFIX.unpack_from(payload)
        if version != RECORD_VERSION:
            raise Corrupted(f"an impression record has version {version}")
        end = _PREFIX.size + length
        header: dict[str, Any] = orjson.loads(payload[_PREFIX.size : end])
        count = len(header["answer"]["pins"])
        features = np.frombuffer(payload, "<f4", offset=end).astype(np.float32)
        return header, features.reshape(count, -1) if count else features.reshape(0, 0)
    except (struct.error, ValueError, KeyError, TypeError) as fault:
        raise Corrupted(f"an impression record cannot be read: {fault}") from fault


def impression_table(payload: bytes) -> pa.Table:
    """
    One row of IMPRESSION_SCHEMA for each pin that a record shows.

    Raises:
        Corrupted: If this is no record of ours.
    """
    header, features = decode_record(payload)
    try:
        return _table(header, features)
    except (KeyError, TypeError, ValueError, pa.ArrowException) as fault:
        raise Corrupted(f"an impression record cannot be read: {fault}") from fault


def _json(words: dict[str, str]) -> str:
    return orjson.dumps(words, option=orjson.OPT_SORT_KEYS).decode()


def _table(header: dict[str, Any], features: NDArray[np.float32]) -> pa.Table:
    answer = header["answer"]
    pins, count = answer["pins"], len(answer["pins"])
    shared = {
        **{name: answer[name] for name in ("list_id", "request_id", "user_id", "query_pin_id")},
        "impression_time_us": header["time_us"],
        "feature_time_us": header["time_us"],
        "generations_as_of_us": header["as_of_us"],
        "generations": _json(answer["generations"]),
        "surface": Surface(answer["surface"]).name.lower(),
        "model": answer["model"],
        "feature_set": header["feature_set"],
        "platform": answer.get("platform", ""),
        "origin": Origin(answer.get("origin", 0)).name.lower(),
        "scenario": answer.get("scenario", ""),
        "experiment_arms": _json(answer.get("experiment_arms", {})),
        "is_randomised": answer.get("is_randomised", False),
        "slice_propensity": answer.get("slice_propensity", 1.0),
    }
    own = {
        name: [pin[name] for pin in pins]
        for name in ("pin_id", "score", "because_pin_id", "propensity")
    } | {
        name: [pin.get(name, neutral) for pin in pins]
        for name, neutral in _LATER_PIN_FIELDS.items()
    }
    reasons = {
        column: [[reason[field] for reason in pin["sources"]] for pin in pins]
        for column, field in (
            ("sources", "source"),
            ("source_ranks", "rank"),
            ("source_scores", "score"),
            ("source_query_pin_ids", "query_pin_id"),
        )
    }
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(features.shape[1])
    columns = {
        **{name: [value] * count for name, value in shared.items()},
        "position": np.arange(count, dtype=np.int32),
        **own,
        **reasons,
        "features": pa.ListArray.from_arrays(offsets, features.ravel()),
    }
    return pa.table({field.name: columns[field.name] for field in IMPRESSION_SCHEMA}).cast(
        IMPRESSION_SCHEMA
    )
