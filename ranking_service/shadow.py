"""
A staged model ranks some of the live requests beside the serving one, and nobody sees its order.

A model is staged as a generation of an artifact of its own, so staging changes no answer.  A share
of the answers is ranked once more by it, behind the answer and on a thread of its own: the same
candidates, features, Memboost and rules, only the model differs.  What comes of it are figures of
how much would change, and whether the model can score everything that live traffic brings.
"""

import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ranking_service.answering import Run
from ranking_service.arrange import arrange
from ranking_service.choice import promoted_by
from ranking_service.ranker import (
    RANKER_FORMAT_VERSION,
    STAGED_ARTIFACT,
    ObjectiveRanker,
    Ranker,
    RankerCorrupted,
    Rankers,
    Trained,
    open_ranker,
)
from ranking_service.scoring import rescored
from service_runtime.generation_store import Generation, GenerationStore
from service_runtime.live import Live
from service_runtime.telemetry import Metrics, logger

SHARE_BUCKETS: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SHIFT_BUCKETS: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)

_log = logger("ranking_service.shadow")


@dataclass(frozen=True, slots=True)
class Difference:
    """
    How far the staged model's answer to one request is from the one that was given.

    Attributes:
        shown_overlap: Share of the shown pins that it would show as well, in [0, 1].
        top_changed: 1 where another pin would stand first, else 0.
        rank_shift: How many places a shown pin would stand from where it does, mean, >= 0.
        rank_correlation: Spearman's, of both models' scores of the pool, in [-1, 1].
        score_difference: Its scores of the shown pins less those of the serving model, mean.
    """

    shown_overlap: float
    top_changed: float
    rank_shift: float
    rank_correlation: float
    score_difference: float


def compare(run: Run, staged: Ranker, *, gain_default: float) -> Difference:
    """
    Answer a request once more by another model.

    Args:
        run: How its answer came about; neither random nor without candidates.
        staged: The other model.
        gain_default: g of Memboost of a model that brings none.

    Raises:
        RankerCorrupted: If a score is not finite.
    """
    scored = rescored(run.scored, staged, gain_default=gain_default)
    if not np.isfinite(scored.model_logits).all():
        raise RankerCorrupted("it gives scores that are no finite numbers")
    context = run.context
    arrangement = arrange(
        run.pool,
        run.candidates,
        context,
        scored,
        run.plan,
        surface=run.query.surface,
        limit=run.query.limit,
        promoted=promoted_by(run.plan, run.pool, context.world, context.now),
    )
    shown = run.arrangement.order[: run.query.limit]
    others = arrangement.order[: run.query.limit]
    places = np.full(len(run.pool), arrangement.order.size, np.int64)  # taken out = behind all
    places[arrangement.order] = np.arange(arrangement.order.size)
    return Difference(
        shown_overlap=float(np.isin(shown, others).mean()),
        top_changed=float(shown[0] != others[0]) if others.size else 1.0,
        rank_shift=float(np.abs(places[shown] - np.arange(shown.size)).mean()),
        rank_correlation=rank_correlation(run.scored.logits, scored.logits),
        score_difference=float((scored.scores[shown] - run.scored.scores[shown]).mean()),
    )


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's, ties at their mean rank; 1 where either has one value only."""
    ranks = np.stack([_mean_ranks(values) for values in (first, second)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    scale = float(np.sqrt(np.square(ranks).sum(axis=1).prod()))
    return float(ranks[0] @ ranks[1]) / scale if scale else 1.0


def _mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, groups, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2.0)[groups])


class _Sums(NamedTuple):
    """What was seen of one staged generation."""

    generation: str
    counts: dict[str, int]
    totals: dict[str, float]


