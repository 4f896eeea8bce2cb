"""Which pins may be in an answer: filters to masks over catalogue and live pins.

A filter is evaluated once a generation over whole columns, and remembered; live pins are added to
the mask as they come. Truth has three values: what is not known of a pin neither holds nor, under
NOT, fails to hold (Kleene's strong logic), so an unknown price is neither below nor not below 20.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_service.candidate import SharedMask
from candidate_service.catalogue import Catalogue
from candidate_service.filter_language import (
    Both,
    Comparison,
    Either,
    Field,
    FilterInvalid,
    Node,
    bind,
    parse,
    placeholders,
)
from candidate_service.filter_truth import evaluate, uses_age
from candidate_service.live.segment import LiveChanges, LivePin, LiveSegment
from candidate_service.pin_columns import PinColumns
from candidate_service.pin_groups import owner_groups

AGE_STEP_US: Final = 60_000_000
"""Ages are told at the last full minute, so that a mask by age serves for that long."""
_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks of the pins in its answer.

    Attributes:
        node: Expression without placeholders; None = any pin.
        excluded_owner_ids: Owners whose pins are left out.
    """

    node: Node | None = None
    excluded_owner_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Allowed:
    """Which rows may be proposed.

    Attributes:
        rows: bool[row_count], read-only; None = all.
        shared: The filter's part of it; None without a filter.
    """

    rows: NDArray[np.bool_] | None = None
    shared: SharedMask | None = None


class LiveColumns:
    """What is known of pins that changed since the generation, as columns; a live part.

    Columns are made when a filter first needs them, in pieces that are merged as they grow, so that
    n changes cost O(n log n) in all.
    """

    def __init__(self, base_count: int = 0) -> None:
        """Start empty; rows below *base_count* are the catalogue's."""
        self._base_count = base_count
        self._pins: list[LivePin] = []
        self._base_changes: list[int] = []
        self._pieces: list[tuple[int, int, PinColumns]] = []
        self._lock = Lock()

    def __len__(self) -> int:
        """Return how many changes there were."""
        return len(self._pins)

    @property
    def base_change_count(self) -> int:
        """How many of them changed a pin that the catalogue knows."""
        return len(self._base_changes)

    def apply(self, changes: LiveChanges) -> None:
        """Take changed pins in, in the order of the log."""
        self._base_changes.extend(p.row for p in changes.pins if p.row < self._base_count)
        self._pins.extend(changes.pins)

    def since(self, start: int) -> list[PinColumns]:
        """Return the changes from number *start* on, older ones perhaps again, in their order."""
        with self._lock:
            begin, end = (self._pieces[-1][1] if self._pieces else 0), len(self._pins)
            if end > begin:
                while self._pieces and end - begin >= begin - self._pieces[-1][0]:
                    begin = self._pieces.pop()[0]
                self._pieces.append((begin, end, PinColumns.of_pins(self._pins[begin:end])))
            return [columns for _, until, columns in self._pieces if until > start]


class _Mask:
    """One filter's mask, followed along the live changes."""

    def __init__(self, node: Node, columns: PinColumns, now_us: int) -> None:
        self._node = node
        self._now_us = now_us
        self._lock = Lock()
        self._done = 0
        self._mask = evaluate(node, columns, now_us)
        self._mask.setflags(write=False)

    def current(self, live: LiveSegment) -> NDArray[np.bool_]:
        columns = live.part(LiveColumns)
        with self._lock:
            end, row_count = len(columns), live.row_count
            if end > self._done or row_count > len(self._mask):
                mask = np.zeros(max(row_count, len(self._mask)), np.bool_)
                mask[: len(self._mask)] = self._mask
                for piece in columns.since(self._done):
                    assert piece.rows is not None
                    is_there = piece.rows < len(mask)
                    truth = evaluate(self._node, piece, self._now_us)
                    mask[piece.rows[is_there]] = truth[is_there]
                mask.setflags(write=False)
                self._mask, self._done = mask, end
            return self._mask


class _Generation:
    """The masks of one catalogue and the segment of its changes."""

    def __init__(
        self, catalogue: Catalogue, columns: PinColumns, live: LiveSegment, mask_count_max: int
    ) -> None:
        self.catalogue = catalogue
        self.live = live
        self.columns = columns
        self._mask_count_max = mask_count_max
        self._masks: OrderedDict[tuple[Node, int], _Mask] = OrderedDict()
        self._lock = Lock()

    def shared(self, node: Node, now_us: int) -> SharedMask:
        now_us = now_us - now_us % AGE_STEP_US if uses_age(node) else 0
        key = (node, now_us)
        with self._lock:
            mask = self._masks.get(key)
            if mask is not None:
                self._masks.move_to_end(key)
        if mask is None:
            mask = _Mask(node, self.columns, now_us)
            with self._lock:
                self._masks[key] = mask
                while len(self._masks) > self._mask_count_max:
                    self._masks.popitem(last=False)
        version = self.live.part(LiveColumns).base_change_count
        return SharedMask((node, now_us, version), mask.current(self.live))

    def of_owners(self, owners: Sequence[str]) -> NDArray[np.bool_]:
        """Return the rows that belong to none of some owners, bool[row_count]."""
        row_count = self.live.row_count
        mask = np.ones(max(row_count, self.columns.count), np.bool_)
        mask[self.columns.rows_of_word("owner_id", owners)] = False
        for piece in self.live.part(LiveColumns).since(0):
            assert piece.rows is not None
            theirs = np.zeros(piece.count, np.bool_)
            theirs[piece.rows_of_word("owner_id", owners)] = True
            is_there = piece.rows < len(mask)
            mask[piece.rows[is_there]] = ~theirs[is_there]
        return mask


