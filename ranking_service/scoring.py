"""Features, model, Memboost: the numbers of a pool, from which its order is made."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ranking_service.config import RankingConfig
from ranking_service.feature_context import FeatureContext
from ranking_service.features import feature_rows
from ranking_service.memboost.memory import Counts, Memboost
from ranking_service.pin_keys import key_of
from ranking_service.pool import Pool
from ranking_service.ranker import Ranker
from ranking_service.world import World


class UnderQuery:
    """
    What is remembered under one query pin; see `feature_context.Remembered`.

    Args:
        memory: The counters of this moment.
        query_pin_id: Empty = home feed.
        world: Knows the pins of rows.
    """

    def __init__(self, memory: Memboost, query_pin_id: str, world: World) -> None:
        self.memory = memory
        self.query_key = key_of(query_pin_id)
        self._world = world
        self._last: tuple[NDArray[np.int32], Counts] | None = None

    def counts(self, rows: NDArray[np.int32]) -> Counts:
        """What is remembered of some rows."""
        if self._last is None or self._last[0] is not rows:
            keys = self._world.pin_keys(rows)
            self._last = rows, self.memory.counts(self.query_key, keys)
        return self._last[1]

    def scores(self, query_row: int, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """Memboost score of each row, float32[n]; 0 where the pair was never shown."""
        del query_row  # a pin has one key, whether our catalogue knows it or not
        return self.counts(rows).scores(self.memory.smoothing)


@dataclass(frozen=True, slots=True)
class Scored:
    """
    The numbers of a pool; parallel to it.

    Attributes:
        features: float32[n, f].
        model_logits: What the model says, float64[n].
        memboosts: Memboost scores, float32[n].
        gain: What a Memboost score of 1 adds to the logit.
        logits: Model, Memboost and named boosts together, float64[n].
        scores: The logistic of these, float32[n].
    """

    features: NDArray[np.float32]
    model_logits: NDArray[np.float64]
    memboosts: NDArray[np.float32]
    gain: float
    logits: NDArray[np.float64]
    scores: NDArray[np.float32]


def score_pool(
    pool: Pool,
    context: FeatureContext,
    ranker: Ranker,
    *,
    remembered: UnderQuery | None,
    config: RankingConfig,
    boosts: NDArray[np.float64] | None = None,
) -> Scored:
    """
    Compute the numbers of a pool: final = model + g * MB + named boosts, as logits.

    Args:
        pool: The candidates.
        context: What they are compared with.
        ranker: The model.
        remembered: None = nothing is.
        config: Features that are left out, and g of a model that brings none.
        boosts: Of named rules, float64[n]; None = none.

    Source: Liu et al. 2017, section 4.1 (Final = Score + g * MB).
    """
    features = feature_rows(pool, context, left_out=config.features_left_out)
    model_logits = ranker.logits(features)
    gain = gain_of(ranker, config.memboost_gain)
    if remembered is None:
        memboosts = np.zeros(len(pool), np.float32)
    else:
        memboosts = remembered.scores(context.query_row, pool.rows)
    logits = model_logits + gain * memboosts
    if boosts is not None:
        logits = logits + boosts
    return Scored(features, model_logits, memboosts, gain, logits, probabilities(logits))


def rescored(scored: Scored, ranker: Ranker, *, gain_default: float) -> Scored:
    """The same numbers by another model; named boosts and rotation stay as they were."""
    others = scored.logits - scored.model_logits - scored.gain * scored.memboosts
    model_logits = ranker.logits(scored.features)
    gain = gain_of(ranker, gain_default)
    logits = model_logits + gain * scored.memboosts + others
    return replace(
        scored, model_logits=model_logits, gain=gain, logits=logits, scores=probabilities(logits)
    )


def gain_of(ranker: Ranker, gain_default: float) -> float:
    """What a Memboost score of 1 adds to the model's logit: fitted with the model, or a guess."""
    return float(getattr(ranker, "memboost_gain", gain_default))


def probabilities(logits: NDArray[np.float64]) -> NDArray[np.float32]:
    """The logistic function of each logit without overflow, float32[n]."""
    magnitude = np.exp(-np.abs(logits))
    return (np.where(logits >= 0, 1.0, magnitude) / (1.0 + magnitude)).astype(np.float32)
