"""How settings look to people: ranges in words, values in TOML's notation."""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel


def schema_of(config_class: type[BaseModel], name: str) -> dict[str, Any]:
    """The JSON schema of one field."""
    schema = _schema(config_class)
    found: dict[str, Any] = schema["properties"][name]
    reference = found.get("$ref", "").removeprefix("#/$defs/")
    return schema["$defs"][reference] if reference else found


@cache
def _schema(config_class: type[BaseModel]) -> dict[str, Any]:
    """The schema of all fields; making it takes milliseconds, and every field asks."""
    return config_class.model_json_schema()


def types_of(schema: Mapping[str, Any]) -> Iterable[str]:
    """The JSON types that a field may have: `["number", "null"]`."""
    options = schema.get("anyOf", [schema])
    return [option["type"] for option in options if "type" in option]


def allowed(config_class: type[BaseModel], name: str) -> str:
    """The range of a field in words: `integer, 0 to 65535`."""
    schema = schema_of(config_class, name)
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    for option in schema.get("anyOf", ()):  # an optional field keeps its range one level down
        schema = {**option, **schema}
    kinds = dict.fromkeys(str(schema.get("format", kind)) for kind in types_of(schema))
    parts = [" or ".join(kinds) or "value"]
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    low_text = f"{'above ' if 'exclusiveMinimum' in schema else ''}{low}"
    if low is not None and high is not None:
        parts.append(f"{low_text} to {'below ' if 'exclusiveMaximum' in schema else ''}{high}")
    elif low is not None:
        parts.append(low_text if "exclusiveMinimum" in schema else f"{low} or more")
    elif high is not None:
        parts.append(f"{'below ' if 'exclusiveMaximum' in schema else 'at most '}{high}")
    if "minLength" in schema or "maxLength" in schema:
        parts.append(f"{schema.get('minLength', 0)} to {schema.get('maxLength', 'any')} characters")
    if "pattern" in schema:
        parts.append(f"matching {schema['pattern']}")
    return ", ".join(parts)


def shortened(value: Any) -> str:
    """A given value as it is shown in a fault, at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def toml(value: Any) -> str:
    """A value in TOML's notation."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml(str(k))} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
