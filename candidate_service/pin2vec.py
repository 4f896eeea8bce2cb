"""Pins as vectors learned from what people save one after another, and what is prepared from them.

Pin indexes count the pins that have a vector, in the order of their catalogue rows; nobody outside
this module and its job needs them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candidate_service import pin2vec_kernels as kernels
from service_runtime.errors import Corrupted
from service_runtime.generations import Draft, Generation

ARTIFACT: Final = "pin2vec"
FORMAT_VERSION: Final = 1
CHUNK_COUNT: Final = 16
"""Into how many parts an epoch is cut; the step size falls along each of them."""

_DTYPES: Final = {
    "rows": np.dtype(np.int32),
    "inputs": np.dtype(np.float32),
    "outputs": np.dtype(np.float32),
    "priors": np.dtype(np.float32),
    "neighbours": np.dtype(np.int32),
    "neighbour_scores": np.dtype(np.float32),
    "followers": np.dtype(np.int32),
    "follower_scores": np.dtype(np.float32),
}
_HINT: Final = "build it again: python -m candidate_service.jobs.train_pin2vec"


@dataclass(frozen=True, slots=True)
class Pin2VecSettings:
    """How pins are turned into vectors; the constants of the README.

    Attributes:
        dimension: d.
        window_count: How many later pins of a sequence are labels of a pin at the most.
        window_s: How much later they may be, seconds.
        is_symmetric: Whether earlier pins are labels of later ones as well.
        negative_count: Noise pins for each pair.
        noise_exponent: Noise pins are drawn by (count of saves) to this power.
        frequent_share: Pins with a greater share of all saves are thinned out; 0 = none are.
        epoch_count: Passes over all sequences.
        rate_first: Step size at the start; it falls in a line.
        rate_last: Step size at the end.
        is_elu: Whether the hidden layer is the ELU of the input's row (literal Pin2Vec).
        thread_count: With more than one the vectors differ from run to run.
    """

    dimension: int = 128
    window_count: int = 5
    window_s: float = float("inf")
    is_symmetric: bool = True
    negative_count: int = 5
    noise_exponent: float = 0.75
    frequent_share: float = 1e-3
    epoch_count: int = 5
    rate_first: float = 0.025
    rate_last: float = 1e-4
    is_elu: bool = False
    thread_count: int = 1


@dataclass(frozen=True, slots=True)
class Sequences:
    """What people saved, in order.

    Attributes:
        pins: Pin indexes, int32[t], person by person, oldest first.
        times: When, float64[t], Unix seconds.
        bounds: Where each person's begin, int64[s + 1].
    """

    pins: NDArray[np.int32]
    times: NDArray[np.float64]
    bounds: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.bounds) - 1

    def without_tokens(self, dropped: NDArray[np.int64]) -> Sequences:
        """Return them without the tokens at some places."""
        kept = np.ones(len(self.pins), np.bool_)
        kept[dropped] = False
        before = np.concatenate(([0], np.cumsum(kept)))
        return Sequences(self.pins[kept], self.times[kept], before[self.bounds])


@dataclass(frozen=True, slots=True)
class Trained:
    """The two vectors of each pin, and how frequent each is.

    Attributes:
        inputs: float32[n, d]: what a pin says about its neighbours, after the ELU where there is
            one.
        outputs: float32[n, d]: where a pin stands among neighbours.
        priors: Logarithm of the chance to be drawn as noise, float32[n]; inputs[p] . outputs[q] +
            priors[q] estimates the logarithm of the chance that q follows p, up to a constant.
        pair_count: Pairs that were trained on, all epochs together.
    """

    inputs: NDArray[np.float32]
    outputs: NDArray[np.float32]
    priors: NDArray[np.float32]
    pair_count: int


def fit(
    sequences: Sequences,
    pin_count: int,
    settings: Pin2VecSettings,
    *,
    seed: int,
    advance: Callable[[int], object],
) -> Trained:
    """Learn the vectors.

    Args:
        sequences: At least one token of each pin index, or the pin keeps its random start.
        pin_count: n; with 0 there is nothing to learn.
        settings: The constants.
        seed: Of start, order and noise; with one thread the same seed gives the same bytes.
        advance: Told how many sequences were gone through.

    Source: Ma 2017 (Pin2Vec, Pinterest Engineering); Mikolov et al. 2013.

    Cost: about 1 us for each pair at d = 128 with 5 noise pins, on one core.
    """
    rng = np.random.default_rng(seed)
    inputs, outputs = _start(rng, pin_count, settings.dimension)
    counts = np.bincount(sequences.pins, minlength=pin_count).astype(np.float64)
    weights = np.maximum(counts, 1e-3) ** settings.noise_exponent
    if not pin_count:
        return Trained(inputs, outputs, np.empty(0, np.float32), 0)
    tokens = sequences.pins, sequences.times, sequences.bounds
    window = settings.window_count, settings.window_s, settings.is_symmetric
    keep_chances, noise = _keep_chances(counts, settings), kernels.alias_table(weights)
    fall = settings.rate_last - settings.rate_first

    def train(task: tuple[int, NDArray[np.int64]]) -> int:
        number, chosen = task
        done = np.array([number, number + 1]) / (settings.epoch_count * CHUNK_COUNT)
        rates = settings.rate_first + fall * done
        pair_count = kernels.train(
            tokens,
            chosen,
            window,
            keep_chances,
            noise,
            settings.negative_count,
            (float(rates[0]), float(rates[1])),
            settings.is_elu,
            (seed * 1_000_003 + number) % 2**63,
            (inputs, outputs),
        )
        advance(len(chosen))
        return int(pair_count)

    pair_count = 0
    with ThreadPoolExecutor(settings.thread_count) as pool:
        for epoch in range(settings.epoch_count):
            parts = np.array_split(rng.permutation(len(sequences)), CHUNK_COUNT)
            tasks = [(epoch * CHUNK_COUNT + place, part) for place, part in enumerate(parts)]
            pair_count += sum(pool.map(train, tasks))
    if settings.is_elu:
        inputs = np.where(inputs > 0, inputs, np.expm1(inputs))
    priors = np.log(weights / weights.sum()).astype(np.float32)
    return Trained(inputs, outputs, priors, pair_count)


def _start(
    rng: np.random.Generator, pin_count: int, dimension: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return random inputs and zero outputs.

    The inputs are 8 times as large as word2vec has them (0.5 / d): small ones take several epochs
    to leave the saddle at 0, which pins that are saved some ten times do not get (README).
    """
    inputs = rng.random((pin_count, dimension), np.float32) - np.float32(0.5)
    inputs *= np.float32(8.0 / dimension)
    return inputs, np.zeros((pin_count, dimension), np.float32)


