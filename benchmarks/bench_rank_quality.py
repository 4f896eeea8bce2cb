"""Does the ranker order better than what it is built from? One held-out pin against 99 others.

The protocol of He et al. 2017: for each tested user 100 pins, one of which the user saved; HR@10
and NDCG@10. Every model learns from the same pairs. Ours goes the way of the product: the pairs
are imported, every artifact is built by its job, the ranker is trained on pairs held out of the
training set (artifacts built without them), published as a generation, and RankPins is asked over
gRPC.

    .venv/bin/python benchmarks/bench_rank_quality.py --data FOLDER

where FOLDER holds train.parquet, test.parquet (user_id, item_id) and test_negatives.parquet (99 a
user). Without it a small synthetic set is made, which proves that the path works and nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightgbm  # noqa: F401  before usearch, see docs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp
from numpy.typing import NDArray
from rank_baselines import Tuned, all_baselines, tune

from corkboard.evaluation.metrics import one_against_many
from corkboard.importing import import_folder
from corkboard.pipeline import Order, Outcome, choose_steps, run_steps
from corkboard.stack import Stack
from ranking_service.config import RankingConfig
from ranking_service.examples import OBJECTIVES, Examples
from ranking_service.features import FEATURE_NAMES, feature_rows, make_context
from ranking_service.models.boosting import BoostSettings
from ranking_service.models.calibration import calibration_error
from ranking_service.models.entries import LAMBDAMART, RANKNET_GBDT, Fitted, Recipe, fit
from ranking_service.models.example_split import Split
from ranking_service.pool import pool_of
from ranking_service.query import Surface, Viewer
from ranking_service.ranker import (
    POINTWISE_GBDT,
    RANKER_ARTIFACT,
    RANKER_FORMAT_VERSION,
    write_ranker,
)
from ranking_service.upstream import Upstream, make_stubs
from ranking_service.world import Artifacts
from service_runtime.generation_store import GenerationStore
from service_runtime.grpc_client import open_channel
from service_runtime.telemetry import Metrics

STEPS = ("build_catalogue", "build_graph", "learn_vectors", "build_popular", "rebuild_profiles")
NEGATIVE_COUNT = 99
ASKING_THREADS = 2
PATIENCE = "profile_budget_ms=2000"
"""Quality is measured here, not a busy machine: a late profile would be an answer without one."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """A published split: training pairs, and 100 candidates a tested user, the right one first."""

    users: NDArray[np.int64]
    pins: NDArray[np.int64]
    tested: NDArray[np.int64]
    candidates: NDArray[np.int32]
    pin_count: int

    def matrix(self, kept: NDArray[np.bool_] | None = None) -> sp.csr_matrix:
        """Users by pins, 1 for each pair."""
        chosen = slice(None) if kept is None else kept
        users, pins = self.users[chosen], self.pins[chosen]
        shape = (int(self.users.max()) + 1, self.pin_count)
        matrix = sp.csr_matrix((np.ones(len(users), np.float32), (users, pins)), shape=shape)
        matrix.data[:] = 1.0
        return matrix


def load(folder: Path, tested_max: int) -> Pairs:
    """Read a published split."""
    train = pq.read_table(folder / "train.parquet")
    test = pq.read_table(folder / "test.parquet")
    others = pq.read_table(folder / "test_negatives.parquet")
    negatives = others["item_id"].to_numpy().reshape(-1, NEGATIVE_COUNT)
    assert (others["user_id"].to_numpy()[::NEGATIVE_COUNT] == test["user_id"].to_numpy()).all()
    candidates = np.concatenate([test["item_id"].to_numpy()[:, None], negatives], axis=1)
    pins = train["item_id"].to_numpy().astype(np.int64)
    count = int(max(pins.max(), candidates.max())) + 1
    users = train["user_id"].to_numpy().astype(np.int64)
    tested = test["user_id"].to_numpy().astype(np.int64)
    part = slice(0, tested_max or None)
    return Pairs(users, pins, tested[part], candidates[part].astype(np.int32), count)


def made_up(user_count: int, pin_count: int, seed: int = 0) -> Pairs:
    """People of two tastes out of eight each, who save pins of those."""
    rng = np.random.default_rng(seed)
    taste = np.arange(pin_count) % 8
    users, pins, tested, candidates = [], [], [], []
    for user in range(user_count):
        own = rng.choice(8, 2, replace=False)
        liked = np.flatnonzero(np.isin(taste, own))
        chance = 1.0 / (5.0 + np.arange(liked.size))
        saved = rng.choice(liked, 13, replace=False, p=chance / chance.sum())
        others = rng.choice(np.setdiff1d(np.arange(pin_count), saved), NEGATIVE_COUNT)
        users += [user] * 12
        pins += saved[1:].tolist()
        tested.append(user)
        candidates.append([saved[0], *others])
    return Pairs(
        np.array(users), np.array(pins), np.array(tested), np.array(candidates, np.int32), pin_count
    )


def hold_out(pairs: Pairs, list_count: int, seed: int) -> tuple[Any, Any, Any]:
    """One pair of each user, by chance, and 99 pins that the user has not: (kept, users, lists)."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pairs.users))
    counts = np.bincount(pairs.users)
    _, first = np.unique(pairs.users[order], return_index=True)
    held = order[first]
    held = held[counts[pairs.users[held]] > 1]
    kept = np.ones(len(pairs.users), np.bool_)
    kept[held] = False
    held = rng.permutation(held)[:list_count]
    owned = pairs.matrix()
    lists = np.empty((len(held), NEGATIVE_COUNT + 1), np.int32)
    for place, pair in enumerate(held):
        user = pairs.users[pair]
        own = owned.indices[owned.indptr[user] : owned.indptr[user + 1]]
        drawn = rng.integers(0, pairs.pin_count, 4 * NEGATIVE_COUNT)
        fresh = drawn[~np.isin(drawn, own)][:NEGATIVE_COUNT]
        lists[place] = [pairs.pins[pair], *fresh]
    return kept, pairs.users[held], lists


