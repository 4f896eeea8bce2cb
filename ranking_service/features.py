"""
What the ranker knows of each candidate: one definition, used for serving and for training.

Training never computes features: it reads the rows that serving logged, which came from
`feature_rows`.  Every family fills its own columns for the whole pool at once, and a candidate's
row depends on nothing but that candidate and the context, to the bit.

Values that are not known are neutral: the value that says least, given in the README's table.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranking_service import kernels, overlap_kernels
from ranking_service.catalogue import STATISTIC_COUNTS, UNKNOWN
from ranking_service.content_features import content_features
from ranking_service.feature_context import NEAR_COUNT_MAX, FeatureContext, make_context
from ranking_service.feature_table import (
    FAMILIES,
    FEATURE_NAMES,
    FEATURES,
    NAMED_SOURCES,
    Feature,
    columns_of,
)
from ranking_service.pool import RANK_OFFSET, Pool
from ranking_service.query import Origin, Surface

__all__ = [
    "FAMILIES",
    "FEATURES",
    "FEATURE_NAMES",
    "NAMED_SOURCES",
    "Feature",
    "FeatureContext",
    "columns_of",
    "feature_rows",
    "make_context",
]

DAY_SECONDS: Final = 86_400.0
FRESH_DAYS: Final = 7.0
"""Up to which age a pin is fresh. Source: Pinterest, February 2018."""
LONG_AGO_DAYS: Final = 3650.0
"""Stands for "never" where an age is wanted."""
BOARDS_PER_PIN_MAX: Final = 512
"""Boards of a pin that are looked at, at even steps; a pin on more is compared by a sample."""
RATE_OFFSET: Final = 10.0
"""Actions that every pin is given before a share of them is taken. Guess."""

_COLUMN: Final = {name: column for column, name in enumerate(FEATURE_NAMES)}
_SINGLES: Final = (
    "query_cosine",
    "last_save_cosine",
    "last_click_cosine",
    "last_long_click_cosine",
)
_DIRECTIONS: Final = ("history_cosine_mean", "history_regression", "history_interest")
_OWN_BOARDS: Final = (
    "history_item_neighbours",
    "history_walk",
    "history_small_boards",
    "history_user_neighbours",
    "history_closest_board",
    "history_board_share",
    "history_pair_share",
)
_DECAYED: Final = tuple(name for name in STATISTIC_COUNTS if name.startswith("decayed_"))


def feature_rows(
    pool: Pool, context: FeatureContext, *, left_out: Collection[str] = ()
) -> NDArray[np.float32]:
    """
    Describe each candidate of a pool.

    Args:
        pool: The candidates.
        context: What they are compared with.
        left_out: Families or features that are 0 for all of them.

    Returns:
        float32[n, f], finite, columns as in FEATURE_NAMES, C order.

    Cost: about 0.6 ms for 500 candidates, 16 medoids, 30 pins of the user, 128 dimensions.
    """
    # Column by column while it is filled, row by row for whoever reads it.
    out = np.zeros((len(FEATURE_NAMES), len(pool)), np.float32).T
    fill_sources(out, pool, _COLUMN)
    _fill_situation(out, pool, context)
    _fill_vectors(out, pool, context)
    _fill_boards(out, pool, context)
    _fill_history(out, pool, context)
    _fill_pin(out, pool, context)
    _fill_topics(out, pool, context)
    _fill_words(out, pool, context)
    for name, values in content_features(pool, context).items():
        _put(out, name, values)
    if left_out:
        out[:, columns_of(left_out)] = 0.0
    return np.ascontiguousarray(out)


def _put(out: NDArray[np.float32], name: str, values: Any) -> None:
    out[:, _COLUMN[name]] = values


def fill_sources(out: NDArray[np.float32], pool: Pool, column: Mapping[str, int]) -> None:
    """Write rank and score in each source, and how much the sources agree.

    Args:
        out: float32[n, c]; changed.
        pool: n candidates.
        column: Where each of these features stands; what is not named of a source is left out.
    """
    overlap_kernels.source_features(
        pool.ranks,
        pool.scores,
        pool.top_scores,
        np.array([column.get(f"{source}_rank", -1) for source in pool.sources], np.int64),
        np.array([column.get(f"{source}_score", -1) for source in pool.sources], np.int64),
        (column["source_count"], column["rank_fusion"]),
        RANK_OFFSET,
        out,
    )


def _fill_situation(out: NDArray[np.float32], pool: Pool, context: FeatureContext) -> None:
    """Where the answer will be shown, where the reader came from, and what is remembered."""
    _put(out, "is_related", context.surface == Surface.RELATED_PINS)
    _put(out, "from_search", context.origin == Origin.SEARCH)
    _put(out, "from_board", context.origin == Origin.BOARD)
    _put(out, "from_home", context.origin == Origin.HOME)
    _put(out, "interest_count", np.log1p(context.medoid_rows.size))
    _put(out, "action_count", np.log1p(context.action_count))
    _put(out, "history_count", np.log1p(context.history_rows.size))
    _put(out, "session_count", context.session_rows.size)
    if context.memboost is not None:
        _put(out, "memboost", context.memboost.scores(context.query_row, pool.rows))


def _fill_vectors(out: NDArray[np.float32], pool: Pool, context: FeatureContext) -> None:
    """Cosines to the user's medoids, to single pins, and to the user's own pins."""
    vectors = context.world.vectors
    if vectors is None or not len(vectors) or not len(pool):
        return
    known, young = context.split(pool.rows, len(vectors))
    tables = [(vectors, known)]
    if context.world.live is not None and (young >= 0).any():
        tables.append((context.world.live.vectors, young))
    _put(out, "has_vector", _sum(kernels.has_vector(table, rows) for table, rows in tables))
    behind, places = context.vectors_of(pool.queried_rows), pool.query_behind()
    paired = overlap_kernels.paired_cosines
    _put(out, "behind_cosine", _sum(paired(table, rows, behind, places) for table, rows in tables))
    groups = _targets(context)
    if not groups:
        return
    # All targets in one pass: what costs is to fetch the candidates' vectors.
    targets = np.concatenate(list(groups.values()))
    cosines = _sum(kernels.cosines(table, rows, targets) for table, rows in tables)
    ends = np.cumsum([len(group) for group in groups.values()]).tolist()
    spans = dict(zip(groups, zip([0, *ends[:-1]], ends, strict=True), strict=True))
    for name, (begin, end) in spans.items():
        if name == "medoids":
            found = overlap_kernels.nearest(cosines, begin, end, context.importances)
            _put(out, "medoid_cosine_max", found[:, 0])
            _put(out, "medoid_importance", found[:, 1])
            _put(out, "medoid_cosine_mean", found[:, 2])
        elif name == "own":
            found = overlap_kernels.closest(cosines, begin, end)
            _put(out, "history_cosine_max", found[:, 0])
            _put(out, "history_cosine_squares", found[:, 1])
        elif name == "session":
            _put(out, "session_cosine_max", overlap_kernels.closest(cosines, begin, end)[:, 0])
        elif name == "directions":
            for column, feature in zip(range(begin, end), _DIRECTIONS, strict=False):
                _put(out, feature, cosines[:, column])
        else:
            _put(out, name, cosines[:, begin])


def _targets(context: FeatureContext) -> dict[str, NDArray[np.float32]]:
    """The vectors that candidates are compared with, by what they are; none that is empty."""
    singles = zip(_SINGLES, (context.query_row, *context.last_rows), strict=True)
    rows = {name: np.array([row], np.int32) for name, row in singles if row >= 0}
    rows |= {"medoids": context.medoid_rows, "session": context.session_rows}
    rows |= {"own": context.history_rows}
    rows = {name: some for name, some in rows.items() if some.size}
    if not rows:
        return {}
    ends = np.cumsum([some.size for some in rows.values()])
    fetched = np.split(context.vectors_of(np.concatenate(list(rows.values()))), ends[:-1])
    groups = dict(zip(rows, fetched, strict=True))
    if "own" in groups:
        own = groups.pop("own")
        own = own[(own != 0).any(axis=1)]
        if len(own):
            geometry = context.world.side.geometry
            groups["own"] = own[:NEAR_COUNT_MAX]
            groups["directions"] = (
                own.mean(axis=0)[None] if geometry is None else geometry.directions(own)
            )
    return groups


def _fill_boards(out: NDArray[np.float32], pool: Pool, context: FeatureContext) -> None:
    """What stands on boards beside the user's pins, the query pin, the session, the board."""
    graph = context.world.side.graph
    if graph is None or not len(pool):
        return
    query = np.array([context.query_row] if context.query_row >= 0 else [], np.int32)
    sets = (
        (context.history_rows, _OWN_BOARDS),
        (query, ("query_cooccurrence", "query_walk")),
        (context.session_rows, ("session_cooccurrence", "session_walk")),
        (context.board_rows, ("board_cooccurrence_own", "board_walk")),
    )
    given = [(rows, names) for rows, names in sets if rows.size]
    if not given:
        return
    starts = np.cumsum([0, *(rows.size for rows, _ in given)]).astype(np.int64)
    edges = (graph.pin_offsets, graph.pin_boards)
    table = overlap_kernels.board_overlap(
        np.concatenate([rows for rows, _ in given]), starts, *edges, BOARDS_PER_PIN_MAX
    )
    scores = overlap_kernels.overlap_scores(
        pool.rows, *table, starts, *edges, graph.board_offsets, BOARDS_PER_PIN_MAX
    )
    for number, (_, names) in enumerate(given):
        first = _COLUMN[names[0]]  # the columns of a set stand side by side
        out[:, first : first + len(names)] = scores[:, number, : len(names)]


