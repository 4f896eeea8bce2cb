"""
The weights of the model before any training, each with its reason.

They order by agreement of the sources first, then by nearness to the query pin or the interests,
then by popularity.  The bias sets a plausible save rate; it does not change the order.
"""

from typing import Final

from ranking_service.features import FEATURE_NAMES
from ranking_service.ranker import HandTunedRanker

WEIGHTS: Final = {
    # Proposals: Pixie's and co-occurrence's order is behaviour, the neighbours' is only likeness.
    "pixie_rank": 0.6,
    "pixie_score": 1.2,
    "board_cooccurrence_rank": 0.4,
    "board_cooccurrence_score": 0.8,
    "ann_rank": 0.2,
    "ann_score": 0.4,
    "popular_score": 0.2,
    "rank_fusion": 0.6,
    # Nearness: zero where it means nothing, so home feed and related pins share the weights.
    "query_cosine": 2.0,
    "medoid_cosine_mean": 1.0,
    "medoid_cosine_max": 1.0,
    "topic_query": 0.5,
    "topic_profile": 0.5,
    # Popularity breaks ties; hides speak against a pin.
    "log_popularity": 0.1,
    "log_decayed_hide": -0.3,
    # The reader's language matters more than the country.
    "language_match": 0.5,
    "country_match": 0.2,
    "is_fresh": 0.1,
}
"""Weight of each feature. Guesses, checked by eye on MovieLens; training replaces them."""

BIAS: Final = -5.0
"""Score of a pin about which nothing is known: below one save in a hundred. Guess."""


def make_hand_tuned() -> HandTunedRanker:
    """The model before any training."""
    return HandTunedRanker(WEIGHTS, FEATURE_NAMES, bias=BIAS)