def _keep_chances(counts: NDArray[np.float64], settings: Pin2VecSettings) -> NDArray[np.float32]:
    """Return with which chance a token of each pin is used (thinning of frequent words).

    Among few pins each has a large share: none is frequent that has less than ten times the mean.
    """
    if not settings.frequent_share:
        return np.ones(len(counts), np.float32)
    frequent = max(settings.frequent_share, 10.0 / len(counts))
    excess = np.maximum(counts / max(1.0, counts.sum()), 1e-12) / frequent
    chances: NDArray[np.float32] = (1.0 / np.sqrt(excess) + 1.0 / excess).clip(0, 1)
    return chances.astype(np.float32)


def session_vector(
    inputs: NDArray[np.float32], recent: NDArray[np.int32], fade: float
) -> NDArray[np.float32]:
    """Return the mean of the inputs of a session's pins, newest first, older ones times *fade*.

    Args:
        inputs: Of `Trained`.
        recent: Pin indexes, int32[s], s >= 1.
        fade: In (0, 1].
    """
    weights = np.float32(fade) ** np.arange(len(recent), dtype=np.float32)
    mean: NDArray[np.float32] = weights @ inputs[recent] / weights.sum()
    return mean


@dataclass(frozen=True, slots=True)
class Prepared:
    """For each pin the best others, best first.

    Attributes:
        indexes: Pin indexes, int32[n, k]; -1 where there are fewer.
        scores: float32[n, k].
    """

    indexes: NDArray[np.int32]
    scores: NDArray[np.float32]

    def of(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the list of one pin, cut to what there is."""
        count = int(np.searchsorted(-self.indexes[index] > 0, True))
        return self.indexes[index, :count], self.scores[index, :count]


class Pin2Vec:
    """One opened generation; read-only, safe from any number of threads.

    Attributes:
        rows: Catalogue row of each pin index, int32[n], ascending.
        inputs: See `Trained`; float32[n, d].
        outputs: See `Trained`; float32[n, d].
        priors: See `Trained`; float32[n].
        neighbours: By cosine of the inputs.
        followers: By estimated chance of being saved next.
        fade: How much less each older save of a session counts.
    """

    def __init__(
        self,
        rows: NDArray[np.int32],
        trained: Trained,
        neighbours: Prepared,
        followers: Prepared,
        *,
        fade: float,
    ) -> None:
        """Take parts that belong together; use `open_pin2vec`."""
        self.rows = rows
        self.inputs, self.outputs = trained.inputs, trained.outputs
        self.priors = trained.priors
        self.neighbours, self.followers = neighbours, followers
        self.fade = fade

    def __len__(self) -> int:
        """Return the number of pins that have a vector."""
        return len(self.rows)

    def indexes_of(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the pin index of each catalogue row, int32[m]; -1 for a pin without a vector."""
        if not len(self.rows):
            return np.full(len(rows), -1, np.int32)
        at = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        return np.where(self.rows[at] == rows, at, -1).astype(np.int32)

    def next_saves(
        self, recent: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return what may be saved next, scored exactly, in no order.

        Candidates are the followers of each recent pin; all of them are scored against the whole
        session.

        Args:
            recent: Pin indexes, int32[s], newest first, s >= 1.

        Returns:
            Distinct pin indexes, int32[m], and logarithms of chances up to a constant, float32[m].
        """
        met = self.followers.indexes[recent].ravel()
        found = np.unique(met[met >= 0])
        logits = self.outputs[found] @ session_vector(self.inputs, recent, self.fade)
        return found, logits + self.priors[found]


def write_pin2vec(draft: Draft, opened: Pin2Vec) -> None:
    """Write the arrays of a generation in the making."""
    for name, array in _arrays(opened).items():
        np.save(draft.path(f"{name}.npy"), array.astype(_DTYPES[name]), allow_pickle=False)


def _arrays(opened: Pin2Vec) -> dict[str, NDArray[Any]]:
    return {
        "rows": opened.rows,
        "inputs": opened.inputs,
        "outputs": opened.outputs,
        "priors": opened.priors,
        "neighbours": opened.neighbours.indexes,
        "neighbour_scores": opened.neighbours.scores,
        "followers": opened.followers.indexes,
        "follower_scores": opened.followers.scores,
    }


def open_pin2vec(generation: Generation) -> Pin2Vec:
    """Map a generation.

    Raises:
        Corrupted: Its arrays do not fit each other or the manifest.
    """
    arrays = {name: _mapped(generation.file(f"{name}.npy"), name) for name in _DTYPES}
    details = generation.manifest.details
    count, dimension = details.get("vector_count"), details.get("dimension")
    shapes = {name: array.shape for name, array in arrays.items()}
    fits = (
        shapes["inputs"] == shapes["outputs"] == (count, dimension)
        and shapes["rows"] == shapes["priors"] == (count,)
        and shapes["neighbours"] == shapes["neighbour_scores"]
        and shapes["followers"] == shapes["follower_scores"]
        and {len(array) for array in arrays.values()} == {count}
    )
    if not fits:
        raise Corrupted(f"pin2vec {generation.id}: its arrays have {shapes}", hint=_HINT)
    return Pin2Vec(
        arrays["rows"],
        Trained(arrays["inputs"], arrays["outputs"], arrays["priors"], 0),
        Prepared(arrays["neighbours"], arrays["neighbour_scores"]),
        Prepared(arrays["followers"], arrays["follower_scores"]),
        fade=float(details.get("fade", 1.0)),
    )


def _mapped(path: Path, name: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as fault:
        raise Corrupted(f"{path} cannot be read: {fault}", hint=_HINT) from fault
    if array.dtype != _DTYPES[name]:
        raise Corrupted(f"{path} holds {array.dtype}, not {_DTYPES[name]}", hint=_HINT)
    return array.view(np.ndarray)
