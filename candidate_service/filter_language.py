"""The filter language: text to a checked expression; docs/filters.md explains it to its users.

The only module that imports lark. A filter is data from strangers: it is parsed by a grammar and
never evaluated as code, its size and depth are bounded, and what is wrong with it is told with the
place where it is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Final, TypeAlias

from lark import Lark, Token, Transformer, UnexpectedInput, v_args
from lark.exceptions import VisitError

from service_runtime.errors import InvalidRequest

COMPARISON_COUNT_MAX: Final = 64
"""Comparisons in one filter; each costs a pass over the catalogue when it is new."""
DEPTH_MAX: Final = 32
"""Brackets and NOTs within each other; bounds the recursion of whoever walks the expression."""

_GRAMMAR: Final = r"""
    start: either
    ?either: both ("OR" both)*
    ?both: single ("AND" single)*
    ?single: "NOT" single            -> negation
        | "(" either ")"
        | "KNOWN" "(" field ")"      -> known
        | field OPERATOR value       -> comparison
        | field "IN" values          -> membership
    field: NAME ("." NAME)?
    ?value: one | values
    values: "(" one ("," one)* ")"
    one: STRING | NUMBER | PLACEHOLDER
    OPERATOR: "=" | "!=" | "<=" | ">=" | "<" | ">" | ":"
    NAME: /[a-z][a-z0-9_]*/
    PLACEHOLDER: /\$[a-z][a-z0-9_]*/
    NUMBER: /-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?/
    STRING: /"([^"\\\n]|\\["\\])*"/ | /'([^'\\\n]|\\['\\])*'/
    %ignore /[ \t\r\n]+/
"""


class Kind(Enum):
    """What a field holds, and so how it can be compared."""

    TAG = "one of a few words"
    WORDS = "free text"
    SET = "several words"
    NUMBER = "a number"
    ATTRIBUTE = "a word or a number"


FIELDS: Final = {
    "language": Kind.TAG,
    "country": Kind.TAG,
    "owner_id": Kind.TAG,
    "title": Kind.WORDS,
    "description": Kind.WORDS,
    "topics": Kind.SET,
    "quality": Kind.NUMBER,
    "age_days": Kind.NUMBER,
}
"""Columns of the catalogue that a filter may name; `attributes.<name>` beside them."""
_ORDER: Final = frozenset({"<", "<=", ">", ">="})
_OPERATORS: Final = {
    Kind.TAG: frozenset({"=", "!=", ":"}),
    Kind.WORDS: frozenset({":"}),
    Kind.SET: frozenset({":"}),
    Kind.NUMBER: frozenset({"=", "!=", *_ORDER}),
    Kind.ATTRIBUTE: frozenset({"=", "!=", ":", *_ORDER}),
}


@dataclass(frozen=True, slots=True)
class Field:
    """What is compared: a column, or an attribute by its name.

    Attributes:
        name: A key of FIELDS, or `attributes`.
        key: The attribute's name; "" with a column.
    """

    name: str
    key: str = ""

    @property
    def kind(self) -> Kind:
        """What it holds."""
        return Kind.ATTRIBUTE if self.key else FIELDS[self.name]

    def __str__(self) -> str:
        """As it is written."""
        return f"{self.name}.{self.key}" if self.key else self.name


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A value that comes with the request."""

    name: str


Value: TypeAlias = str | float | Placeholder


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field beside values; true where it stands so to any of them.

    `!=` and `NOT (… = …)` are the same: neither holds where the field is not known.
    """

    field: Field
    operator: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """True where anything is known of the field, else false."""

    field: Field


@dataclass(frozen=True, slots=True)
class Not:
    """True where the part is false; unknown stays unknown."""

    part: Node


@dataclass(frozen=True, slots=True)
class Both:
    """True where all parts are."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """True where any part is."""

    parts: tuple[Node, ...]


Node: TypeAlias = Comparison | Known | Not | Both | Either


class FilterInvalid(InvalidRequest):
    """A filter cannot be read, or asks for what cannot be compared."""


class _Fault(Exception):  # noqa: N818  never leaves this module
    """What is wrong at a place; becomes a FilterInvalid once the text is at hand."""

    def __init__(self, at: int, reason: str) -> None:
        super().__init__(reason)
        self.at = at
        self.reason = reason


def parse(text: str, *, field: str = "filter.expression") -> Node:
    """Read a filter.

    Args:
        text: What the caller wrote, not blank.
        field: Where it came from, for the error.

    Raises:
        FilterInvalid: It is no filter; the error says at which character and why.
    """
    try:
        return _parsed(text)
    except _Fault as fault:
        rest = text[fault.at : fault.at + 20]
        where = f"at {rest!r}" if rest.strip() else "at its end"
        raise FilterInvalid(
            f"character {fault.at + 1}, {where}: {fault.reason}",
            hint="docs/filters.md has the language",
            field=field,
            reason="FILTER_INVALID",
        ) from None


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Node:
    try:
        node: Node = _parser().parse(text)  # type: ignore[assignment]  # the callbacks' result
    except UnexpectedInput as fault:
        is_at_end = getattr(getattr(fault, "token", None), "type", "") == "$END"
        at = len(text) if is_at_end else fault.pos_in_stream or 0
        raise _Fault(at, _expected(fault)) from None
    except VisitError as fault:
        raise fault.orig_exc from None
    _refuse_too_large(node)
    return node


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", transformer=_Builder(), maybe_placeholders=False)


_SPELT: Final = {
    "LPAR": "(",
    "RPAR": ")",
    "OPERATOR": "a comparison such as =",
    "NAME": "a field",
    "STRING": 'a text such as "ja"',
    "NUMBER": "a number",
    "PLACEHOLDER": "a $placeholder",
    "COMMA": ",",
    "DOT": ".",
    "$END": "the end",
}


def _expected(fault: UnexpectedInput) -> str:
    wanted: set[str] = getattr(fault, "accepts", None) or getattr(fault, "allowed", None) or set()
    wanted = wanted or set(getattr(fault, "expected", ()))
    return "expected " + " or ".join(sorted(_SPELT.get(name, name) for name in wanted))


@v_args(inline=True)
class _Builder(Transformer[Token, Any]):
    """Turns what was read into nodes while it is read, so no tree is walked in recursion."""

    def start(self, node: Node) -> Node:
        return node

    def either(self, *parts: Node) -> Node:
        return Either(_counted(parts))

    def both(self, *parts: Node) -> Node:
        return Both(_counted(parts))

    def negation(self, part: Node) -> Node:
        return Not(_counted((part,))[0])

    def known(self, field: Field) -> Node:
        return Known(field)

    def field(self, name: Token, key: Token | None = None) -> Field:
        at = name.start_pos or 0
        if name == "attributes":
            if key is None:
                raise _Fault(at, "name one of the attributes, such as attributes.brand")
            return Field("attributes", str(key))
        if name not in FIELDS or key is not None:
            known = ", ".join((*FIELDS, "attributes.<name>"))
            raise _Fault(at, f"there is no such field; fields: {known}")
        return Field(str(name))

    def one(self, token: Token) -> tuple[int, Value]:
        at, text = token.start_pos or 0, str(token)
        if token.type == "PLACEHOLDER":
            return at, Placeholder(text[1:])
        if token.type == "STRING":
            quote = text[0]
            return at, text[1:-1].replace(f"\\{quote}", quote).replace("\\\\", "\\")
        number = float(text)
        if not math.isfinite(number):
            raise _Fault(at, "the number is too large")
        return at, number

    def values(self, *values: tuple[int, Value]) -> list[tuple[int, Value]]:
        return list(values)

    def comparison(
        self, field: Field, operator: Token, value: tuple[int, Value] | list[tuple[int, Value]]
    ) -> Node:
        values = value if isinstance(value, list) else [value]
        sign, at = str(operator), operator.start_pos or 0
        if sign not in _OPERATORS[field.kind]:
            usable = ", ".join(sorted(_OPERATORS[field.kind]))
            raise _Fault(at, f"{field} is {field.kind.value}: compare it by {usable}")
        if isinstance(value, list) and sign != ":":
            raise _Fault(at, "several values need IN or :")
        return _compared(field, sign, values)

    def membership(self, field: Field, values: list[tuple[int, Value]]) -> Node:
        sign = "=" if "=" in _OPERATORS[field.kind] else ":"
        return _compared(field, sign, values)


def _compared(field: Field, sign: str, values: Sequence[tuple[int, Value]]) -> Comparison:
    for at, value in values:
        _check_value(field, sign, value, at)
    return Comparison(field, sign, tuple(value for _, value in values))


def _check_value(field: Field, sign: str, value: Value, at: int) -> None:
    if isinstance(value, Placeholder):
        return
    if field.kind is Kind.NUMBER and isinstance(value, str):
        raise _Fault(at, f"{field} is a number, without quotation marks")
    if isinstance(value, float) and (field.kind in {Kind.TAG, Kind.WORDS, Kind.SET} or sign == ":"):
        raise _Fault(at, f"{field} is compared with text, in quotation marks")


def _counted(parts: tuple[Node, ...]) -> tuple[Node, ...]:
    """Refuse what is nested too deeply while it is still being read."""
    if max(_depth(part, DEPTH_MAX) for part in parts) >= DEPTH_MAX:
        raise _Fault(0, f"brackets and NOTs are nested more than {DEPTH_MAX} deep")
    return parts


def _depth(node: Node, bound: int) -> int:
    if bound == 0 or isinstance(node, Comparison | Known):
        return 0
    parts = (node.part,) if isinstance(node, Not) else node.parts
    return 1 + max(_depth(part, bound - 1) for part in parts)


def _refuse_too_large(node: Node) -> None:
    count = sum(len(leaf.values) if isinstance(leaf, Comparison) else 1 for leaf in leaves(node))
    if count > COMPARISON_COUNT_MAX:
        raise _Fault(0, f"{count} comparisons; up to {COMPARISON_COUNT_MAX} are allowed")


def leaves(node: Node) -> list[Comparison | Known]:
    """Return the comparisons of an expression, from left to right."""
    if isinstance(node, Comparison | Known):
        return [node]
    parts = (node.part,) if isinstance(node, Not) else node.parts
    return [leaf for part in parts for leaf in leaves(part)]


def placeholders(node: Node) -> set[str]:
    """Return the names of the values that must come with the request."""
    return {
        value.name
        for leaf in leaves(node)
        if isinstance(leaf, Comparison)
        for value in leaf.values
        if isinstance(value, Placeholder)
    }


def bind(node: Node, parameters: Mapping[str, str]) -> Node:
    """Put the values of the placeholders in.

    A value is always one value: it is put into the expression, not into its text.

    Raises:
        FilterInvalid: One is missing, or no number where a number is needed.
    """
    if isinstance(node, Known):
        return node
    if isinstance(node, Not):
        return Not(bind(node.part, parameters))
    if isinstance(node, Comparison):
        values = tuple(_bound(node, value, parameters) for value in node.values)
        return Comparison(node.field, node.operator, values)
    parts = tuple(bind(part, parameters) for part in node.parts)
    return Both(parts) if isinstance(node, Both) else Either(parts)


def _bound(leaf: Comparison, value: Value, parameters: Mapping[str, str]) -> Value:
    if not isinstance(value, Placeholder):
        return value
    given = parameters.get(value.name)
    if given is None:
        raise FilterInvalid(
            f"no value is given for ${value.name}",
            hint="give it in filter.parameters",
            field="filter.parameters",
            reason="PARAMETER_MISSING",
        )
    number = as_number(given)
    if leaf.field.kind is Kind.NUMBER and number is None:
        raise FilterInvalid(
            f"${value.name} must be a number, is {given!r}",
            field="filter.parameters",
            reason="PARAMETER_INVALID",
        )
    is_ordered = leaf.field.kind is Kind.ATTRIBUTE and leaf.operator in _ORDER
    takes_number = leaf.field.kind is Kind.NUMBER or is_ordered
    return number if takes_number and number is not None else given


def as_number(text: str) -> float | None:
    """Return the finite number that a text stands for, None where it stands for none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
