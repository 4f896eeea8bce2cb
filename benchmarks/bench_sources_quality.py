"""What each candidate source finds, beside five baselines that learn from the same rows.

Two protocols. *One against 99*: a held-out pin and 99 others of a published split are put into the
order in which a source would propose them, asked with the user's whole history as query pins (up to
100); what it does not propose ties for the last places. The same order over all pins gives recall.
*Full catalogue*: `corkboard evaluate candidates`, the real services asked as ranking_service asks
them, with a few interests, for lists of up to 400 pins.

The sets may not be shipped. They are read from the folder that `--data` names; without it, and with
`--quick`, the small world of the tests is measured, which only shows that it works.

    .venv/bin/python benchmarks/bench_sources_quality.py --data DATA --sets pinterest20
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy.sparse as sp
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from candidate_service.artifacts import Artifacts
from candidate_service.candidate import CandidateQuery, CandidateSource, Segment, Stop
from candidate_service.config import CandidateConfig
from candidate_service.source_registry import SourceContext, load_plugins
from corkboard.evaluation import baselines
from corkboard.evaluation.candidate_page import write_page
from corkboard.evaluation.candidates import Plan, evaluate
from corkboard.evaluation.choices import SplitKind, Start
from corkboard.evaluation.judging import ListReport
from corkboard.evaluation.metrics import one_against_many
from corkboard.evaluation.page import number
from corkboard.importing import import_folder
from corkboard.pipeline import Needs, Order, Outcome, choose_steps, run_steps
from service_runtime.errors import NotReady
from service_runtime.generations import GenerationStore
from service_runtime.telemetry import Metrics

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
END_US = 1_767_225_600_000_000  # 2026-01-01; any day does
QUERY_PINS_MAX = 100
DEPTHS = (10, 100, 400)
Figures = tuple[float, ...]
"""HR@10 and NDCG@10 of 1 against 99, then recall on the full catalogue at each of DEPTHS."""
HEAD = (
    "| | recall@10 | recall@100 (95 %) | / best baseline | recall@400 | HR@10 | NDCG@10 "
    "| coverage@100 | novelty@100 | alone | anywhere | cold pins@100 | p50 / p99 ms |"
)
NEGATIVES = 99


@dataclass(frozen=True, slots=True)
class OneAgainstMany:
    """A published split: for each tested user the right pin and 99 others, int32[u, 100]."""

    users: NDArray[np.int32]
    pins: NDArray[np.int32]
    tested_users: NDArray[np.int32]
    candidates: NDArray[np.int32]


def write(folder: Path, name: str, table: pa.Table) -> None:
    """A file of a folder that `corkboard import` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / f"{name}.parquet")


def build(folder: Path, root: Path, only: Sequence[str] = ()) -> None:
    """Import and run the jobs of candidate_service."""
    import_folder(folder, root)
    steps = [step for step in choose_steps(only=only) if step.needs is not Needs.NOTHING]
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


def judge_source(
    source: CandidateSource,
    histories: Sequence[NDArray[np.int32]],
    seen: Sequence[NDArray[np.int32]],
    candidates: NDArray[np.int32],
    row_count: int,
) -> Figures:
    """Ask once a user for the whole order of pins and judge it by both protocols.

    Args:
        source: To be judged.
        histories: Query rows of each user.
        seen: Rows that must not come back, ascending.
        candidates: Catalogue rows, int32[u, c], the right one first; what is not in the list ties
            for the last place.
        row_count: Above every row.
    """
    scores = np.empty(candidates.shape)
    recalls = []
    for at, history in enumerate(histories):
        query = CandidateQuery(
            query_rows=history,
            weights=np.ones(len(history), np.float32),
            seed=at,
            segment=Segment(),
            stop=Stop.never(),
            excluded_rows=seen[at],
            session_rows=history[::-1][:QUERY_PINS_MAX].copy(),
        )
        found = source.retrieve(query, row_count).rows
        found = found[~np.isin(found, seen[at])]
        places = np.full(row_count, np.inf)
        places[found] = np.arange(len(found))
        scores[at] = -places[candidates[at]]
        recalls.append([places[candidates[at, 0]] < depth for depth in DEPTHS])
    return (*one_against_many(scores), *np.mean(recalls, axis=0).tolist())


def judge_baseline(
    baseline: baselines.Baseline, pairs: sp.csr_matrix, split: OneAgainstMany
) -> Figures:
    """Fit, and judge by both protocols."""
    mine = pairs[split.tested_users]
    model = baseline.fit(pairs)
    lists = baselines.rank_all(model, mine, mine, DEPTHS[-1])
    recalls = [
        [split.candidates[at, 0] in found[:depth] for depth in DEPTHS]
        for at, found in enumerate(lists)
    ]
    scores = baselines.scores_of(model, mine, split.candidates)
    return (*one_against_many(scores), *np.mean(recalls, axis=0).tolist())


