"""What users do to pins, and which of it says what they like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray


class ActionType(IntEnum):
    """What was done; the numbers are those of the wire and of the stores, and never change."""

    SAVE = 1
    CLICK = 2
    LONG_CLICK = 3
    CLOSE_UP = 4
    HIDE = 5
    LIKE = 6
    COMMENT = 7
    SHARE = 8
    PURCHASE = 9
    ADD_TO_CART = 10
    DOWNLOAD = 11
    VIEW = 12
    UNSAVE = 13
    REPORT = 14

    @property
    def label(self) -> str:
        """The name in event logs: `long_click`."""
        return self.name.lower()


STRENGTHS: Final = {
    ActionType.SAVE: 1.0,
    ActionType.PURCHASE: 1.0,
    ActionType.LIKE: 0.8,
    ActionType.SHARE: 0.8,
    ActionType.COMMENT: 0.7,
    ActionType.DOWNLOAD: 0.7,
    ActionType.LONG_CLICK: 0.6,
    ActionType.ADD_TO_CART: 0.6,
    ActionType.CLICK: 0.3,
    ActionType.CLOSE_UP: 0.3,
    ActionType.VIEW: 0.1,
    ActionType.UNSAVE: -0.5,
    ActionType.HIDE: -1.0,
    ActionType.REPORT: -1.0,
}
"""Default strength of each type. Guesses; their order follows what an action costs the user."""

EVIDENCE_STRENGTH_MIN: Final = 0.3
"""Weaker actions form no interests. Guess: a view in passing is not yet a choice."""

HIDING: Final = (ActionType.HIDE, ActionType.REPORT)
VOIDING: Final = (ActionType.HIDE, ActionType.REPORT, ActionType.UNSAVE)


@dataclass(frozen=True, slots=True)
class Action:
    """
    One thing that one user did to one pin.

    Attributes:
        time_us: When, microseconds since the Unix epoch.
        strength: How strongly, -1 to 1; None = the default of its type.
        board_id: The board of a save or unsave; may be empty.
        list_id: The answer in which the pin was shown; may be empty.
    """

    action_id: str
    user_id: str
    pin_id: str
    action_type: ActionType
    time_us: int
    strength: float | None = None
    board_id: str = ""
    list_id: str = ""


@dataclass(frozen=True, slots=True)
class ActionColumns:
    """
    Actions of one user as parallel arrays, oldest first (by time, then position).

    Attributes:
        pin_ids: The pin of each action.
        action_types: Numbers of ActionType, uint8[n].
        times_us: Microseconds since the Unix epoch, int64[n].
        strengths: Resolved strengths, float32[n].
        positions: Position in the live log, int64[n]; 0 for imported actions.
        action_ids, board_ids, list_ids: As in Action.
    """

    action_ids: Sequence[str]
    pin_ids: Sequence[str]
    board_ids: Sequence[str]
    list_ids: Sequence[str]
    action_types: NDArray[np.uint8]
    times_us: NDArray[np.int64]
    strengths: NDArray[np.float32]
    positions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pin_ids)

    def take(self, rows: NDArray[np.integer[Any]]) -> ActionColumns:
        """The actions at the given rows, in the order given."""

        def pick(ids: Sequence[str]) -> list[str]:
            return [ids[row] for row in rows.tolist()]

        return ActionColumns(
            pick(self.action_ids),
            pick(self.pin_ids),
            pick(self.board_ids),
            pick(self.list_ids),
            self.action_types[rows],
            self.times_us[rows],
            self.strengths[rows],
            self.positions[rows],
        )

    def newest(self, count: int) -> ActionColumns:
        """The newest *count* actions, oldest first."""
        start = max(0, len(self) - count)
        return self if start == 0 else self.take(np.arange(start, len(self)))

    def ordered(self) -> ActionColumns:
        """The same actions in the order that the class promises."""
        later, further = np.diff(self.times_us), np.diff(self.positions)
        if bool(np.all((later > 0) | ((later == 0) & (further >= 0)))):
            return self
        return self.take(np.lexsort((self.positions, self.times_us)))


def join(first: ActionColumns, second: ActionColumns) -> ActionColumns:
    """The actions of both, oldest first; an action that both hold counts once, as in *first*."""
    known = set(first.action_ids) if len(first) and len(second) else set()
    if not known.isdisjoint(second.action_ids):
        fresh = [row for row, name in enumerate(second.action_ids) if name not in known]
        second = second.take(np.array(fresh, np.int64))
    return ActionColumns(
        [*first.action_ids, *second.action_ids],
        [*first.pin_ids, *second.pin_ids],
        [*first.board_ids, *second.board_ids],
        [*first.list_ids, *second.list_ids],
        np.concatenate([first.action_types, second.action_types]),
        np.concatenate([first.times_us, second.times_us]),
        np.concatenate([first.strengths, second.strengths]),
        np.concatenate([first.positions, second.positions]),
    ).ordered()


def columns_of(actions: Sequence[Action], positions: Sequence[int] | None = None) -> ActionColumns:
    """
    Turn actions of one user into columns.

    Args:
        actions: In any order.
        positions: Position of each in the live log; None = all imported.
    """
    return ActionColumns(
        [action.action_id for action in actions],
        [action.pin_id for action in actions],
        [action.board_id for action in actions],
        [action.list_id for action in actions],
        np.array([action.action_type for action in actions], np.uint8),
        np.array([action.time_us for action in actions], np.int64),
        np.array([strength_of(action) for action in actions], np.float32),
        np.array(positions if positions is not None else [0] * len(actions), np.int64),
    ).ordered()


def strength_of(action: Action) -> float:
    """The strength of an action: its own, or its type's."""
    return STRENGTHS[action.action_type] if action.strength is None else action.strength


