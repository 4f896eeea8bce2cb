"""The impression log: what goes in comes out, behind the answers and never in their way."""

import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from ranking_service.answer import Answer, RankedPin, SourceReason
from ranking_service.features import FEATURE_NAMES
from ranking_service.impressions import (
    FEATURE_SET,
    IMPRESSION_SCHEMA,
    GenerationTimes,
    ImpressionLog,
    decode_record,
    encode_record,
    impression_table,
)
from ranking_service.query import Surface
from service_runtime.errors import Corrupted, Exhausted
from service_runtime.event_log import EventLog, read_log
from service_runtime.generation_store import GenerationStore
from service_runtime.telemetry import Metrics
from tests.ranking_service.worlds import NOW, publish_statistics


def make_answer(pin_count: Any = 3, list_id: Any = "list-1", generations: Any = None) -> Any:
    """An answer with some pins, the last one of them only popular."""
    pins = tuple(
        RankedPin(
            pin_id=f"pin-é-{place}",
            score=1 / (place + 2),
            sources=(SourceReason("pixie", place, 0.5, "medoid"),),
            because_pin_id="medoid",
            propensity=0.25,
        )
        for place in range(pin_count - 1)
    )
    last = RankedPin("last", 0.0, (SourceReason("popular", 7, 0.1, ""),), "", 1.0)
    return Answer(
        list_id=list_id,
        request_id="request",
        user_id="user",
        surface=Surface.RELATED_PINS,
        query_pin_id="query",
        pins=(*pins, last) if pin_count else (),
        missing=(("profile", "away"),),
        is_cold_start=False,
        profile_age=3.0,
        generations=generations or {"catalogue": "c1"},
        model="hand_tuned",
        candidate_count=50,
    )


def make_features(pin_count: Any, seed: int = 0) -> Any:
    """Rows with every kind of float32."""
    rows = np.random.default_rng(seed).standard_normal((pin_count, len(FEATURE_NAMES)))
    rows = rows.astype(np.float32)
    if pin_count:
        rows[0, :4] = [-0.0, 1e-45, np.float32(3.4e38), np.float32(1) / 3]
    return rows


def open_log(folder: Any, metrics: Any, *, queue_count_max: Any = 100) -> Any:
    """An impression log that knows no generation."""
    return ImpressionLog(
        EventLog(folder),
        queue_count_max=queue_count_max,
        metrics=metrics,
        as_of_us=lambda _: 0,
    )


def test_features_come_back_to_the_bit() -> None:
    """What was computed for serving is what training reads, bit by bit."""
    answer, features = make_answer(5), make_features(5)

    payload = encode_record(answer, features, time=NOW, as_of_us=12)
    header, decoded = decode_record(payload)
    table = impression_table(payload)

    assert decoded.tobytes() == features.tobytes()
    flat = table["features"].combine_chunks().flatten().to_numpy()
    assert flat.tobytes() == features.tobytes()
    assert header["feature_set"] == FEATURE_SET


def test_a_record_becomes_one_row_a_shown_pin() -> None:
    """Position, reasons, propensity and times stand in the columns that the schema names."""
    payload = encode_record(make_answer(), make_features(3), time=NOW, as_of_us=12)

    table = impression_table(payload)

    assert table.schema == IMPRESSION_SCHEMA
    assert table["position"].to_pylist() == [0, 1, 2]
    row = table.slice(1, 1).to_pylist()[0]
    del row["features"], row["feature_set"]
    assert row == {
        "list_id": "list-1",
        "request_id": "request",
        "impression_time_us": round(NOW * 1e6),
        "feature_time_us": round(NOW * 1e6),
        "generations_as_of_us": 12,
        "generations": '{"catalogue":"c1"}',
        "user_id": "user",
        "surface": "related_pins",
        "query_pin_id": "query",
        "model": "hand_tuned",
        "position": 1,
        "pin_id": "pin-é-1",
        "score": pytest.approx(1 / 3),
        "because_pin_id": "medoid",
        "propensity": 0.25,
        "sources": ["pixie"],
        "source_ranks": [1],
        "source_scores": [0.5],
        "source_query_pin_ids": ["medoid"],
        "platform": "",
        "origin": "unspecified",
        "scenario": "",
        "experiment_arms": "{}",
        "is_randomised": False,
        "slice_propensity": 1.0,
        "position_propensity": 1.0,
        "memboost": 0.0,
        "promotion": "",
    }


def test_a_record_of_an_older_version_says_nothing_of_what_it_lacks() -> None:
    """Logs written before there were platforms, arms and chances are read as without any."""
    payload = encode_record(make_answer(), make_features(3), time=NOW, as_of_us=12)
    version, length = struct.unpack_from("<BI", payload)
    header = orjson.loads(payload[5 : 5 + length])
    for name in ("platform", "origin", "scenario", "experiment_arms", "is_randomised"):
        del header["answer"][name]
    del header["answer"]["slice_propensity"]
    for pin in header["answer"]["pins"]:
        del pin["position_propensity"], pin["memboost"], pin["promotion"]
    older = orjson.dumps(header)

    table = impression_table(
        struct.pack("<BI", version, len(older)) + older + payload[5 + length :]
    )

    assert table == impression_table(payload)


