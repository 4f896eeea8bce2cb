"""
The table of features: what each column of a candidate's row is, and which family it belongs to.

Four families, each of which can be left out by its name: what is known of the *pin* itself; its
*history*, what everybody did to it; how it fits the *user*; how it fits the *context* of the
request.
"""

from collections.abc import Collection
from itertools import chain
from typing import Final, NamedTuple

from ranking_service.catalogue import STATISTIC_COUNTS

NAMED_SOURCES: Final = (
    "ann",
    "board_cooccurrence",
    "pixie",
    "popular",
    "pin2vec",
    "text_search",
    "visual",
    "fresh",
    "local",
    "declared",
)
"""Sources with features of their own; others count in `source_count` and `rank_fusion`."""

FAMILIES: Final = ("pin", "history", "user", "context")
"""The families, each switchable."""


class Feature(NamedTuple):
    """One column of the rows that rankers read."""

    name: str
    family: str
    unit: str
    meaning: str


def _source_features() -> list[Feature]:
    pairs = (
        (
            Feature(f"{source}_rank", "context", "0 to 1", f"1 / (1 + rank in {source})"),
            Feature(f"{source}_score", "context", "0 to 1", f"score / top score of {source}"),
        )
        for source in NAMED_SOURCES
    )
    fused = Feature("rank_fusion", "context", "0 up", "sum over sources of 60 / (60 + rank)")
    return [
        *chain.from_iterable(pairs),
        Feature("source_count", "context", "sources", "how many proposed it"),
        fused,
    ]


def _overlap_features() -> list[Feature]:
    own = (
        ("item_neighbours", "sum of board cosines to the user's pins"),
        ("walk", "three-step walk from the user's pins, discounted by popularity"),
        ("small_boards", "as item_neighbours, small boards counting more"),
        ("user_neighbours", "boards like the user's pins that hold it, squared"),
        ("closest_board", "cosine of the most alike of its boards"),
        ("board_share", "share of its boards that hold a pin of the user"),
        ("pair_share", "share of its boards that hold two or more"),
    )
    return [
        *(Feature(f"history_{name}", "user", "0 up", meaning) for name, meaning in own),
        Feature("query_cooccurrence", "context", "cosine", "its boards to the query pin's"),
        Feature("query_walk", "context", "0 up", "three-step walk from the query pin"),
        Feature("session_cooccurrence", "context", "0 up", "its boards to those of the session"),
        Feature("session_walk", "context", "0 up", "three-step walk from the session's pins"),
        Feature("board_cooccurrence_own", "context", "0 up", "its boards to those of the board"),
        Feature("board_walk", "context", "0 up", "three-step walk from the board's pins"),
    ]


def _content_features() -> list[Feature]:
    return [
        feature
        for kind in ("text", "visual")
        for feature in (
            Feature(f"has_{kind}_vector", "pin", "0 or 1", f"whether it has a {kind} vector"),
            Feature(f"{kind}_vector_query", "context", "cosine", "to the query pin's"),
            Feature(f"{kind}_vector_profile", "user", "cosine", "to the closest of 8 medoids'"),
            Feature(f"{kind}_vector_session", "context", "cosine", "to the closest of the session"),
        )
    ]


FEATURES: Final = (
    *_source_features(),
    Feature("behind_cosine", "context", "cosine", "to the queried pin behind it"),
    Feature("medoid_cosine_max", "user", "cosine", "to the nearest medoid"),
    Feature("medoid_cosine_mean", "user", "cosine", "to medoids, weighted by importance"),
    Feature("medoid_importance", "user", "share", "importance of the nearest medoid"),
    Feature("query_cosine", "context", "cosine", "to the query pin"),
    Feature("has_vector", "pin", "0 or 1", "whether cosines mean anything"),
    Feature("interest_count", "user", "log(1 + n)", "interests of the user"),
    Feature("action_count", "user", "log(1 + n)", "actions behind the interests"),
    *(Feature(f"log_{name}", "history", "log(1 + n)", name) for name in STATISTIC_COUNTS),
    Feature("save_age", "history", "log(1 + days)", "since the newest save"),
    Feature("is_related", "context", "0 or 1", "related pins, not home feed"),
    Feature("pin_age", "pin", "log(1 + days)", "since the pin was made; -1 unknown"),
    Feature("is_fresh", "pin", "0 or 1", "at most 7 days old"),
    Feature("language_match", "user", "-1, 0, 1", "with the viewer's; 0 unknown"),
    Feature("country_match", "user", "-1, 0, 1", "with the viewer's; 0 unknown"),
    Feature("topic_profile", "user", "cosine", "its topics to those of the medoids"),
    Feature("topic_query", "context", "cosine", "its topics to those of the query pin"),
    Feature("topic_count", "pin", "topics", "how many it has"),
    Feature("audience_language", "pin", "log ratio", "actions by the viewer's language"),
    Feature("audience_country", "pin", "log ratio", "actions by the viewer's country"),
    Feature("audience_segment", "pin", "log ratio", "actions by the viewer's segment"),
    Feature("memboost", "history", "log ratio", "actions over expected, under the query pin"),
    Feature("save_share", "history", "share", "saves among its actions, smoothed"),
    Feature("long_click_share", "history", "share", "long clicks among its actions, smoothed"),
    Feature("hide_share", "history", "share", "hides among its actions, smoothed"),
    Feature("history_count", "user", "log(1 + n)", "the user's pins that are compared"),
    Feature("history_cosine_max", "user", "cosine", "to the closest of the user's pins"),
    Feature("history_cosine_mean", "user", "cosine", "to all of them, mean"),
    Feature("history_cosine_squares", "user", "0 up", "sum of squared cosines to them"),
    Feature("history_regression", "user", "any", "to their mean, told from everybody's"),
    Feature("history_interest", "user", "any", "chance of a save by ridge regression on them"),
    *_overlap_features(),
    Feature("word_profile", "user", "cosine", "words of its title to those of the medoids"),
    Feature("word_query", "context", "cosine", "words of its title to the query pin's"),
    Feature("word_search", "context", "cosine", "words of its title to the latest searches"),
    Feature("from_search", "context", "0 or 1", "the reader came from a search"),
    Feature("from_board", "context", "0 or 1", "the reader came from a board"),
    Feature("from_home", "context", "0 or 1", "the reader came from the home feed"),
    Feature("session_count", "context", "pins", "acted on within the hour, at most 5"),
    Feature("session_cosine_max", "context", "cosine", "to the closest of these"),
    Feature("last_save_cosine", "context", "cosine", "to the newest save"),
    Feature("last_click_cosine", "context", "cosine", "to the newest click"),
    Feature("last_long_click_cosine", "context", "cosine", "to the newest long click"),
    *_content_features(),
)
"""All columns, in order."""

FEATURE_NAMES: Final = tuple(feature.name for feature in FEATURES)


def columns_of(names: Collection[str]) -> list[int]:
    """
    Columns of some families or features, ascending.

    Raises:
        ValueError: If a name is neither.
    """
    known = {*FAMILIES, *FEATURE_NAMES}
    if unknown := sorted(set(names) - known):
        raise ValueError(f"neither families ({', '.join(FAMILIES)}) nor features: {unknown}")
    return [
        column
        for column, feature in enumerate(FEATURES)
        if feature.name in names or feature.family in names
    ]