def evidence(actions: ActionColumns) -> NDArray[np.bool_]:
    """
    Tell which actions speak for an interest.

    An action does if its strength is at least 0.3, if it is not itself a hide, report or unsave,
    and if no later action of the user voids it: a hide or report voids all before it on that pin,
    an unsave voids earlier saves of the pin (those to its board, if it names one). Acting on the
    pin again afterwards counts again.

    Args:
        actions: Oldest first.

    Returns:
        bool[n].
    """
    voiding = np.isin(actions.action_types, np.array(VOIDING, np.uint8))
    kept: NDArray[np.bool_] = (actions.strengths >= EVIDENCE_STRENGTH_MIN) & ~voiding
    rows_of: dict[str, list[int]] = {
        actions.pin_ids[row]: [] for row in np.flatnonzero(voiding).tolist()
    }
    for row, pin_id in enumerate(actions.pin_ids if rows_of else ()):
        if pin_id in rows_of:
            rows_of[pin_id].append(row)
    for rows in rows_of.values():
        for place, row in enumerate(rows):
            if voiding[row]:
                is_voided = _voided_by(actions, row)
                kept[[earlier for earlier in rows[:place] if is_voided(earlier)]] = False
    return kept


def _voided_by(actions: ActionColumns, row: int) -> Callable[[int], bool]:
    """Which earlier actions on the same pin the action at *row* voids."""
    if actions.action_types[row] != ActionType.UNSAVE:
        return lambda _: True
    board_id = actions.board_ids[row]
    return lambda earlier: bool(
        actions.action_types[earlier] == ActionType.SAVE
        and board_id in {"", actions.board_ids[earlier]}
    )


def acted_pins(actions: ActionColumns, limit: int) -> tuple[list[str], list[str]]:
    """
    The pins that the user has acted on, newest first, and which of them are hidden.

    A view in passing is no action here. A pin is hidden if its last hide or report was followed by
    nothing that speaks for it.

    Args:
        actions: Oldest first.
        limit: How many pins at the most.

    Returns:
        Acted pins, and the hidden ones among them in the same order.
    """
    if not np.isin(actions.action_types, np.array(HIDING, np.uint8)).any():
        pins = np.array(actions.pin_ids, object)[actions.action_types != ActionType.VIEW]
        return list(dict.fromkeys(pins[::-1].tolist()))[:limit], []
    acted: dict[str, bool] = {}
    kept = evidence(actions).tolist()
    wished: set[str] = set()
    types = actions.action_types.tolist()
    for row in range(len(actions) - 1, -1, -1):
        if types[row] == ActionType.VIEW:
            continue
        pin_id = actions.pin_ids[row]
        if kept[row]:
            wished.add(pin_id)
        is_hiding = types[row] in HIDING and pin_id not in wished
        if pin_id in acted:
            acted[pin_id] = acted[pin_id] or is_hiding
        elif len(acted) < limit:
            acted[pin_id] = is_hiding
    return list(acted), [pin_id for pin_id, is_hidden in acted.items() if is_hidden]


def recent_actions(
    actions: ActionColumns, limit: int, *, dropped: NDArray[np.bool_] | None = None
) -> ActionColumns:
    """
    The newest actions that speak for an interest (`evidence`), at most *limit*, newest first.

    Args:
        actions: Oldest first.
        limit: How many at the most; 0 gives none.
        dropped: Actions to leave out, bool[n]; None = none.
    """
    if not limit:
        return actions.take(np.empty(0, np.int64))
    kept = evidence(actions)
    if dropped is not None:
        kept &= ~dropped
    return actions.take(np.flatnonzero(kept)[::-1][:limit])


def actions_in(columns: ActionColumns, user_id: str) -> list[Action]:
    """The actions of columns one by one, as those of a user."""
    return [
        Action(
            columns.action_ids[row],
            user_id,
            columns.pin_ids[row],
            ActionType(int(columns.action_types[row])),
            int(columns.times_us[row]),
            float(columns.strengths[row]),
            columns.board_ids[row],
            columns.list_ids[row],
        )
        for row in range(len(columns))
    ]
