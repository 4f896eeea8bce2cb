"""Examples in three parts: older ones that train, and two halves of newer ones that judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ranking_service.examples import (
    Examples,
    Labelling,
    open_tables,
    read_examples,
    validation_start,
)
from ranking_service.gate import POSITIVE_COUNT_MIN
from ranking_service.leaks import refuse_leaks
from ranking_service.query import Surface
from service_runtime.batch.engine import BatchEngine
from service_runtime.job import JobFailed


class Slice(StrEnum):
    """Which lists train."""

    ALL = "all"
    RANDOM = "random"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class Split:
    """
    Examples for training and judging.

    Attributes:
        training: The older ones.
        halves: The newer ones, in two halves that share no user.
        boundary_us: Where the newer ones begin.
    """

    training: Examples
    halves: tuple[Examples, Examples]
    boundary_us: int

    @property
    def newer(self) -> Examples:
        """Both halves, the first one first."""
        return Examples.joined(self.halves)

    def only(self, chosen: Slice) -> "Split":
        """Trained on randomly ordered lists only, if so chosen; judged by the same ones."""
        if chosen is not Slice.RANDOM:
            return self
        return Split(
            self.training.where(self.training.is_randomised), self.halves, self.boundary_us
        )

    def refuse_few(self) -> None:
        """
        Check that there is something to learn from.

        Raises:
            JobFailed: If a part has too few positives.
        """
        parts = {
            "training": self.training,
            "one half": self.halves[0],
            "other half": self.halves[1],
        }
        for name, part in parts.items():
            if (count := int(part.labels.sum())) < POSITIVE_COUNT_MIN:
                raise JobFailed(
                    f"{count} positives among {len(part)} examples for {name}, at least "
                    f"{POSITIVE_COUNT_MIN} are needed",
                    hint="log more impressions, or lengthen label_horizon_days",
                    report={"examples": {key: len(value) for key, value in parts.items()}},
                )


def load_split(
    engine: BatchEngine,
    impressions: Sequence[Path],
    actions: Path,
    *,
    labelling: Labelling,
    surfaces: Sequence[Surface],
) -> Split:
    """
    Join impressions with actions, refuse leaks, label, and split by time and user.

    Raises:
        LeakDetected: If a row knows what nobody could know.
        JobFailed: If there is too little to split.
    """
    open_tables(engine, impressions, actions, surfaces=surfaces, as_of_us=labelling.as_of_us)
    refuse_leaks(engine)
    boundary_us = validation_start(engine, labelling.validation_share)
    examples = read_examples(engine, labelling, boundary_us=boundary_us).of_known_users()
    return split(examples, boundary_us)


def split(examples: Examples, boundary_us: int) -> Split:
    """The older lists, and the newer ones in two halves that share no user."""
    is_newer = examples.times_us >= boundary_us
    is_even = examples.user_parts % 2 == 0
    halves = examples.where(is_newer & is_even), examples.where(is_newer & ~is_even)
    return Split(examples.where(~is_newer), halves, boundary_us)


def row_weights(examples: Examples, chosen: Slice) -> NDArray[np.float64]:
    """
    Weight of each example: where slices are mixed, the random one weighs as much as all others.

    The random slice alone is unbiased but small; all logs are many but know only what the model of
    their day put high.
    """
    weights = np.ones(len(examples))
    random_count = int(examples.is_randomised.sum())
    if chosen is Slice.MIXED and 0 < random_count < len(examples):
        weights[examples.is_randomised] = (len(examples) - random_count) / random_count
    return weights


def counts(split_: Split) -> Mapping[str, Mapping[str, int]]:
    """Examples and positives of training and judging."""
    parts = {"training": split_.training, "judging": split_.newer}
    return {
        "examples": {name: len(part) for name, part in parts.items()},
        "positives": {name: int(part.labels.sum()) for name, part in parts.items()},
    }