def rows_seen(split: OneAgainstMany, rows: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    """Catalogue rows of each tested user's pins, ascending."""
    order = np.argsort(split.users, kind="stable")
    bounds = np.searchsorted(split.users[order], [split.tested_users, split.tested_users + 1])
    return [np.unique(rows[split.pins[order[begin:end]]]) for begin, end in bounds.T]


def one_against_99(
    split: OneAgainstMany,
    work: Path,
    models: Sequence[baselines.Baseline],
    only: Sequence[str] = (),
) -> list[str]:
    """The table of one set: 1 against 99, and the full catalogue, from the whole history."""
    pairs_table = pa.table({"user_id": pa.array(split.users), "item_id": pa.array(split.pins)})
    write(work / "folder", "interactions", pairs_table)
    build(work / "folder", work / "root", only)
    sources, artifacts = open_sources(work / "root")
    pin_count = int(max(split.pins.max(), split.candidates.max())) + 1
    user_count = int(max(split.users.max(), split.tested_users.max())) + 1
    pairs = baselines.pair_matrix(split.users, split.pins, (user_count, pin_count))
    rows = artifacts.catalogue().ids.rows([str(pin) for pin in range(pin_count)])
    beyond = np.arange(pin_count, dtype=np.int32) + len(artifacts.catalogue())
    rows = np.where(rows >= 0, rows, beyond).astype(np.int32)  # unknown pins: never proposed
    row_count = int(beyond[-1]) + 1
    seen = rows_seen(split, rows)
    rng = np.random.default_rng(0)
    histories = [np.sort(rng.permutation(mine)[:QUERY_PINS_MAX]) for mine in seen]
    found: list[tuple[str, str, Figures, float]] = []

    def add(name: str, origin: str, judge: Callable[[], Figures]) -> None:
        began = time.perf_counter()
        figures = judge()
        found.append((name, origin, figures, time.perf_counter() - began))

    for baseline in models:
        add(baseline.name, baseline.origin, partial(judge_baseline, baseline, pairs, split))
    for source in sources:
        wanted = rows[split.candidates]
        judge = partial(judge_source, source, histories, seen, wanted, row_count)
        with suppress(NotReady):
            add(f"`{source.name}`", "this project", judge)
    best = max((row[2][0] for row in found if row[1] != "this project"), default=float("nan"))
    return [
        "| | from | HR@10 | / best baseline | NDCG@10 | all pins: recall@10 | @100 | @400 | s |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {origin} | {hit:.4f} | {hit / best:.3f} | {gain:.4f} "
            f"| {' | '.join(f'{recall:.4f}' for recall in recalls)} | {took:.1f} |"
            for name, origin, (hit, gain, *recalls), took in found
        ),
    ]


def times_in_order(order: NDArray[np.int64], days: float = 60.0) -> pa.Array:
    """Times that keep an order, spread over the days before the end, as microseconds."""
    share = order / max(int(order.max()), 1)
    return pa.array((END_US - (1 - share) * days * DAY_US).astype(np.int64))


def prepare_pinterest20(data: Path, folder: Path) -> Plan:
    """The published split by time: what is to be predicted happens a day later."""
    tables = [pq.read_table(data / name) for name in ("train.parquet", "test.parquet")]
    parts = [
        table.append_column("time_us", pa.array(np.full(table.num_rows, END_US + day * DAY_US)))
        for day, table in enumerate(tables)
    ]
    write(folder, "interactions", pa.concat_tables(parts))
    return Plan(kind=SplitKind.TIME, since=END_US / 1e6 + 43_200)


def prepare_seq_beauty(data: Path, folder: Path) -> Plan:
    """Sequences at an hour a step, all ending together; the last one left out."""
    table = pq.read_table(data / "sequences.parquet")
    users, places = table["user_id"].to_numpy(), table["pos"].to_numpy()
    last = np.zeros(users.max() + 1, np.int64)
    np.maximum.at(last, users, places)
    times = pa.array(END_US - (last[users] - places) * HOUR_US)
    columns = {"user_id": table["user_id"], "item_id": table["item_id"], "time_us": times}
    write(folder, "interactions", pa.table(columns))
    return Plan(kind=SplitKind.LAST)


def prepare_youshu(data: Path, folder: Path) -> Plan:
    """A book list is a board and its own user; one book of each, by chance, left out."""
    table = pq.read_table(data / "board_items.parquet")
    columns = {"user_id": table["board_id"], "item_id": table["item_id"]}
    write(folder, "interactions", pa.table(columns))
    return Plan(kind=SplitKind.LAST)


def prepare_deskdrop(data: Path, folder: Path) -> Plan:
    """Reading, liking and the rest as saves on one's own board; a week is to be predicted.

    An article counts as made when somebody first did something to it.
    """
    table = pq.read_table(data / "events.parquet").sort_by("timestamp")
    times = pc.cast(table["timestamp"], pa.int64())
    columns = {"user_id": table["user_id"], "item_id": table["item_id"], "time_us": times}
    pairs = pa.table(columns).group_by(["user_id", "item_id"]).aggregate([("time_us", "min")])
    write(folder, "interactions", pairs.rename_columns(["user_id", "item_id", "time_us"]))
    made = pa.table(columns).group_by("item_id").aggregate([("time_us", "min")])
    write(folder, "pins", made.rename_columns(["pin_id", "creation_time_us"]))
    since = float(np.quantile(times.to_numpy(), 0.9)) / 1e6
    return Plan(kind=SplitKind.TIME, since=since, horizon_days=7.0)


