"""Which model scores a request: the serving one, or the one that an experiment's arm names."""

from collections.abc import Mapping, Sequence
from threading import Lock

from ranking_service.query import Surface
from ranking_service.ranker import (
    HAND_TUNED,
    RANKER_ARTIFACT,
    RANKER_FORMAT_VERSION,
    STAGED_ARTIFACT,
    Ranker,
    Rankers,
    Serving,
    open_ranker,
)
from service_runtime.errors import Corrupted
from service_runtime.generation_store import GenerationStore


class ModelChoice:
    """
    The models that requests may be scored by.

    Args:
        rankers: The serving ones.
        store: Where the generations are.
        hand_tuned: The model before any training.
        feature_names: What this build of the service computes, in order.
        objective_weights: What counts how much; None = saves alone.
    """

    def __init__(
        self,
        rankers: Rankers,
        store: GenerationStore,
        hand_tuned: Ranker,
        *,
        feature_names: Sequence[str],
        objective_weights: Mapping[str, float] | None = None,
    ) -> None:
        self._rankers = rankers
        self._store = store
        self._hand_tuned = hand_tuned
        self._feature_names = feature_names
        self._objective_weights = objective_weights
        self._lock = Lock()
        self._opened: dict[str, Serving] = {}

    def serving(self, surface: Surface, model: str = "") -> Serving:
        """
        The model to score with.

        Args:
            surface: Where the answer will be shown.
            model: Empty = the serving one; `hand_tuned`; or a generation, staged ones included. One
                that cannot be used is replaced by the serving one, which says so.
        """
        if not model:
            return self._rankers.serving(surface)
        if model == HAND_TUNED:
            return Serving(self._hand_tuned)
        opened = self._opened.get(model) or self._open(model)
        if not opened.missing_reason:
            return opened
        serving = self._rankers.serving(surface)
        return Serving(serving.ranker, serving.generation, opened.missing_reason)

    def _open(self, model: str) -> Serving:
        with self._lock:
            if model not in self._opened:
                try:
                    is_staged = model in self._store.generations(STAGED_ARTIFACT)
                    artifact = STAGED_ARTIFACT if is_staged else RANKER_ARTIFACT
                    generation = self._store.verify(
                        artifact, model, format_version=RANKER_FORMAT_VERSION
                    )
                    ranker = open_ranker(
                        generation.path,
                        feature_names=self._feature_names,
                        objective_weights=self._objective_weights,
                    )
                    self._opened[model] = Serving(ranker, model)
                except (Corrupted, ValueError) as fault:
                    reason = f"the model {model} of an experiment cannot be used: {fault}"
                    self._opened[model] = Serving(self._hand_tuned, "", reason)
            return self._opened[model]
