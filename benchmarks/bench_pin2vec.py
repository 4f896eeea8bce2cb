"""Pin2Vec: pairs a second and quality together, against a library where one is at hand.

Part one, on sessions that stay within topics: training speed, and whether a pin's ten nearest are
of its topic. With `--library-python PATH` the same sessions go to gensim in that interpreter (it is
no dependency of ours: LGPL); its speed is its own, its vectors are judged here.

Part two, on ordered sequences that one has to bring (`--sequences FILE.parquet`, columns user_id,
pos, item_id): the last pin of each person is kept out and all pins are ranked: the next save, near
pins of the last pin, and ten-line baselines.

    .venv/bin/python benchmarks/bench_pin2vec.py --library-python /tmp/gensim/bin/python \
        --sequences beauty.parquet
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from candidate_service.pin2vec import Pin2VecSettings, Sequences, fit, session_vector
from service_runtime.vector_table import unit_rows

LENGTH = 12
STAY = 0.9
"""Chance that the next pin of a session is of the same topic."""
JUDGED_COUNT = 3000
DEFAULTS = Pin2VecSettings(
    epoch_count=20, rate_first=0.1, rate_last=0.001, negative_count=10, is_symmetric=False
)
"""The service's settings, but for the window in time."""
WORD2VEC = Pin2VecSettings(epoch_count=2)
"""As gensim has it by default: both sides, 5 noise words, steps from 0.025."""

LIBRARY = """
import json, sys, time
import numpy as np
from gensim.models import Word2Vec
folder, workers, dimension, epochs = sys.argv[1], *map(int, sys.argv[2:5])
pins, bounds = np.load(folder + "/pins.npy"), np.load(folder + "/bounds.npy")
words = [str(pin) for pin in pins.tolist()]
sentences = [words[a:b] for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist())]
model = Word2Vec(vector_size=dimension, window=5, min_count=1, sg=1, negative=5, sample=1e-3,
                 workers=workers, seed=1)
model.build_vocab(sentences)
cpu, wall = time.process_time(), time.perf_counter()
model.train(sentences, total_examples=len(sentences), epochs=epochs)
cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
count = int(pins.max()) + 1
tables = np.zeros((2, count, dimension), np.float32)
for word, at in model.wv.key_to_index.items():
    tables[0, int(word)], tables[1, int(word)] = model.wv.vectors[at], model.syn1neg[at]
np.save(folder + "/tables.npy", tables)
print(json.dumps([cpu, wall]))
"""


def topic_world(
    session_count: int, pin_count: int, topic_count: int
) -> tuple[Sequences, NDArray[np.int32]]:
    """Sessions that mostly stay within a topic, pins of skewed popularity, and each pin's topic."""
    rng = np.random.default_rng(0)
    topic_of = np.sort(rng.integers(topic_count, size=pin_count)).astype(np.int32)
    begins = np.searchsorted(topic_of, np.arange(topic_count + 1))
    topics = np.empty((session_count, LENGTH), np.int64)
    topics[:, 0] = rng.integers(topic_count, size=session_count)
    for step in range(1, LENGTH):
        stays = rng.random(session_count) < STAY
        other = rng.integers(topic_count, size=session_count)
        topics[:, step] = np.where(stays, topics[:, step - 1], other)
    popularity = (1.0 + rng.permutation(pin_count)) ** -0.5
    totals = np.concatenate(([0.0], np.cumsum(popularity)))
    low, high = totals[begins[topics]], totals[begins[topics + 1]]
    drawn = np.searchsorted(totals, low + rng.random(topics.shape) * (high - low), "right") - 1
    pins = drawn.clip(0, pin_count - 1).astype(np.int32).ravel()
    bounds = np.arange(session_count + 1, dtype=np.int64) * LENGTH
    return Sequences(pins, np.zeros(len(pins)), bounds), topic_of


def topic_precision(
    vectors: NDArray[np.float32], topic_of: NDArray[np.int32], counts: NDArray[np.int64]
) -> float:
    """Share of the ten nearest pins that are of the topic, over pins saved at least five times."""
    rng = np.random.default_rng(1)
    present = np.flatnonzero(counts >= 5)
    asked = rng.choice(present, min(2000, len(present)), replace=False)
    unit = unit_rows(vectors)
    cosines = unit[asked] @ unit[present].T
    cosines[np.arange(len(asked)), np.searchsorted(present, asked)] = -9.0
    nearest = present[np.argpartition(-cosines, 10, axis=1)[:, :10]]
    return float((topic_of[nearest] == topic_of[asked][:, None]).mean())


