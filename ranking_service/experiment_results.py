"""What experiments earned, as the nightly job counted it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import orjson

from ranking_service.experiments import ArmResult, Estimate
from service_runtime.errors import Corrupted
from service_runtime.generation_store import GenerationStore
from service_runtime.live import Live

EXPERIMENTS: Final = "experiments"
FORMAT_VERSION: Final = 1

_FILE: Final = "experiments.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    One experiment's figures.

    Attributes:
        shares: Share of users by arm.
        results: What each arm, and each source within it, earned.
        stopped: Arms that the guard rail has stopped, and why.
    """

    shares: Mapping[str, float]
    results: tuple[ArmResult, ...]
    stopped: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The figures of all experiments, by name."""

    by_name: Mapping[str, Outcome]

    def write(self, folder: Path) -> None:
        """Write what `open` reads into an existing folder."""
        told = {name: asdict(outcome) for name, outcome in self.by_name.items()}
        (folder / _FILE).write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2))

    @classmethod
    def open(cls, folder: Path) -> Self:
        """
        Read the figures.

        Raises:
            Corrupted: If the file is missing or says something else.
        """
        try:
            told = orjson.loads((folder / _FILE).read_bytes())
            return cls({name: _outcome(outcome) for name, outcome in told.items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
            raise Corrupted(f"{folder}: experiments cannot be read: {fault}") from fault


class ExperimentResults:
    """
    The newest good figures.

    Args:
        store: Where the generations are.
    """

    def __init__(self, store: GenerationStore) -> None:
        self.live: Live[Outcomes] = Live(
            store, EXPERIMENTS, FORMAT_VERSION, lambda generation: Outcomes.open(generation.path)
        )

    def of(self, experiment: str) -> Outcome | None:
        """The figures of an experiment; None = nothing was counted yet."""
        snapshot = self.live.snapshot()
        return None if snapshot is None else snapshot[1].by_name.get(experiment)

    def stopped(self, experiment: str) -> Mapping[str, str]:
        """Arms of an experiment that the guard rail has stopped, and why."""
        outcome = self.of(experiment)
        return {} if outcome is None else outcome.stopped


def _outcome(told: dict[str, Any]) -> Outcome:
    results = tuple(
        ArmResult(
            **{
                **result,
                "volume": Estimate(**result["volume"]),
                "propensity": Estimate(**result["propensity"]),
            }
        )
        for result in told["results"]
    )
    return Outcome(dict(told["shares"]), results, dict(told["stopped"]))
