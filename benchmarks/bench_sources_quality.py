"""What each candidate source finds, beside popularity, ItemKNN, RP3beta, EASE and ALS on the same rows.

Two protocols. *One against 99*: a held-out pin and 99 others of a published split are put into the
order in which a source would propose them, asked with the user's whole history as query pins (up to
100); what it does not propose ties for the last places. *Full catalogue*: `corkboard evaluate
candidates`, the real services asked as ranking_service asks them, lists of up to 400 pins.

The sets may not be shipped. They are read from the folder that `--data` names; without it, and with
`--quick`, the small world of the tests is measured, which only shows that it works.

    .venv/bin/python benchmarks/bench_sources_quality.py --data ../shared/data --sets pinterest20
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from candidate_service.artifacts import Artifacts
from candidate_service.candidate import CandidateQuery, CandidateSource, Segment, Stop
from candidate_service.config import CandidateConfig
from candidate_service.source_registry import SourceContext, load_plugins
from corkboard.evaluation import baselines
from corkboard.evaluation.metrics import one_against_many
from corkboard.importing import import_folder
from corkboard.pipeline import STEPS, Needs, Order, Outcome, run_steps
from service_runtime.generations import GenerationStore
from service_runtime.telemetry import Metrics

DAY_US = 86_400_000_000
EPOCH_US = 1_600_000_000_000_000
QUERY_PINS_MAX = 100
NEGATIVES = 99


@dataclass(frozen=True, slots=True)
class OneAgainstMany:
    """A published split: for each tested user the right pin and 99 others, int32[u, 100]."""

    users: NDArray[np.int32]
    pins: NDArray[np.int32]
    tested_users: NDArray[np.int32]
    candidates: NDArray[np.int32]


def write_pairs(folder: Path, table: pa.Table) -> None:
    """A folder that `corkboard import` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "interactions.parquet")


def build(folder: Path, root: Path) -> None:
    """Import and run the jobs of candidate_service."""
    import_folder(folder, root)
    steps = [step for step in STEPS if step.needs is not Needs.NOTHING]
    wanted = [step for step in steps if step.module.startswith("candidate_service")]
    for result in run_steps(wanted, Order(root, time.time() + 1)):
        if result.outcome is Outcome.FAILED:
            sys.exit(f"{result.step.name}: {result.reason}")


def read_published(folder: Path, user_count: int, seed: int = 0) -> OneAgainstMany:
    """The split of He et al. 2017, a random part of its tested users."""
    train = pq.read_table(folder / "train.parquet")
    test = pq.read_table(folder / "test.parquet").sort_by("user_id")
    order = [("user_id", "ascending"), ("rank", "ascending")]
    negatives = pq.read_table(folder / "test_negatives.parquet").sort_by(order)
    tested = test["user_id"].to_numpy().astype(np.int32)
    others = negatives["item_id"].to_numpy().reshape(-1, NEGATIVES)
    candidates = np.hstack([test["item_id"].to_numpy()[:, None], others]).astype(np.int32)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(tested))[:user_count])
    return OneAgainstMany(
        train["user_id"].to_numpy().astype(np.int32),
        train["item_id"].to_numpy().astype(np.int32),
        tested[chosen],
        candidates[chosen],
    )


def open_sources(root: Path, **settings: object) -> tuple[list[CandidateSource], Artifacts]:
    """The sources as the service opens them."""
    config = CandidateConfig(data_root=root, **settings)  # type: ignore[arg-type]
    artifacts = Artifacts(GenerationStore(root / "generations"))
    context = SourceContext(config, artifacts, Metrics("bench"))
    return [plugin.make(context) for plugin in load_plugins(config.sources)], artifacts


