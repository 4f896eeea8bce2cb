"""
The models that give a pool its scores: what they promise, how they are stored, which one serves.

Hand-tuned weights rank until there is a trained model: trees (`tree_ranker`), weights on features
or on buckets of them (`linear_ranker`).  A trained model may know several objectives; which of them
count how much is a setting of serving, not of training.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ranking_service.light_score import RANK_FUSION, LightScore
from ranking_service.linear_ranker import (
    HAND_TUNED,
    HandTuned,
    HandTunedRanker,
    LinearRanker,
    probabilities,
)
from ranking_service.models.calibration import Calibration
from ranking_service.models.linear import BucketModel, LinearModel
from ranking_service.query import Surface
from ranking_service.tree_ranker import POINTWISE_GBDT, GbdtRanker, RankerCorrupted
from service_runtime.errors import Corrupted, NotFound
from service_runtime.generation_store import Generation, GenerationStore
from service_runtime.live import Live

__all__ = [
    "HAND_TUNED",
    "POINTWISE_GBDT",
    "GbdtRanker",
    "HandTuned",
    "HandTunedRanker",
    "LinearRanker",
    "ObjectiveRanker",
    "Ranker",
    "RankerCorrupted",
    "Rankers",
    "Serving",
    "open_ranker",
    "probabilities",
    "write_ranker",
]

RANKER_ARTIFACT: Final = "ranker"
STAGED_ARTIFACT: Final = "staged_ranker"
"""Models that are tried beside the serving one; `promote` makes a generation of RANKER_ARTIFACT."""

RANKER_FORMAT_VERSION: Final = 2
"""1 had trees only, with a bias in place of a calibration."""

SAVE: Final = "save"
"""The objective that every model has."""

_TREES_FILE: Final = "model.txt"
_LINEAR_FILE: Final = "model.json"
_FEATURES_FILE: Final = "features.json"
_LINEAR_MODELS: Final[Mapping[str, type[LinearModel] | type[BucketModel]]] = {
    "linear": LinearModel,
    "buckets": BucketModel,
}

Trained = GbdtRanker | LinearRanker


class Ranker(Protocol):
    """Gives each row of features how likely it is that the user acts on that pin."""

    model: str
    """Kind of model, as answers and metrics name it."""

    memboost_gain: float
    """What a remembered boost is multiplied by before it is added to the logit, >= 0."""

    light: LightScore
    """Chooses what it scores where there are more candidates than get features."""

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Score rows; a row's score depends on that row only.

        Args:
            features: float32[n, f], columns in the order of `features.FEATURE_NAMES`.

        Returns:
            float32[n] in [0, 1], higher is better: the logistic of `logits`.
        """

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """What the scores are the logistic of, float64[n]; see `score`."""

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """What each feature added to each row's logit against the average, float64[n, f]."""