def test_an_empty_answer_is_a_record_without_rows() -> None:
    """A list without pins is logged and gives no examples."""
    payload = encode_record(make_answer(0), make_features(0), time=NOW, as_of_us=0)

    assert impression_table(payload).num_rows == 0


@pytest.mark.parametrize("damage", ["empty", "version", "cut", "header", "shape"])
def test_what_is_no_record_is_refused(damage: Any) -> None:
    """Damage is named, never believed."""
    payload = encode_record(make_answer(), make_features(3), time=NOW, as_of_us=0)
    damaged = {
        "empty": b"",
        "version": b"\x09" + payload[1:],
        "cut": payload[:-3],
        "header": payload[:5] + b"[" + payload[6:],
        "shape": payload[:-8],
    }[damage]

    with pytest.raises(Corrupted, match="impression record"):
        decode_record(damaged)


def test_the_log_keeps_what_was_recorded(tmp_path: Path) -> None:
    """Every recorded answer is in the log after a flush, in order."""
    metrics = Metrics("ranking_service")
    log = open_log(tmp_path, metrics, queue_count_max=200)

    for number in range(150):
        log.record(make_answer(list_id=f"list-{number}"), make_features(3), time=NOW, as_of_us=0)
    log.flush()
    log.close()

    names = [decode_record(record.payload)[0]["answer"]["list_id"] for record in read_log(tmp_path)]
    assert names == [f"list-{number}" for number in range(150)]
    assert "ranking_service_impressions_written_total 150.0" in metrics.text()


class SlowLog(EventLog):
    """A log on a disk that takes its time."""

    def append(self, payloads: Any) -> Any:
        """Append late."""
        time.sleep(0.3)
        return super().append(payloads)


def test_a_full_queue_drops_and_counts(tmp_path: Path) -> None:
    """A slow disk costs impressions, which are counted, and no answer waits for it."""
    metrics = Metrics("ranking_service")
    slow = SlowLog(tmp_path)
    log = ImpressionLog(slow, queue_count_max=2, metrics=metrics, as_of_us=lambda _: 0)

    begin = time.monotonic()
    for _ in range(50):
        log.record(make_answer(), make_features(3), time=NOW, as_of_us=0)
    waited = time.monotonic() - begin
    log.close()

    kept = len(list(read_log(tmp_path)))
    assert waited < 0.3, "recording waited for the disk"
    assert 2 <= kept < 50
    dropped = f'ranking_service_impressions_dropped_total{{reason="queue_full"}} {50.0 - kept}'
    assert dropped in metrics.text()


class FullLog(EventLog):
    """A log on a full disk."""

    def append(self, payloads: Any) -> None:
        """Refuse."""
        del payloads
        raise Exhausted("the disk is full", hint="free some space")


def test_a_full_disk_drops_and_counts_and_goes_on(tmp_path: Path) -> None:
    """The writer outlives a failing log."""
    metrics = Metrics("ranking_service")
    log = ImpressionLog(FullLog(tmp_path), queue_count_max=9, metrics=metrics, as_of_us=lambda _: 0)

    for _ in range(2):
        log.record(make_answer(), make_features(3), time=NOW, as_of_us=0)
        log.flush()
    log.close()

    assert 'impressions_dropped_total{reason="log_failed"} 2.0' in metrics.text()


def test_a_record_knows_the_youngest_data_behind_it(tmp_path: Path) -> None:
    """Of all generations that took part, also those of other services, the latest time counts."""
    store = GenerationStore(tmp_path / "generations")
    known = publish_statistics(store, 1, as_of_us=77)
    log = ImpressionLog(
        EventLog(tmp_path / "log"),
        queue_count_max=9,
        metrics=Metrics("ranking_service"),
        as_of_us=GenerationTimes(tmp_path / "generations").as_of_us,
    )
    generations = {"source:pixie": known, "elsewhere": "not-on-this-machine"}

    log.record(make_answer(generations=generations), make_features(3), time=NOW, as_of_us=5)
    log.close()

    record = next(iter(read_log(tmp_path / "log")))
    assert decode_record(record.payload)[0]["as_of_us"] == 77


def test_the_header_is_plain_json() -> None:
    """Anybody can read a record's header without our code."""
    payload = encode_record(make_answer(), make_features(3), time=NOW, as_of_us=0)
    length = int.from_bytes(payload[1:5], "little")

    header = orjson.loads(payload[5 : 5 + length])

    assert header["answer"]["pins"][0]["pin_id"] == "pin-é-0"