def source_scores(
    source: CandidateSource,
    histories: Sequence[NDArray[np.int32]],
    candidates: NDArray[np.int32],
    pin_count: int,
) -> NDArray[np.float64]:
    """Minus the place of each candidate in the source's list; what is not in it ties for the last.

    Args:
        source: Asked once a user.
        histories: Query rows of each user.
        candidates: Catalogue rows, int32[u, c].
        pin_count: Rows of the catalogue.
    """
    scores = np.empty(candidates.shape)
    for at, history in enumerate(histories):
        allowed = np.zeros(pin_count, np.bool_)
        allowed[candidates[at]] = True
        query = CandidateQuery(
            query_rows=history,
            weights=np.ones(len(history), np.float32),
            seed=at,
            segment=Segment(),
            stop=Stop.never(),
            session_rows=history[::-1][:QUERY_PINS_MAX].copy(),
            allowed=allowed,
        )
        found = source.retrieve(query, pin_count).rows
        places = np.full(pin_count, float(pin_count))
        places[found] = np.arange(len(found))
        scores[at] = -places[candidates[at]]
    return scores


def histories_of(
    split: OneAgainstMany, rows: NDArray[np.int32], seed: int = 0
) -> list[NDArray[np.int32]]:
    """Catalogue rows of each tested user's pins, at most 100, drawn by chance where more."""
    rng = np.random.default_rng(seed)
    order = np.argsort(split.users, kind="stable")
    bounds = np.searchsorted(split.users[order], [split.tested_users, split.tested_users + 1])
    found = []
    for begin, end in bounds.T:
        pins = np.unique(split.pins[order[begin:end]])
        mine = rows[pins]
        mine = mine[mine >= 0]
        found.append(np.sort(rng.permutation(mine)[:QUERY_PINS_MAX]).astype(np.int32))
    return found


def one_against_99(
    name: str, split: OneAgainstMany, work: Path, models: Sequence[baselines.Baseline]
) -> list[str]:
    """Rows of the table of one set."""
    write_pairs(
        work / "folder",
        pa.table({"user_id": pa.array(split.users), "item_id": pa.array(split.pins)}),
    )
    build(work / "folder", work / "root")
    sources, artifacts = open_sources(work / "root")
    pin_count = int(max(split.pins.max(), split.candidates.max())) + 1
    user_count = int(max(split.users.max(), split.tested_users.max())) + 1
    pairs = baselines.pair_matrix(split.users, split.pins, (user_count, pin_count))
    rows = artifacts.catalogue().ids.rows([str(pin) for pin in range(pin_count)])
    beyond = np.arange(pin_count, dtype=np.int32) + len(artifacts.catalogue())
    own_rows = np.where(rows >= 0, rows, beyond).astype(np.int32)  # unknown pins: never proposed
    histories = histories_of(split, rows)
    figures: list[tuple[str, str, float, float, float]] = []
    for baseline in models:
        began = time.perf_counter()
        scores = baselines.scores_of(
            baseline.fit(pairs), pairs[split.tested_users], split.candidates
        )
        took = time.perf_counter() - began
        figures.append((baseline.name, baseline.origin, *one_against_many(scores), took))
        print(figures[-1], file=sys.stderr)
    for source in sources:
        began = time.perf_counter()
        scores = source_scores(
            source, histories, own_rows[split.candidates], int(own_rows.max()) + 1
        )
        took = time.perf_counter() - began
        figures.append((f"`{source.name}`", "this project", *one_against_many(scores), took))
        print(figures[-1], file=sys.stderr)
    best = max(figure[2] for figure in figures if figure[1] != "this project")
    return [
        f"| {name} | {model} | {origin} | {hit:.3f} | {gain:.3f} | {hit / best:.2f}× | {took:.0f} |"
        for model, origin, hit, gain, took in figures
    ]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sets", nargs="*", default=["pinterest20"])
    parser.add_argument("--users", type=int, default=3000)
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    models = () if options.no_baselines else baselines.BASELINES
    with tempfile.TemporaryDirectory() as work:
        print("| set | model | from | HR@10 | NDCG@10 | HR against the best baseline | seconds |")
        print("|---|---|---|---|---|---|---|")
        for name in options.sets:
            split = read_published(options.data / name, options.users)
            for row in one_against_99(name, split, Path(work) / name, models):
                print(row)


if __name__ == "__main__":
    main()
