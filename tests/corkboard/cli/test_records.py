"""Files of records: batches, times, and every fault with its line."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from corkboard.cli import records
from corkboard.cli.records import parse_moment, parse_pairs, read_records
from corkboard.questions import PinRecord, SaveRecord
from service_runtime.errors import InvalidRequest


def write(tmp_path: Path, *lines: str) -> Path:
    """A file of these lines."""
    path = tmp_path / "records.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_every_field_of_a_pin_arrives(tmp_path: Path) -> None:
    """Times as times, attributes as text, nulls left out, empty lines passed over."""
    path = write(
        tmp_path,
        '{"pin_id": "p1", "title": "Käse", "topics": ["food"], "attributes": {"price": 3},'
        ' "creation_time": "2026-01-31T12:00:00Z", "vector": [0.5, 1], "quality": null}',
        "",
        '{"pin_id": "p2", "expiration_time": "2026-02-01"}',
    )

    ((first, second),) = read_records(path, PinRecord)

    assert first.title == "Käse"
    assert first.attributes == {"price": "3"}
    assert first.creation_time == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert first.quality is None
    assert second.expiration_time == datetime(2026, 2, 1, tzinfo=UTC)


def test_large_files_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None larger than a call takes."""
    monkeypatch.setattr(records, "RECORDS_PER_CALL", 2)
    path = write(tmp_path, *(f'{{"pin_id": "p{n}", "board_id": "b"}}' for n in range(5)))

    assert [len(batch) for batch in read_records(path, SaveRecord)] == [2, 2, 1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: not an object"),
        ('{"title": "x"}', "line 2: pin_id is missing"),
        ('{"pin_id": "p", "titel": "x"}', "line 2: unknown titel"),
        ('{"pin_id": "p", "image_bytes": "x"}', "line 2: unknown image_bytes"),
        ('{"pin_id": "p", "creation_time": "soon"}', "soon.* is no time"),
        ('{"pin_id": "p", "attributes": [1]}', "attributes is not an object"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    """With what is wrong with it."""
    path = write(tmp_path, '{"pin_id": "good"}', line)

    with pytest.raises(InvalidRequest, match=words):
        list(read_records(path, PinRecord))


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """Not a stack trace."""
    with pytest.raises(InvalidRequest, match="cannot be read"):
        list(read_records(tmp_path / "none", PinRecord))


def test_pairs_and_moments_of_options() -> None:
    """`key=value`, ISO 8601; anything else is refused by the option's name."""
    assert parse_pairs(["a=1", "b = x=y"], option="--attribute") == {"a": "1", "b": "x=y"}
    assert parse_moment("", option="--since") is None
    with pytest.raises(InvalidRequest, match="--attribute"):
        parse_pairs(["a"], option="--attribute")
    with pytest.raises(InvalidRequest, match="--since"):
        parse_moment("yesterday", option="--since")
