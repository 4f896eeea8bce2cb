"""What the candidates of a request are compared with, looked up once for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ranking_service.catalogue import UNKNOWN
from ranking_service.profile import Profile
from ranking_service.query import NO_CONTEXT, Origin, RequestContext, Surface, Viewer
from ranking_service.world import World

MEDOID_COUNT_MAX: Final = 32
"""Interests that features look at, most important first. Guess."""
HISTORY_COUNT_MAX: Final = 200
"""Of the user's pins, the newest so many are compared by boards. Guess; 0.1 us each."""
NEAR_COUNT_MAX: Final = 50
"""Of these, the newest so many are compared one by one by vectors. Guess; 0.5 us a candidate."""
SESSION_COUNT_MAX: Final = 5
"""Newest actions that count as what the user is doing now. Guess."""
SESSION_SECONDS: Final = 3600.0
"""How long an action counts so. Guess."""
BOARD_PIN_COUNT_MAX: Final = 100
"""Pins of the board that the reader came from, at even steps, that are compared. Guess."""

LAST_KINDS: Final = ("save", "click", "long_click")
"""Actions of which the newest one is looked at by itself."""

_NO_ROWS: Final = np.empty(0, np.int32)


class Remembered(Protocol):
    """Past engagement with results under a query pin."""

    def scores(self, query_row: int, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """Memboost of each row under the query pin (-1 = home feed), float32[n]; 0 = not shown."""


@dataclass(frozen=True, slots=True)
class FeatureContext:
    """
    What a request's candidates are compared with. Rows are -1 where the catalogue knows no pin.

    Attributes:
        world: The artifacts, young pins included.
        surface: Where the answer will be shown.
        query_row: Row of the query pin; -1 = none.
        medoid_rows: Medoids known to the catalogue, int32[m], m at most MEDOID_COUNT_MAX.
        importances: Share of each in the importance of all of them, float32[m], sum 1.
        action_count: Actions behind all interests.
        language_code: The viewer's language in the catalogue's numbers; UNKNOWN = unknown.
        country_code: The viewer's country alike.
        now: Unix seconds.
        history_rows: The user's own pins, newest first, int32[h], without hidden ones.
        session_rows: What the user acted on just now, newest first, int32[s].
        last_rows: Pin of the newest action of each of LAST_KINDS; UNKNOWN = none.
        board_rows: Pins of the board that the reader came from, int32[b].
        origin: Where the reader came from.
        search_codes: Words of the latest searches in the numbers of the titles, int32[w].
        group_columns: Columns of the audience table for language, country and segment of the
            viewer; -1 = not known.
        memboost: None = nothing is remembered.
    """

    world: World
    surface: Surface
    query_row: int
    medoid_rows: NDArray[np.int32]
    importances: NDArray[np.float32]
    action_count: int
    language_code: int
    country_code: int
    now: float
    history_rows: NDArray[np.int32]
    session_rows: NDArray[np.int32]
    last_rows: tuple[int, int, int]
    board_rows: NDArray[np.int32]
    origin: Origin
    search_codes: NDArray[np.int32]
    group_columns: tuple[int, int, int]
    memboost: Remembered | None = None

    def split(
        self, rows: NDArray[np.int32], row_count: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Rows of an artifact of *row_count* rows, and places among the young pins; -1 = none."""
        live = self.world.live
        if live is None:
            is_whole = not rows.size or int(rows.max()) < row_count
            known = rows if is_whole else np.where(rows < row_count, rows, np.int32(UNKNOWN))
            return known, np.full(rows.size, UNKNOWN, np.int32)
        known = np.where(rows < row_count, rows, np.int32(UNKNOWN))
        is_live = rows >= live.base_count
        known[is_live] = UNKNOWN
        return known, np.where(is_live, rows - live.base_count, UNKNOWN).astype(np.int32)

    def vectors_of(self, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """Vectors of some pins, float32[n, d]; zero where a pin has none."""
        vectors = self.world.vectors
        assert vectors is not None
        known, young = self.split(rows, len(vectors))
        found = np.asarray(vectors[known])
        if (known < 0).any():
            found[known < 0] = 0.0
        if self.world.live is not None and (young >= 0).any():
            found[young >= 0] = self.world.live.vectors[young[young >= 0]]
        return found


def make_context(
    world: World,
    profile: Profile,
    viewer: Viewer,
    *,
    surface: Surface,
    query_row: int,
    now: float,
    context: RequestContext = NO_CONTEXT,
    memboost: Remembered | None = None,
) -> FeatureContext:
    """Look everything up once that is the same for all candidates of a request."""
    rows = world.rows(profile.medoid_ids)
    known = np.flatnonzero(rows >= 0)[:MEDOID_COUNT_MAX]
    importances = profile.importances[known].astype(np.float64)
    total = float(importances.sum())
    shares = importances / total if total > 0 else np.full(known.size, 1.0 / max(1, known.size))
    side = world.side
    return FeatureContext(
        world=world,
        surface=surface,
        query_row=query_row,
        medoid_rows=rows[known],
        importances=shares.astype(np.float32),
        action_count=int(profile.action_counts.sum()),
        language_code=world.catalogue.languages.code(viewer.language),
        country_code=world.catalogue.countries.code(viewer.country),
        now=now,
        history_rows=_known(world, _history(profile)),
        session_rows=_known(world, _session(profile, now)),
        last_rows=_last(world, profile),
        board_rows=_NO_ROWS
        if side.graph is None
        else side.graph.pins_of(context.board_id, BOARD_PIN_COUNT_MAX),
        origin=context.origin,
        search_codes=_NO_ROWS if side.words is None else side.words.codes_of(context.queries),
        group_columns=_groups(world, viewer, viewer.segment or profile.segment),
        memboost=memboost,
    )


def _history(profile: Profile) -> list[str]:
    """Pins that speak for the user's taste, newest first, each once."""
    hidden = set(profile.hidden_pin_ids)
    newest = profile.acted_pin_ids[: HISTORY_COUNT_MAX + len(hidden)]
    told = (*profile.recent_actions.pin_ids, *newest)
    kept = dict.fromkeys(pin_id for pin_id in told if pin_id not in hidden)
    return list(kept)[:HISTORY_COUNT_MAX]


def _session(profile: Profile, now: float) -> list[str]:
    """Pins of the newest actions that are not older than a session."""
    actions = profile.recent_actions
    is_recent = now - actions.times <= SESSION_SECONDS
    pins = [pin for pin, recent in zip(actions.pin_ids, is_recent, strict=True) if recent]
    return list(dict.fromkeys(pins))[:SESSION_COUNT_MAX]


def _last(world: World, profile: Profile) -> tuple[int, int, int]:
    """Row of the pin of the newest action of each kind."""
    actions = profile.recent_actions
    newest = dict(zip(reversed(actions.kinds), reversed(actions.pin_ids), strict=True))
    if not newest:
        return (UNKNOWN, UNKNOWN, UNKNOWN)
    save, click, long_click = world.rows([newest.get(kind, "") for kind in LAST_KINDS]).tolist()
    return (save, click, long_click)


def _known(world: World, pin_ids: Sequence[str]) -> NDArray[np.int32]:
    """Rows of those pins that the catalogue knows."""
    rows = world.rows(pin_ids)
    return rows[rows >= 0]


def _groups(world: World, viewer: Viewer, segment: str) -> tuple[int, int, int]:
    """Columns of the viewer's groups in the audience table."""
    audience = world.side.audience
    if audience is None:
        return (UNKNOWN, UNKNOWN, UNKNOWN)
    return (
        audience.column(f"language:{viewer.language}"),
        audience.column(f"country:{viewer.country}"),
        audience.column(f"segment:{segment}"),
    )