class Shadow:
    """
    Ranks a share of the answers by the staged model too; safe from all threads.

    Args:
        store: Where the generations are.
        rankers: The serving models.
        share: Of the answers, in [0, 1]; which ones follows from their names.
        queue_count_max: Answers that may wait; one more is left out and counted.
        gain_default: g of Memboost of a model that brings none.
        feature_names: What this build of the service computes, in order.
        objective_weights: What counts how much; None = saves alone.
        metrics: Gets `shadow_answers_total{outcome}`, `shadow_overlap`, `shadow_rank_shift`,
            `shadow_top_changed_total`, `shadow_score_difference`.
    """

    def __init__(
        self,
        store: GenerationStore,
        rankers: Rankers,
        *,
        share: float,
        queue_count_max: int,
        gain_default: float,
        feature_names: Sequence[str],
        objective_weights: Mapping[str, float] | None,
        metrics: Metrics,
    ) -> None:
        self._share = share
        self._gain_default = gain_default
        self._rankers = rankers
        self.live: Live[Trained | ObjectiveRanker] = Live(
            store,
            STAGED_ARTIFACT,
            RANKER_FORMAT_VERSION,
            lambda generation: open_ranker(
                generation.path, feature_names=feature_names, objective_weights=objective_weights
            ),
        )
        self._lock = threading.Lock()
        self._sums = _Sums("", {}, {})
        self._meters(metrics)
        self._queue: queue.Queue[Run | None] = queue.Queue(queue_count_max)
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)

    def start(self) -> None:
        """Begin to rank what is noted."""
        self._thread.start()

    def _meters(self, metrics: Metrics) -> None:
        self._answers = metrics.counter(
            "shadow_answers", "Answers that the staged model was to rank too.", ["outcome"]
        )
        for outcome in ("compared", "failed", "queue_full"):
            self._answers.labels(outcome)  # 0 from the start: a rate sees the first one
        self._overlap = metrics.histogram(
            "shadow_overlap",
            "Share of the shown pins that the staged model would show too.",
            buckets=SHARE_BUCKETS,
        )
        self._shift = metrics.histogram(
            "shadow_rank_shift",
            "Places that a shown pin would move under the staged model, mean of an answer.",
            buckets=SHIFT_BUCKETS,
        )
        self._first = metrics.counter(
            "shadow_top_changed", "Answers that would begin with another pin."
        )
        self._score = metrics.gauge(
            "shadow_score_difference", "Staged less serving scores of shown pins, mean so far."
        )

    def note(self, run: Run, list_id: str) -> bool:
        """
        Have an answer ranked by the staged model too, if it is chosen; never waits, never fails.

        Left out are answers in random order, answers of a model that an experiment named, and
        surfaces that the staged model does not rank.

        Returns:
            Whether it was taken.
        """
        snapshot = self.live.snapshot()
        if snapshot is None or crc32(list_id.encode()) >= self._share * 2**32:
            return False
        if run.is_random or run.plan.model or not run.arrangement.order.size:
            return False
        if run.query.surface not in snapshot[1].surfaces or self._serves(snapshot[0]):
            return False
        try:
            self._queue.put_nowait(run)
        except queue.Full:
            self._answers.labels("queue_full").inc()
            return False
        return True

    def staged(self) -> tuple[Generation, Mapping[str, float]] | None:
        """The staged model and what was seen of it so far by this process; None without one."""
        snapshot = self.live.snapshot()
        if snapshot is None:
            return None
        with self._lock:
            if self._sums.generation != snapshot[0].id:
                return snapshot[0], {"request_count": 0.0, "failed_count": 0.0}
            compared = self._sums.counts.get("compared", 0)
            means = {name: total / compared for name, total in self._sums.totals.items()}
            failed = self._sums.counts.get("failed", 0)
            return snapshot[0], {"request_count": compared, "failed_count": failed, **means}

    def flush(self) -> None:
        """Wait until everything noted so far was compared."""
        self._queue.join()

    def close(self) -> None:
        """End the thread. Once."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _serves(self, staged: Generation) -> bool:
        """Whether the serving model is this staged one, promoted."""
        serving = self._rankers.live.snapshot()
        return serving is not None and serving[0].manifest.inputs.get(STAGED_ARTIFACT) == staged.id

    def _work(self) -> None:
        while (run := self._queue.get()) is not None:
            if (snapshot := self.live.snapshot()) is not None:
                self._compare(run, *snapshot)
            del run  # it holds a world: not until the next one comes
            self._queue.task_done()
        self._queue.task_done()

    def _compare(self, run: Run, generation: Generation, staged: Ranker) -> None:
        try:
            difference = compare(run, staged, gain_default=self._gain_default)
        except Exception as fault:  # noqa: BLE001  a model on trial must not harm what serves
            if self._count(generation.id, "failed") == 1:
                _log.error("shadow.failed", generation=generation.id, reason=str(fault))
            return
        self._overlap.observe(difference.shown_overlap)
        self._shift.observe(difference.rank_shift)
        self._first.inc(difference.top_changed)
        self._count(generation.id, "compared", asdict(difference))

    def _count(
        self, generation_id: str, outcome: str, figures: Mapping[str, float] | None = None
    ) -> int:
        """Add to the sums of a generation; returns how often that outcome was."""
        self._answers.labels(outcome).inc()
        with self._lock:
            if self._sums.generation != generation_id:
                self._sums = _Sums(generation_id, {}, {})
            _, counts, totals = self._sums
            counts[outcome] = counts.get(outcome, 0) + 1
            for name, value in (figures or {}).items():
                totals[name] = totals.get(name, 0.0) + value
            if figures:
                self._score.set(totals["score_difference"] / counts["compared"])
            return counts[outcome]