def _fill_history(out: NDArray[np.float32], pool: Pool, context: FeatureContext) -> None:
    """What everybody did to each pin."""
    first = _COLUMN[f"log_{STATISTIC_COUNTS[0]}"]
    _put(out, "save_age", np.log1p(LONG_AGO_DAYS))
    statistics = context.world.statistics
    if statistics is None or not len(statistics.counts):
        return
    rows, _ = context.split(pool.rows, len(statistics.counts))
    is_known = rows >= 0
    counts = np.asarray(statistics.counts[rows])
    if not is_known.all():
        counts[~is_known] = 0.0
    out[:, first : first + len(STATISTIC_COUNTS)] = np.log1p(counts)
    decayed = {name: counts[:, STATISTIC_COUNTS.index(name)] for name in _DECAYED}
    total = RATE_OFFSET + _sum(decayed.values())
    for kind in ("save", "long_click", "hide"):
        _put(out, f"{kind}_share", decayed[f"decayed_{kind}"] / total)
    times = np.where(is_known, statistics.newest_save_times[rows], np.nan)
    _put(out, "save_age", np.log1p(np.nan_to_num(_days_since(times, context.now), nan=3650.0)))


def _fill_pin(out: NDArray[np.float32], pool: Pool, context: FeatureContext) -> None:
    """Age, language and country of each pin, and whom it is for."""
    catalogue, live = context.world.catalogue, context.world.live
    rows, young = context.split(pool.rows, len(catalogue.pin_ids))
    languages, countries = catalogue.languages.codes[rows], catalogue.countries.codes[rows]
    times = catalogue.creation_times[rows]
    if live is not None and (is_young := young >= 0).any():
        languages = np.where(is_young, live.language_codes[young], languages)
        countries = np.where(is_young, live.country_codes[young], countries)
        times = np.where(is_young, live.creation_times[young], times)
    days = _days_since(times, context.now)
    _put(out, "pin_age", np.where(np.isnan(days), -1.0, np.log1p(days)))
    _put(out, "is_fresh", days <= FRESH_DAYS)
    _put(out, "language_match", matches(languages, context.language_code))
    _put(out, "country_match", matches(countries, context.country_code))
    audience = context.world.side.audience
    if audience is not None and len(audience.lifts):
        known, _ = context.split(pool.rows, len(audience.lifts))
        lifts = audience.lifts[known]
        for group, column in zip(
            ("language", "country", "segment"), context.group_columns, strict=True
        ):
            if column >= 0:
                told = np.where(known >= 0, lifts[:, column], np.float32(0.0))
                _put(out, f"audience_{group}", told)