def build_root(root: Path, users: NDArray[np.int64], pins: NDArray[np.int64]) -> None:
    """Import pairs and build what ranking reads, by the product's own jobs."""
    folder = root.with_name(root.name + "-import")
    folder.mkdir(parents=True)
    columns = {"user_id": users.astype(str), "pin_id": pins.astype(str)}
    pq.write_table(pa.table(columns), folder / "interactions.parquet")
    import_folder(folder, root)
    for result in run_steps(choose_steps(only=STEPS), Order(root, time.time() + 1)):
        assert result.outcome is Outcome.DONE, (result.step.name, result.reason)


def training_rows(
    root: Path, users: NDArray[np.int64], lists: NDArray[np.int32]
) -> NDArray[np.float32]:
    """What RankPins would compute for these lists: float32[n, 100, f], lists in their own order."""
    world = Artifacts(GenerationStore(root / "generations")).world()
    with Stack(data_root=root, services=("profile_service",)) as stack:
        config = RankingConfig(
            data_root=root,
            profile_target=stack.targets["profile_service"],
            profile_budget_ms=2000,
        )
        open_ = partial(open_channel, message_bytes_max=config.request_bytes_max)
        channel = open_(config.profile_target)
        upstream = Upstream(make_stubs(channel, channel), config, Metrics("bench"))
        out = np.empty((*lists.shape, len(FEATURE_NAMES)), np.float32)
        now = time.time()
        for place, (user, pins) in enumerate(zip(users, lists, strict=True)):
            rows = world.catalogue.pin_ids.rows([str(pin) for pin in pins])
            context = make_context(
                world,
                upstream.profile(str(user)),
                Viewer(),
                surface=Surface.HOME_FEED,
                query_row=-1,
                now=now,
            )
            pool = pool_of(np.unique(rows))
            found = feature_rows(pool, context)
            out[place] = found[np.searchsorted(pool.rows, rows)]
        channel.close()
    return out


def as_split(rows: NDArray[np.float32]) -> Split:
    """Four fifths of the lists train, the others judge in two halves."""
    count, length, width = rows.shape
    labels = np.zeros((count, length), np.int8)
    labels[:, 0] = 1
    lists = np.repeat(np.arange(count), length)
    outcomes = np.zeros((count * length, len(OBJECTIVES)), np.int8)
    outcomes[:, 0] = labels.ravel()
    examples = Examples(
        features=rows.reshape(-1, width),
        labels=labels.ravel(),
        times_us=lists,
        lists=lists,
        user_parts=lists,
        positions=np.tile(np.arange(length), count),
        query_keys=lists,
        pin_keys=np.arange(count * length),
        outcomes=outcomes,
        is_randomised=np.ones(count * length, np.bool_),
    )
    is_judging = lists >= count * 4 // 5
    halves = [examples.where(is_judging & (lists % 2 == half)) for half in (0, 1)]
    return Split(examples.where(~is_judging), (halves[0], halves[1]), 0)


def publish(root: Path, fitted: Fitted) -> None:
    """Make the ranker a generation that the service opens."""
    assert fitted.ranker is not None
    store = GenerationStore(root / "generations")
    with store.draft(RANKER_ARTIFACT, format_version=RANKER_FORMAT_VERSION) as draft:
        write_ranker(draft.folder, {"save": fitted.ranker}, feature_names=FEATURE_NAMES)
        draft.publish(as_of_us=0, details={"model": fitted.ranker.model})