class Filters:
    """Reads filters and keeps their masks; safe from any number of threads."""

    def __init__(self, named: Mapping[str, str], *, mask_count_max: int) -> None:
        """Read the configured filters.

        Args:
            named: Expression by name.
            mask_count_max: Masks kept of a generation, a byte a pin each, >= 1.

        Raises:
            FilterInvalid: A configured filter cannot be read.
        """
        self._named = {name: parse(text, field=f"filters.{name}") for name, text in named.items()}
        self._mask_count_max = mask_count_max
        self._generations: list[_Generation] = []
        self._prepared: tuple[Catalogue, PinColumns] | None = None
        self._lock = Lock()

    def prepare(self, catalogue: Catalogue) -> None:
        """Make the columns that are in use for a catalogue that is about to serve.

        So that nobody waits for them after the switch; 40 to 200 ms a column and million pins.
        """
        columns = PinColumns(catalogue.pins)
        with self._lock:
            newest = self._generations[0] if self._generations else None
        if newest is not None:
            columns.make_same(newest.columns)
        with self._lock:
            self._prepared = (catalogue, columns)

    def read(self, expression: str, name: str, parameters: Mapping[str, str]) -> Node | None:
        """Read what a request asks for: its expression and the named filter, both must hold.

        Raises:
            FilterInvalid: It cannot be read, the name is unknown, or a parameter is missing or is
                one that nothing asks for.
        """
        parts = []
        if name:
            if name not in self._named:
                known = ", ".join(sorted(self._named)) or "none is configured"
                raise FilterInvalid(
                    f"there is no filter {name!r}",
                    hint=f"filters of the configuration: {known}",
                    field="filter.name",
                    reason="UNKNOWN_FILTER",
                )
            parts.append(self._named[name])
        if expression.strip():
            parts.append(parse(expression))
        _refuse_unused(parts, parameters)
        return conjunction([bind(part, parameters) for part in parts])

    def allowed(
        self, catalogue: Catalogue, live: LiveSegment, wanted: Wanted, *, now_us: int
    ) -> Allowed:
        """Return which rows may be proposed.

        Args:
            catalogue: In whose rows.
            live: The changes since; its removed pins are never allowed.
            wanted: What else must hold.
            now_us: Against which ages are told, microseconds since the Unix epoch.

        Cost: a new filter some ms per million pins and comparison; then 0.1 ms per million pins.
        """
        shared = None
        mask = None
        if wanted.node is not None:
            shared = self._of(catalogue, live).shared(wanted.node, now_us)
            mask = shared.mask
        if wanted.excluded_owner_ids:
            theirs = self._of(catalogue, live).of_owners(wanted.excluded_owner_ids)
            mask = theirs if mask is None else _both(mask, theirs)
        removed = live.removed
        if removed is not None:
            mask = ~removed if mask is None else _both(mask, ~removed)
        if mask is not None:
            mask.setflags(write=False)
        return Allowed(mask, shared)

    def owners(
        self, catalogue: Catalogue, live: LiveSegment
    ) -> Callable[[NDArray[np.int32]], NDArray[np.int64]]:
        """Return what tells rows' owners apart, int64[n] from rows int32[n]."""
        return partial(owner_groups, self._of(catalogue, live).columns, live)

    def _of(self, catalogue: Catalogue, live: LiveSegment) -> _Generation:
        """Return the masks of a catalogue; those of the one before it serve calls still at work."""
        with self._lock:
            for known in self._generations:
                if known.catalogue is catalogue and known.live is live:
                    return known
            columns = next(
                (one.columns for one in self._generations if one.catalogue is catalogue), None
            )
            if columns is None and self._prepared and self._prepared[0] is catalogue:
                columns = self._prepared[1]
            columns = columns or PinColumns(catalogue.pins)
            made = _Generation(catalogue, columns, live, self._mask_count_max)
            self._generations = [made, *self._generations[:1]]
            return made


def _both(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Unite masks of which one may know rows that came after the other was made."""
    count = min(len(one), len(other))
    return one[:count] & other[:count]


def _refuse_unused(parts: Sequence[Node], parameters: Mapping[str, str]) -> None:
    used = {name for part in parts for name in placeholders(part)}
    unused = sorted(set(parameters) - used)
    if unused:
        raise FilterInvalid(
            f"nothing asks for ${unused[0]}",
            hint=f"placeholders: {', '.join(sorted(used)) or 'none'}",
            field="filter.parameters",
            reason="PARAMETER_UNUSED",
        )


def conjunction(parts: Sequence[Node]) -> Node | None:
    """Return what holds where all of some expressions hold; None without any."""
    return (parts[0] if len(parts) == 1 else Both(tuple(parts))) if parts else None


def age_between(age_min_s: float | None, age_max_s: float | None) -> list[Node]:
    """Return expressions for ages in seconds, each bound included; None = no bound."""
    field = Field("age_days")
    bounds = ((">=", age_min_s), ("<=", age_max_s))
    return [
        Comparison(field, sign, (bound / _DAY_S,)) for sign, bound in bounds if bound is not None
    ]


def local_to(language: str, country: str) -> list[Node]:
    """Return an expression for a viewer's own pins: in the language, or from the country.

    Empty when neither is known: then nobody can say what is local.
    """
    parts: list[Node] = []
    if language:
        parts.append(Comparison(Field("language"), ":", (language.partition("-")[0],)))
    if country:
        parts.append(Comparison(Field("country"), "=", (country,)))
    return [parts[0] if len(parts) == 1 else Either(tuple(parts))] if parts else []