def _fill_topics(out: NDArray[np.float32], pool: Pool, context: FeatureContext) -> None:
    """Cosine of each pin's topics to the user's and to the query pin's."""
    catalogue, live = context.world.catalogue, context.world.live
    if not catalogue.topic_count:
        return
    known, young = context.split(pool.rows, len(catalogue.pin_ids))
    tables = [(known, catalogue.topic_offsets, catalogue.topic_codes)]
    if live is not None and (young >= 0).any():
        tables.append((young, live.topic_offsets, live.topic_codes))
    ones = np.ones(1, np.float32)
    for name, rows, shares in (
        ("topic_profile", context.medoid_rows, context.importances),
        ("topic_query", np.array([context.query_row], np.int32), ones),
    ):
        compared, _ = context.split(rows, len(catalogue.pin_ids))
        weights = kernels.unit_weights(
            compared, shares, catalogue.topic_offsets, catalogue.topic_codes, catalogue.topic_count
        )
        _put(out, name, _sum(kernels.list_cosines(*table, weights) for table in tables))
    counts = catalogue.topic_offsets[known + 1] - catalogue.topic_offsets[known]
    _put(out, "topic_count", np.where(known >= 0, counts, 0))


def _fill_words(out: NDArray[np.float32], pool: Pool, context: FeatureContext) -> None:
    """Cosine of the words of each title to the user's, the query pin's and the searches'."""
    words = context.world.side.words
    if words is None or not words.code_by_word:
        return
    known, _ = context.split(pool.rows, words.offsets.size - 1)
    ones = np.ones(1, np.float32)
    for name, rows, shares in (
        ("word_profile", context.medoid_rows, context.importances),
        ("word_query", np.array([context.query_row], np.int32), ones),
    ):
        compared, _ = context.split(rows, words.offsets.size - 1)
        if (compared >= 0).any():
            weights = kernels.unit_weights(
                compared, shares, words.offsets, words.codes, words.code_count
            )
            _put(out, name, kernels.list_cosines(known, words.offsets, words.codes, weights))
    if context.search_codes.size:
        weights = np.zeros(words.code_count, np.float32)
        weights[context.search_codes] = context.search_codes.size**-0.5
        _put(out, "word_search", kernels.list_cosines(known, words.offsets, words.codes, weights))


def _sum(parts: Any) -> Any:
    """Sum of arrays of one shape; each row is 0 in all but one of them."""
    total = None
    for part in parts:
        total = part if total is None else total + part
    return total


def _days_since(times: NDArray[np.float64], now: float) -> NDArray[np.float64]:
    """Age in days, at least 0; NaN stays NaN."""
    return np.maximum((now - times) / DAY_SECONDS, 0.0)


def matches(codes: NDArray[np.int32], wanted: int) -> NDArray[np.int8]:
    """Whether codes are the wanted one: 1 = yes, -1 = another, 0 = either is unknown; int8[n]."""
    if wanted == UNKNOWN:
        return np.zeros(codes.size, np.int8)
    return np.where(codes == UNKNOWN, 0, np.where(codes == wanted, 1, -1)).astype(np.int8)