class ObjectiveRanker:
    """
    Several objectives as one score: what an answer is expected to earn.

    With weights w and chances p the value is the sum of w p over the objectives, an unwanted one
    having a weight below 0; the score is where it lies between the least and the most there could
    be.

    Args:
        trained: A model for each objective; `SAVE` among them.
        weights: Weight of each; one of them above 0.

    Raises:
        ValueError: If a weight names no objective of the model, or none is above 0.
    """

    def __init__(self, trained: Mapping[str, Trained], weights: Mapping[str, float]) -> None:
        if unknown := sorted(set(weights) - set(trained)):
            raise ValueError(f"the model has no objective {', '.join(unknown)}")
        if not any(weight > 0 for weight in weights.values()):
            raise ValueError("one objective must have a weight above 0")
        self._least = sum(min(weight, 0.0) for weight in weights.values())
        self._range = sum(abs(weight) for weight in weights.values())
        main = trained[SAVE]
        self.model = main.model
        self.surfaces = main.surfaces
        self.memboost_gain = main.memboost_gain
        self.light = main.light
        self._main = main
        self._parts = [(trained[name], weight) for name, weight in weights.items() if weight]

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Ranker.score`."""
        return probabilities(self.logits(features))

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """See `Ranker.logits`."""
        value = np.full(features.shape[0], -self._least, np.float64)
        for ranker, weight in self._parts:
            value += weight / (1.0 + np.exp(-ranker.logits(features)))
        value = np.clip(value / self._range, 1e-7, 1.0 - 1e-7)
        return np.log(value / (1.0 - value))

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Those of the objective `save`; see `Ranker.contributions`."""
        return self._main.contributions(features)


def write_ranker(
    folder: Path,
    trained: Mapping[str, Trained],
    *,
    feature_names: Sequence[str],
    left_out: Sequence[str] = (),
    light: LightScore = RANK_FUSION,
) -> None:
    """
    Write what `open_ranker` reads into an existing folder.

    Args:
        folder: Where to.
        trained: A model for each objective; `SAVE` among them.
        feature_names: Columns of the rows that they score.
        left_out: Families and features that were left out in training, for whoever reads it.
        light: Chooses what the model scores.
    """
    main = trained[SAVE]
    described = {
        "model": main.model,
        "names": list(feature_names),
        "left_out": list(left_out),
        "surfaces": sorted(surface.name.lower() for surface in main.surfaces),
        "memboost_gain": main.memboost_gain,
        "light": {
            surface.name.lower(): {"bias": light.biases[surface], "weights": dict(weights)}
            for surface, weights in light.weights.items()
        },
        "objectives": {name: _described(ranker) for name, ranker in trained.items()},
    }
    for name, ranker in trained.items():
        if isinstance(ranker, GbdtRanker):
            (folder / _file(_TREES_FILE, name)).write_text(ranker.model_text, encoding="utf-8")
        else:
            assert isinstance(ranker.summed, LinearModel | BucketModel)
            (folder / _file(_LINEAR_FILE, name)).write_text(
                json.dumps(ranker.summed.described()), encoding="utf-8"
            )
    (folder / _FEATURES_FILE).write_text(json.dumps(described, indent=1), encoding="utf-8")


def open_ranker(
    folder: Path,
    *,
    feature_names: Sequence[str],
    objective_weights: Mapping[str, float] | None = None,
) -> Trained | ObjectiveRanker:
    """
    Open a generation's folder.

    Args:
        folder: Where `write_ranker` wrote.
        feature_names: What this build of the service computes, in order.
        objective_weights: None = saves alone.

    Raises:
        RankerCorrupted: If a file is unreadable, the model wants other features, or does not have
            an objective that has a weight.
    """
    try:
        described = json.loads((folder / _FEATURES_FILE).read_text(encoding="utf-8"))
        names = described["names"]
        if list(names) != list(feature_names):
            differing = sorted(set(names) ^ set(feature_names)) or "their order"
            raise RankerCorrupted(f"{folder}: made for other features: {differing}")
        shared: dict[str, Any] = {
            "model": str(described["model"]),
            "surfaces": frozenset(Surface[name.upper()] for name in described["surfaces"]),
            "memboost_gain": float(described["memboost_gain"]),
            "light": _read_light(described.get("light")),
        }
        trained = {
            name: _read(folder, name, part, names, shared)
            for name, part in described["objectives"].items()
        }
        main = trained[SAVE]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise RankerCorrupted(f"{folder}: cannot read the model: {fault}") from fault
    if not objective_weights or {k: v for k, v in objective_weights.items() if v} == {SAVE: 1.0}:
        return main
    try:
        return ObjectiveRanker(trained, objective_weights)
    except ValueError as fault:
        raise RankerCorrupted(
            f"{folder}: {fault}", hint="train with --objectives, or change objective_weights"
        ) from fault


def promote(store: GenerationStore, *, feature_names: Sequence[str]) -> Generation:
    """
    Make the staged model the serving one: publish it once more, as what serves.

    Raises:
        NotFound: If nothing is staged.
        Corrupted: If what is staged is damaged, or made for other features.
    """
    staged = store.current(STAGED_ARTIFACT, format_version=RANKER_FORMAT_VERSION)
    if staged is None:
        raise NotFound("no model is staged", hint="train one with --stage")
    open_ranker(staged.path, feature_names=feature_names)
    with store.draft(RANKER_ARTIFACT, format_version=RANKER_FORMAT_VERSION) as draft:
        for name in staged.manifest.files:
            shutil.copyfile(staged.path / name, draft.path(name))
        return draft.publish(
            as_of_us=staged.manifest.as_of_us,
            inputs={STAGED_ARTIFACT: staged.id},
            counts=staged.manifest.counts,
            quality=staged.manifest.quality,
            details=staged.manifest.details,
        )


def _described(ranker: Trained) -> dict[str, Any]:
    """What stands in the features file about one objective."""
    if isinstance(ranker, GbdtRanker):
        kind, base = "trees", ranker.base
    else:
        kind, base = "buckets" if isinstance(ranker.summed, BucketModel) else "linear", None
    return {
        "kind": kind,
        "slope": ranker.calibration.slope,
        "bias": ranker.calibration.bias,
        "base": base and {at.name.lower(): dict(base.weights[at]) for at in Surface},
    }


def _read(
    folder: Path, name: str, part: Mapping[str, Any], names: Sequence[str], shared: dict[str, Any]
) -> Trained:
    """One objective of a folder."""
    calibration = Calibration(float(part["slope"]), float(part["bias"]))
    if not (np.isfinite(calibration.bias) and calibration.slope > 0):
        raise RankerCorrupted(f"{folder}: its calibration is {calibration}")
    if part["kind"] != "trees":
        text = (folder / _file(_LINEAR_FILE, name)).read_text(encoding="utf-8")
        summed = _LINEAR_MODELS[part["kind"]].of(json.loads(text), len(names))
        return LinearRanker(summed=summed, calibration=calibration, **shared)
    text = (folder / _file(_TREES_FILE, name)).read_text(encoding="utf-8")
    base = _read_base(part["base"], names)
    ranker = GbdtRanker(text, calibration=calibration, base=base, **shared)
    if ranker.output_count != 1:
        raise RankerCorrupted(f"{folder}: the model gives {ranker.output_count} scores a row")
    if ranker.feature_count != len(names):
        raise RankerCorrupted(
            f"{folder}: {_TREES_FILE} has {ranker.feature_count} features, "
            f"{_FEATURES_FILE} names {len(names)}"
        )
    return ranker


def _read_light(described: Mapping[str, Mapping[str, Any]] | None) -> LightScore:
    """What chooses a model's candidates; rank fusion for models from before there was any."""
    if described is None:
        return RANK_FUSION
    parts = {Surface[name.upper()]: part for name, part in described.items()}
    return LightScore(
        {surface: dict(part["weights"]) for surface, part in parts.items()},
        {surface: float(part["bias"]) for surface, part in parts.items()},
    )


def _read_base(
    described: Mapping[str, Mapping[str, float]] | None, names: Sequence[str]
) -> HandTuned | None:
    """What a model was boosted from, with the weights of that time and no bias of its own."""
    if described is None:
        return None
    weights = {Surface[name.upper()]: weights for name, weights in described.items()}
    return HandTuned(weights, names, bias=0.0)


def _file(name: str, objective: str) -> str:
    """`model.txt` of saves, `model_click.txt` of clicks."""
    stem, _, ending = name.partition(".")
    return name if objective == SAVE else f"{stem}_{objective}.{ending}"


@dataclass(frozen=True, slots=True)
class Serving:
    """
    The model that scores now.

    Attributes:
        ranker: The model.
        generation: Its generation; empty for the hand-tuned one.
        missing_reason: Why it is not a trained model although there is one; mostly empty.
    """

    ranker: Ranker
    generation: str = ""
    missing_reason: str = ""


class Rankers:
    """
    The trained model of the newest good generation, and the hand-tuned one where there is none.

    Args:
        store: Where the generations are.
        hand_tuned: Scores as long as no generation can, and on surfaces it was not trained on.
        feature_names: What this build of the service computes, in order.
        objective_weights: What counts how much; None = saves alone.
    """

    def __init__(
        self,
        store: GenerationStore,
        hand_tuned: Ranker,
        *,
        feature_names: Sequence[str],
        objective_weights: Mapping[str, float] | None = None,
    ) -> None:
        self._store = store
        self._hand_tuned = hand_tuned
        self.live: Live[Trained | ObjectiveRanker] = Live(
            store,
            RANKER_ARTIFACT,
            RANKER_FORMAT_VERSION,
            lambda generation: open_ranker(
                generation.path, feature_names=feature_names, objective_weights=objective_weights
            ),
        )

    def serving(self, surface: Surface) -> Serving:
        """The model that scores there now."""
        snapshot = self.live.snapshot()
        if snapshot is not None:
            if surface in snapshot[1].surfaces:
                return Serving(snapshot[1], snapshot[0].id)
            return Serving(self._hand_tuned)
        if self.live.refused_count:
            return Serving(self._hand_tuned, missing_reason="no trained model could be used")
        return Serving(self._hand_tuned)

    def published(self) -> list[Generation]:
        """Every model generation that is whole, newest first."""
        found = []
        for generation_id in reversed(self._store.generations(RANKER_ARTIFACT)):
            with suppress(Corrupted):
                found.append(self._store.verify(RANKER_ARTIFACT, generation_id))
        return found
