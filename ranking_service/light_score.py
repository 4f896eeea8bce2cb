"""
The light stage: a linear score of all candidates that says which of them get features and a model.

It looks at what costs nothing to know: ranks and scores in the candidate lists, how many lists
agree, popularity, language and country.  The columns are those of `features`, to the bit, so its
weights can be learnt from logged rows (`models.light`).

Source: Liu et al. 2017, section 4: a light-weight ranker keeps what the full one scores.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranking_service.catalogue import STATISTIC_COUNTS
from ranking_service.feature_context import FeatureContext
from ranking_service.feature_table import FEATURE_NAMES, NAMED_SOURCES
from ranking_service.features import fill_sources, matches
from ranking_service.pool import Pool
from ranking_service.query import Surface

LIGHT_FEATURES: Final = (
    *(f"{source}_{kind}" for source in NAMED_SOURCES for kind in ("rank", "score")),
    "source_count",
    "rank_fusion",
    "log_popularity",
    "language_match",
    "country_match",
)
"""What the light score adds up."""

LIGHT_COLUMNS: Final = tuple(FEATURE_NAMES.index(name) for name in LIGHT_FEATURES)
"""Where these stand in a row of features."""

_COLUMN: Final = {name: column for column, name in enumerate(LIGHT_FEATURES)}
_POPULARITY: Final = STATISTIC_COUNTS.index("popularity")


@dataclass(frozen=True, slots=True)
class LightScore:
    """
    A linear score for each surface.

    Attributes:
        weights: Of LIGHT_FEATURES by name; what is not named weighs 0.
        biases: Added; they change no order.
    """

    weights: Mapping[Surface, Mapping[str, float]]
    biases: Mapping[Surface, float]

    def __post_init__(self) -> None:
        """
        Check the weights.

        Raises:
            ValueError: If a surface is missing, a feature is none of the light ones, or a number is
                not finite.
        """
        for surface in Surface:
            own = self.weights.get(surface)
            if own is None or surface not in self.biases:
                raise ValueError(f"no light score for {surface.name.lower()}")
            if unknown := sorted(set(own) - set(LIGHT_FEATURES)):
                raise ValueError(f"the light score cannot look at {', '.join(unknown)}")
            if not np.isfinite([*own.values(), self.biases[surface]]).all():
                raise ValueError("the light score has weights that are no numbers")

    def of_rows(self, rows: NDArray[np.float32], surface: Surface) -> NDArray[np.float64]:
        """Scores of rows of LIGHT_FEATURES, float32[n, l]: float64[n]; each by its row alone."""
        scores = np.full(len(rows), self.biases[surface], np.float64)
        for name, weight in self.weights[surface].items():
            scores += rows[:, _COLUMN[name]] * np.float64(weight)
        return scores

    def of_pool(self, pool: Pool, context: FeatureContext) -> NDArray[np.float64]:
        """Scores of candidates: float64[n]."""
        return self.of_rows(light_rows(pool, context), context.surface)


def light_of(weights: Mapping[Surface, Mapping[str, float]], *, bias: float = 0.0) -> LightScore:
    """What of some weights, by any features, the light stage can look at."""
    return LightScore(
        {
            surface: {name: value for name, value in own.items() if name in _COLUMN}
            for surface, own in weights.items()
        },
        dict.fromkeys(Surface, bias),
    )


RANK_FUSION: Final = light_of({surface: {"rank_fusion": 1.0} for surface in Surface})
"""
Reciprocal rank fusion alone: needs no common scale of the lists, and no learning.

Source: Cormack et al. 2009.
"""


def light_rows(pool: Pool, context: FeatureContext) -> NDArray[np.float32]:
    """
    LIGHT_FEATURES of each candidate, float32[n, l].

    Cost: about 30 us for 1,300 candidates of ten lists.
    """
    out = np.zeros((len(LIGHT_FEATURES), len(pool)), np.float32).T
    fill_sources(out, pool, _COLUMN)
    world = context.world
    if world.statistics is not None and len(world.statistics.counts):
        rows, _ = context.split(pool.rows, len(world.statistics.counts))
        counts = np.where(rows >= 0, world.statistics.counts[rows, _POPULARITY], np.float32(0.0))
        out[:, _COLUMN["log_popularity"]] = np.log1p(counts)
    for name, codes, wanted in (
        ("language_match", world.language_codes, context.language_code),
        ("country_match", world.country_codes, context.country_code),
    ):
        out[:, _COLUMN[name]] = matches(codes(pool.rows), wanted)
    return out
