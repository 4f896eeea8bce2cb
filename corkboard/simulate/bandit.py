"""Logs of a policy that chooses one of several things, where what any policy earns is known."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from corkboard.evaluation.off_policy import Logged

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BanditWorld:
    """Situations, and the chance of a reward for each choice in each of them.

    Attributes:
        situations: Chance of each situation, float64[s].
        rates: Chance of a reward, float64[s, a].
    """

    situations: Float64Array
    rates: Float64Array

    @classmethod
    def draw(
        cls, rng: np.random.Generator, situation_count: int = 5, choice_count: int = 20
    ) -> Self:
        """A world in which the best choice differs from situation to situation."""
        situations = rng.dirichlet(np.ones(situation_count))
        return cls(situations, rng.beta(1.0, 8.0, (situation_count, choice_count)))

    def policy(self, sharpness: float, rng: np.random.Generator) -> Float64Array:
        """Chances float64[s, a] of a policy that prefers what it takes for good, by softmax."""
        guessed = self.rates + 0.05 * rng.standard_normal(self.rates.shape)
        powers = np.exp(sharpness * (guessed - guessed.max(axis=1, keepdims=True)))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def value(self, policy: Float64Array) -> float:
        """What a policy earns a choice: the known answer."""
        return float(self.situations @ (policy * self.rates).sum(axis=1))

    def log(
        self,
        logging: Float64Array,
        target: Float64Array,
        count: int,
        rng: np.random.Generator,
    ) -> tuple[Logged, NDArray[np.int64], NDArray[np.int64]]:
        """Choices of the logging policy: the log, situations int64[n], choices int64[n]."""
        found = rng.choice(len(self.situations), count, p=self.situations)
        sums = logging.cumsum(axis=1)[found]
        choices = (rng.random(count)[:, None] > sums).sum(axis=1).clip(max=logging.shape[1] - 1)
        rewards = (rng.random(count) < self.rates[found, choices]).astype(np.float64)
        logged = Logged(rewards, logging[found, choices], target[found, choices], np.arange(count))
        return logged, found, choices