def speed_table(arguments: argparse.Namespace) -> None:
    """Train on the topic world in several ways, in turns."""
    size = (2000, 500, 20) if arguments.quick else (100_000, 25_000, 500)
    sequences, topic_of = topic_world(*size)
    counts = np.bincount(sequences.pins, minlength=size[1])
    print(f"### {size[0]:,} sessions of {LENGTH}, {size[1]:,} pins, {size[2]:,} topics, d = 128\n")
    print("| trainer | M pairs | CPU s | M pairs / CPU s | M pairs / s | topic precision@10 |")
    print("| --- | --- | --- | --- | --- | --- |")
    variants = {
        "ours, word2vec's settings": WORD2VEC,
        "ours, two threads": replace(WORD2VEC, thread_count=2),
        "ours, ELU": replace(WORD2VEC, is_elu=True),
        "ours, service's settings": replace(DEFAULTS, epoch_count=2),
    }
    fit(topic_world(10, 50, 2)[0], 50, WORD2VEC, seed=0, advance=lambda _: None)  # compile
    pair_count = 0
    for name, settings in variants.items():
        cpu, wall = time.process_time(), time.perf_counter()
        trained = fit(sequences, size[1], settings, seed=1, advance=lambda _: None)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        pair_count = pair_count or trained.pair_count
        precision = topic_precision(trained.inputs, topic_of, counts)
        _row(name, trained.pair_count, cpu, wall, precision)
    for workers in (1, 2) if arguments.library_python else ():
        cpu, wall, tables = library(arguments.library_python, sequences, workers, epochs=2)
        _row(
            f"gensim, {workers} workers",
            pair_count,
            cpu,
            wall,
            topic_precision(tables[0], topic_of, counts),
        )
    print()


def _row(name: str, pairs: int, cpu: float, wall: float, precision: float) -> None:
    speeds = f"{pairs / cpu / 1e6:.2f} | {pairs / wall / 1e6:.2f}"
    print(f"| {name} | {pairs / 1e6:.1f} | {cpu:.1f} | {speeds} | {precision:.3f} |", flush=True)


