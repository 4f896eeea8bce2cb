"""
The weights of the model before any training, each with its reason.

A coarse machine score speaks first: co-occurrence, topic, text and likeness, Memboost being added
where the score is used.  Hand tuning follows: popularity, freshness, locale, agreement of the
sources.  The home feed weighs popularity and nearness to the interests; related pins weigh nearness
to the query pin first.  The bias sets a plausible save rate; it does not change the order.
"""

from typing import Final

from ranking_service.features import FEATURE_NAMES
from ranking_service.query import Surface
from ranking_service.ranker import HandTuned

SHARED_WEIGHTS: Final = {
    # Behaviour speaks louder than likeness.
    "pixie_rank": 0.2,
    "board_cooccurrence_rank": 0.2,
    "ann_rank": 0.1,
    "rank_fusion": 0.3,
    "log_decayed_hide": -0.1,
    # The reader's language matters more than the country.
    "language_match": 0.5,
    "country_match": 0.2,
    "is_fresh": 0.1,
}
"""Weight of features that mean the same everywhere. Guesses."""

HOME_WEIGHTS: Final = {
    **SHARED_WEIGHTS,
    # Popularity is the best single guess about a stranger, and stands in for quality.
    "log_popularity": 0.8,
    "pixie_score": 0.4,
    "board_cooccurrence_score": 0.4,
    "ann_score": 0.2,
    "query_cosine": 0.8,
    "medoid_cosine_mean": 0.3,
    "medoid_cosine_max": 0.3,
    "topic_query": 0.5,
    "topic_profile": 0.5,
}
"""
Weights of the home feed. Guesses, checked on replayed MovieLens days (NDCG@10 .29; random order
.15; popularity alone .34, which shows everybody the same); training replaces them.
"""

RELATED_WEIGHTS: Final = {
    **SHARED_WEIGHTS,
    # What stands beside the query pin on boards, and where walks from it end.
    "board_cooccurrence_score": 2.0,
    "pixie_score": 2.0,
    "ann_score": 0.5,
    "query_cosine": 2.0,
    "topic_query": 1.0,
    # Words of the title: what text search would find.
    "word_query": 0.5,
    # The user's own interests, and popularity, only break ties.
    "medoid_cosine_max": 0.3,
    "topic_profile": 0.2,
    "log_popularity": 0.15,
}
"""Weights of related pins. Guesses, checked by eye on MovieLens."""

COARSE_FEATURES: Final = (
    "board_cooccurrence_score",
    "board_cooccurrence_rank",
    "pixie_score",
    "pixie_rank",
    "ann_score",
    "query_cosine",
    "medoid_cosine_mean",
    "medoid_cosine_max",
    "topic_query",
    "topic_profile",
    "word_query",
)
"""What the coarse machine score is made of: co-occurrence, topic, text, likeness."""

BIAS: Final = -6.0
"""Score of a pin about which nothing is known: below one save in a hundred. Guess."""


def make_hand_tuned(*, bias: float = BIAS) -> HandTuned:
    """The model before any training."""
    weights = {Surface.HOME_FEED: HOME_WEIGHTS, Surface.RELATED_PINS: RELATED_WEIGHTS}
    return HandTuned(weights, FEATURE_NAMES, bias=bias, coarse_names=COARSE_FEATURES)