def prepare_ml_latest_small(data: Path, folder: Path) -> Plan:
    """Ratings of 4 and more as saves, 22 years pressed into 60 days; the last one left out."""
    table = pq.read_table(data / "ratings.parquet")
    table = table.filter(pc.greater_equal(table["rating"], 4.0)).sort_by("timestamp")
    order = np.arange(table.num_rows)
    columns = {
        "user_id": table["user_id"],
        "item_id": table["item_id"],
        "time_us": times_in_order(order),
    }
    write(folder, "interactions", pa.table(columns))
    films = pq.read_table(data / "movies.parquet")
    named = {"pin_id": films["item_id"], "title": films["title"], "topics": films["genres"]}
    write(folder, "pins", pa.table(named))
    return Plan(kind=SplitKind.LAST)


SETS: dict[str, Callable[[Path, Path], Plan]] = {
    "pinterest20": prepare_pinterest20,
    "seq_beauty": prepare_seq_beauty,
    "youshu": prepare_youshu,
    "deskdrop": prepare_deskdrop,
    "ml_latest_small": prepare_ml_latest_small,
}


def full_catalogue(data: Path, name: str, work: Path, options: argparse.Namespace) -> list[str]:
    """The table of one set over its full catalogue."""
    plan = SETS[name](data / name, work / "folder")
    import_folder(work / "folder", work / "root")
    plan = replace(plan, user_count_max=options.users, start=Start(options.start))
    found = evaluate(work / "root", plan, say=lambda text: print(text, file=sys.stderr))
    if options.pages is not None:
        write_page(found, options.pages / f"{name}-{plan.start.value}.html")
    best = max(each.recall[100].value for each in found.baselines)
    facts = "; ".join(f"{key}: {value}" for key, value in found.facts.items())
    return [
        f"{facts}.",
        "",
        HEAD,
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(_row(each, best) for each in found.lists),
        "",
        *(f"- {warning}" for warning in found.warnings),
    ]


def _row(each: ListReport, best: float) -> str:
    name = each.name if each.origin else f"`{each.name}`"
    interval = each.recall[100]
    latency = f"{each.latency_ms['p50']:.1f} / {each.latency_ms['p99']:.1f}"
    cells = (
        name,
        number(each.recall[10].value),
        f"{number(interval.value)} ({number(interval.low, 3)}–{number(interval.high, 3)})",
        f"{interval.value / best:.2f}",
        number(each.recall[400].value),
        number(each.hit_rate[10]),
        number(each.gain[10]),
        number(each.coverage[100], 3),
        number(each.novelty[100], 1),
        number(each.alone, 3),
        number(each.found, 3),
        number(each.parts["cold pins"][100], 3),
        "" if each.origin else latency,
    )
    return f"| {' | '.join(cells)} |"


def quick_split(seed: int = 1) -> OneAgainstMany:
    """Two groups of people who save different pins: only to see that it works."""
    rng = np.random.default_rng(seed)
    users, pins, wanted = [], [], []
    for user in range(60):
        own = rng.permutation(60)[:9] * 2 + user % 2
        others = np.setdiff1d(np.arange(120), own)
        users += [user] * 8
        pins += own[:8].tolist()
        wanted.append([own[8], *rng.permutation(others)[:NEGATIVES]])
    arrays = (np.array(users, np.int32), np.array(pins, np.int32), np.arange(60, dtype=np.int32))
    return OneAgainstMany(*arrays, np.array(wanted, np.int32))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder that holds the sets")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--users", type=int, default=1000, help="people asked in each set")
    parser.add_argument("--start", default="interests", choices=[start.value for start in Start])
    parser.add_argument("--one-against-99-users", type=int, default=5000)
    parser.add_argument("--only-one-against-99", action="store_true")
    parser.add_argument("--pages", type=Path, help="folder for the HTML pages")
    parser.add_argument("--quick", action="store_true", help="a tiny world, to see that it works")
    options = parser.parse_args()
    print("## What the candidate sources find\n")
    with tempfile.TemporaryDirectory() as work:
        if options.quick or options.data is None:
            steps = ("build_catalogue", "build_graph", "build_board_cooccurrence", "build_popular")
            print("A tiny synthetic world; it only shows that the benchmark runs.\n")
            models = baselines.BASELINES[:3]
            print("\n".join(one_against_99(quick_split(), Path(work), models, steps)))
            return
        for name in options.sets:
            folder = Path(work) / name
            if not options.only_one_against_99:
                print(f"### {name}, full catalogue\n", flush=True)
                print("\n".join(full_catalogue(options.data, name, folder, options)), flush=True)
            if name == "pinterest20" and options.one_against_99_users:
                split = read_published(options.data / name, options.one_against_99_users)
                print("\n### pinterest20, 1 against 99, whole history asked\n", flush=True)
                print("\n".join(one_against_99(split, Path(work) / "nn", baselines.BASELINES)))
            print(flush=True)


if __name__ == "__main__":
    main()