def ask_all(
    root: Path, tested: NDArray[np.int64], candidates: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """Scores of every candidate by RankPins, milliseconds of every call, and the model's name."""
    scores = np.full(candidates.shape, -1.0)
    took = np.zeros(len(tested))
    models: set[str] = set()
    with (
        Stack(
            data_root=root,
            services=("profile_service", "ranking_service"),
            settings={"ranking_service": [PATIENCE]},
        ) as stack,
        ThreadPoolExecutor(ASKING_THREADS) as pool,
    ):
        from corkboard.ranking.v1 import ranking_service_pb2 as pb
        from corkboard.ranking.v1.ranking_service_pb2_grpc import RankingServiceStub

        channel = open_channel(stack.targets["ranking_service"], message_bytes_max=1 << 22)
        stub = RankingServiceStub(channel)

        def ask(place: int) -> None:
            pins = [str(pin) for pin in candidates[place]]
            request = pb.RankPinsRequest(
                user_id=str(tested[place]), pin_ids=list(dict.fromkeys(pins))
            )
            begin = time.monotonic()
            answer = stub.RankPins(request, timeout=30)
            took[place] = 1e3 * (time.monotonic() - begin)
            assert "profile" not in {part.part for part in answer.degradations}, "a late profile"
            models.add(answer.model)
            found = {pin.pin_id: pin.score for pin in answer.pins}
            # Equal scores keep the order of the answer, so that its places are what counts.
            scores[place] = [found.get(pin, -1.0) for pin in pins]

        for _ in pool.map(ask, range(len(tested))):
            pass
        channel.close()
    assert len(models) == 1, models
    return scores, took, models.pop()


def stacked(baselines: list[Tuned], lists: NDArray[np.int32], pairs: Pairs) -> NDArray[np.float64]:
    """LambdaRank over the baselines' scores: the bar to pass next."""
    import lightgbm as lgb

    held = np.stack([model.held_out for model in baselines], axis=2)
    labels = np.zeros(held.shape[:2])
    labels[:, 0] = 1
    settings = {"objective": "lambdarank", "verbose": -1, "num_threads": 1, "num_leaves": 31}
    settings |= {"learning_rate": 0.05, "min_data_in_leaf": 200, "deterministic": True}
    groups = [lists.shape[1]] * len(lists)
    rows = lgb.Dataset(held.reshape(-1, len(baselines)), labels.ravel(), group=groups)
    booster = lgb.train(settings, rows, 150)
    tested = [model.scorer(pairs.tested, pairs.candidates) for model in baselines]
    x = np.stack(tested, axis=2)
    scores: Any = booster.predict(x.reshape(-1, len(baselines)), num_threads=1)
    return np.asarray(scores).reshape(pairs.candidates.shape)


def lines(name: str, scores: NDArray[np.float64], reference: float, note: str) -> Iterator[str]:
    """One row of the table."""
    hit, ndcg = one_against_many(scores)
    yield f"| {name} | {hit:.4f} | {ndcg:.4f} | {ndcg / reference:.3f} | {note} |"


def main() -> None:
    """Build, train, ask, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of a published split")
    parser.add_argument("--tested", type=int, default=0, help="users to test (default: all)")
    parser.add_argument("--lists", type=int, default=15_000, help="lists to train on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    pairs = load(arguments.data, arguments.tested) if arguments.data else made_up(200, 240)
    list_count = arguments.lists if arguments.data else 150
    kept, users, lists = hold_out(pairs, list_count, arguments.seed)
    with tempfile.TemporaryDirectory(prefix="rank-quality-") as scratch:
        less_root, more_root = Path(scratch) / "less", Path(scratch) / "more"
        build_root(less_root, pairs.users[kept], pairs.pins[kept])
        split = as_split(training_rows(less_root, users, lists))
        if arguments.data:
            build_root(more_root, pairs.users, pairs.pins)
        else:
            more_root = less_root  # in small, one build must do
        boosting = BoostSettings(300, 31, 0.05, 200, 2, arguments.seed, lambda _: None)
        ours = []
        models = (POINTWISE_GBDT, RANKNET_GBDT, LAMBDAMART)
        for model in models if arguments.data else (POINTWISE_GBDT,):
            fitted = fit(Recipe(model, replace(boosting, tree_count_max=300)), split)
            publish(more_root, fitted)
            scores, took, served = ask_all(more_root, pairs.tested, pairs.candidates)
            error = calibration_error(fitted.judged, split.newer.labels)
            p50, p99 = np.percentile(took, (50, 99))
            note = f"{fitted.size} trees, calibration error {error:.4f}, call p50 {p50:.1f} ms, "
            ours.append((f"**RankPins, {served}**", scores, note + f"p99 {p99:.1f} ms"))
        del split
        less, more = pairs.matrix(kept), pairs.matrix()
        baselines = [
            tune(name, settings, fit_, less=less, more=more, users=users, candidates=lists)
            for name, settings, fit_ in all_baselines(is_quick=not arguments.data)
        ]
    tested = [(b, b.scorer(pairs.tested, pairs.candidates)) for b in baselines]
    best = max(one_against_many(scores)[1] for _, scores in tested)
    title = f"{len(pairs.tested):,} users, {pairs.pin_count:,} pins, {len(pairs.users):,} pairs"
    print(f"## Order of given pins: one against {NEGATIVE_COUNT} ({title})\n")
    print("| model | HR@10 | NDCG@10 | NDCG / best baseline | |\n|---|---|---|---|---|")
    for baseline, scores in tested:
        note = f"{baseline.setting}; fit {baseline.seconds:.0f} s"
        print(*lines(baseline.name, scores, best, note), sep="\n")
    top = stacked(baselines, lists, pairs)
    print(*lines("LambdaRank over those four", top, best, "the bar to pass next"), sep="\n")
    for name, scores, note in ours:
        print(*lines(name, scores, best, note), sep="\n")


if __name__ == "__main__":
    main()