def library(
    python: str, sequences: Sequences, workers: int, *, epochs: int
) -> tuple[float, float, NDArray[np.float32]]:
    """Train gensim in another interpreter; CPU and wall seconds, input and output vectors."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/pins.npy", sequences.pins)
        np.save(f"{folder}/bounds.npy", sequences.bounds)
        command = [python, "-c", LIBRARY, folder, str(workers), "128", str(epochs)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        cpu, wall = json.loads(done.stdout)
        return cpu, wall, np.load(f"{folder}/tables.npy")


def read_sequences(path: Path) -> tuple[Sequences, NDArray[np.int32], int]:
    """Read ordered sequences; return all but each last pin, the last pins, and how many pins."""
    table = pq.read_table(path).sort_by([("user_id", "ascending"), ("pos", "ascending")])
    users = table["user_id"].to_numpy()
    _, pins = np.unique(table["item_id"].to_numpy(), return_inverse=True)
    begins = np.flatnonzero(np.diff(users, prepend=users[0] - 1))
    bounds = np.append(begins, len(users)).astype(np.int64)
    times = np.arange(len(users), dtype=np.float64)
    whole = Sequences(pins.astype(np.int32), times, bounds)
    last = bounds[1:] - 1
    return whole.without_tokens(last), whole.pins[last], int(pins.max()) + 1


def write_sequences(sequences: Sequences, path: Path) -> None:
    """Write sequences as `read_sequences` reads them."""
    lengths = np.diff(sequences.bounds)
    columns = {
        "user_id": np.repeat(np.arange(len(sequences)), lengths),
        "pos": np.concatenate([np.arange(length) for length in lengths.tolist()]),
        "item_id": sequences.pins,
    }
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table(columns), path)


Score = Callable[[NDArray[np.int32]], NDArray[np.float32]]


def ranks_of(
    score: Score, sequences: Sequences, truths: NDArray[np.int32], people: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Rank of each kept-out pin among all that the person does not have, from 0; ties half."""
    ranks = []
    for person in people.tolist():
        had = sequences.pins[sequences.bounds[person] : sequences.bounds[person + 1]]
        scores = np.array(score(had[::-1]))
        scores[had] = -np.inf
        own = scores[truths[person]]
        ranks.append((scores > own).sum() + ((scores == own).sum() - 1) // 2)
    return np.array(ranks)


def quality_table(arguments: argparse.Namespace, path: Path) -> None:
    """Next save and near pins, ours and baselines, on real sequences."""
    sequences, truths, count = read_sequences(path)
    rng = np.random.default_rng(0)
    people = np.flatnonzero(np.diff(sequences.bounds) > 0)
    people = np.sort(rng.choice(people, min(JUDGED_COUNT, len(people)), replace=False))
    size = f"{count:,} pins, {len(sequences):,} people, {len(people):,} judged"
    print(f"### {path.parent.name}: {size}\n")
    print("| ranking of all pins by | HR@10 | NDCG@10 | HR@100 | CPU s to train |")
    print("| --- | --- | --- | --- | --- |")

    def judge(name: str, score: Score, seconds: float = 0.0) -> None:
        ranks = ranks_of(score, sequences, truths, people)
        gains = np.where(ranks < 10, 1.0 / np.log2(ranks + 2.0), 0.0)
        rates = f"{(ranks < 10).mean():.4f} | {gains.mean():.4f} | {(ranks < 100).mean():.4f}"
        print(f"| {name} | {rates} | {seconds:.1f} |", flush=True)

    counts = np.bincount(sequences.pins, minlength=count).astype(np.float32)
    judge("popularity", lambda _: counts)
    similar = _item_knn(sequences, count)
    judge("item-kNN, sum of cosines", lambda had: np.asarray(similar[had].sum(axis=0)).ravel())
    judge("item-kNN, last pin", lambda had: np.asarray(similar[had[0]].todense()).ravel())
    variants = {
        "service's settings": DEFAULTS,
        "both sides": replace(DEFAULTS, is_symmetric=True),
        "5 noise pins": replace(DEFAULTS, negative_count=5),
        "20 noise pins": replace(DEFAULTS, negative_count=20),
        "ELU": replace(DEFAULTS, is_elu=True),
        "10 epochs": replace(DEFAULTS, epoch_count=10),
        "word2vec's settings, 20 epochs": replace(WORD2VEC, epoch_count=20),
    }
    for name, settings in variants.items():
        seconds = time.process_time()
        trained = fit(sequences, count, settings, seed=1, advance=lambda _: None)
        seconds = time.process_time() - seconds
        tables = trained.inputs, trained.outputs
        judge(f"pin2vec next, {name}", _next(*tables, trained.priors), seconds)
        if name in {"service's settings", "both sides", "ELU"}:
            judge(f"pin2vec near the last pin, {name}", _near(trained.inputs), seconds)
    if arguments.library_python:
        cpu, _, tables = library(arguments.library_python, sequences, 1, epochs=20)
        priors = 0.75 * np.log(np.maximum(counts, 1.0))
        judge("gensim next, 20 epochs", _next(tables[0], tables[1], priors), cpu)
        judge("gensim near the last pin, 20 epochs", _near(tables[0]), cpu)
    print()


def _next(
    inputs: NDArray[np.float32], outputs: NDArray[np.float32], priors: NDArray[np.float32]
) -> Score:
    return lambda had: outputs @ session_vector(inputs, had[:10], 0.5) + priors


def _near(inputs: NDArray[np.float32]) -> Score:
    unit = unit_rows(inputs)
    return lambda had: unit @ unit[had[0]]


def _item_knn(sequences: Sequences, count: int) -> sp.csr_matrix:
    """Cosines of all pairs of pins that anybody has both of."""
    people = np.repeat(np.arange(len(sequences)), np.diff(sequences.bounds))
    ones = np.ones(len(people), np.float32)
    has = sp.csr_matrix((ones, (people, sequences.pins)), shape=(len(sequences), count))
    has.data[:] = 1.0
    norms = 1.0 / np.sqrt(np.maximum(np.asarray(has.sum(axis=0)).ravel(), 1.0))
    unit = has @ sp.diags(norms)
    similar = sp.csr_matrix(unit.T @ unit)
    similar.setdiag(0.0)
    return similar


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    parser.add_argument("--library-python", default="", help="an interpreter that has gensim")
    parser.add_argument("--sequences", type=Path, nargs="*", default=[], help="Parquet files")
    arguments = parser.parse_args()
    print("## Pin2Vec: pairs a second and quality\n")
    speed_table(arguments)
    for path in arguments.sequences:
        quality_table(arguments, path)
    if arguments.quick and not arguments.sequences:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "topics" / "sequences.parquet"
            write_sequences(topic_world(300, 100, 10)[0], path)
            quality_table(arguments, path)


if __name__ == "__main__":
    main()
