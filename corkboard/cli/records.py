"""Files of JSON lines as the records that UpsertPins and UpsertSaves take."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from corkboard.questions import PinRecord, SaveRecord
from service_runtime.errors import InvalidRequest

RECORDS_PER_CALL = 1_000
TIMES = frozenset({"creation_time", "expiration_time", "save_time"})
NOT_IN_FILES = frozenset({"image_bytes"})
RecordT = TypeVar("RecordT", PinRecord, SaveRecord)


def read_records(path: Path, kind: type[RecordT]) -> Iterator[list[RecordT]]:
    """Batches of the records of a file, `-` being stdin.

    Args:
        path: One JSON object a line, keys as the fields of *kind*; times in ISO 8601.
        kind: PinRecord or SaveRecord.

    Raises:
        InvalidRequest: A line is no object, has an unknown key, lacks the pin or holds a wrong
            time; the message names file and line.
    """
    batch: list[RecordT] = []
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            batch.append(_record(line, kind, f"{path}, line {number}"))
        if len(batch) == RECORDS_PER_CALL:
            yield batch
            batch = []
    if batch:
        yield batch


def parse_pairs(pairs: list[str] | None, *, option: str) -> dict[str, str]:
    """`key=value` words of a repeated option.

    Raises:
        InvalidRequest: One has no `=`.
    """
    found = {}
    for pair in pairs or []:
        key, sign, value = pair.partition("=")
        if not sign:
            raise InvalidRequest(f"{option} {pair!r} is not key=value")
        found[key.strip()] = value.strip()
    return found


def parse_moment(text: str, *, option: str) -> datetime | None:
    """A time in ISO 8601, UTC unless it names a zone; None for "".

    Raises:
        InvalidRequest: It is no such time.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(
            f"{option} {text!r} is no time in ISO 8601", hint="such as 2026-01-31T12:00:00Z"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _lines(path: Path) -> Iterator[str]:
    if str(path) == "-":
        yield from sys.stdin
        return
    try:
        with path.open(encoding="utf-8") as file:
            yield from file
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} cannot be read: {error}") from error


def _record(line: str, kind: type[RecordT], where: str) -> RecordT:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise InvalidRequest(f"{where}: not JSON: {error}") from error
    known = {field.name for field in fields(kind)} - NOT_IN_FILES
    if not isinstance(values, dict):
        raise InvalidRequest(f"{where}: not an object")
    if unknown := sorted(set(values) - known):
        raise InvalidRequest(
            f"{where}: unknown {', '.join(unknown)}", hint=f"known are {', '.join(sorted(known))}"
        )
    if not values.get("pin_id"):
        raise InvalidRequest(f"{where}: pin_id is missing")
    try:
        return kind(**_values(values, where))
    except TypeError as error:
        raise InvalidRequest(f"{where}: {error}") from error


def _values(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Values without nulls, with times as times and attributes as text."""
    found = {key: value for key, value in values.items() if value is not None}
    for key in TIMES & found.keys():
        found[key] = parse_moment(str(found[key]), option=f"{where}: {key}")
    if "attributes" in found:
        if not isinstance(found["attributes"], dict):
            raise InvalidRequest(f"{where}: attributes is not an object")
        found["attributes"] = {key: str(value) for key, value in found["attributes"].items()}
    return found
