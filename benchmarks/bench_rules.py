"""What remembering, rules, pages and explanations cost a request, in CPU time of one process.

The world is synthetic and the other services answer at once, so that only ranking is measured.
Every variant is a request of 25 pins from 1,264 candidates of four sources, 500 of which are kept;
the ratio is to the plain one of the same run.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranking_service import rule_kernels
from ranking_service.arrange import DETERMINANTAL_OWN_SHARE as OWN_SHARE
from ranking_service.config import RankingConfig
from ranking_service.hand_tuned import make_hand_tuned
from ranking_service.memboost.counting import Shown
from ranking_service.memboost.curves import flat_curves
from ranking_service.memboost.memory import NO_MEMORY, Memboost
from ranking_service.memboost.table import make_table
from ranking_service.query import RecommendQuery, Surface, Viewer
from ranking_service.recommend import Recommender
from ranking_service.shadow import compare
from ranking_service.world import Artifacts
from service_runtime.generation_store import GenerationStore
from tests.ranking_service.worlds import (
    KeptImpressions,
    KeptMemory,
    StillUpstream,
    make_candidates,
    make_list,
    make_profile,
    make_recommender,
    make_store,
    pin_id,
)

BOOK = """
[scenarios.home_feed]
rules = ["fresh", "no_cars"]
promotions = ["spring"]
[rules.fresh]
boost = 0.5
when = { age_days_max = 7 }
[rules.no_cars]
exclude = true
when = { topics = ["cars"], languages = ["nl"] }
[promotions.spring]
share = 0.1
when = { topics = ["art"] }
"""

JOINT_BOOK = """
[scenarios.home_feed]
diversity_method = "determinantal"
"""

ASK = RecommendQuery(
    user_id="user",
    surface=Surface.HOME_FEED,
    query_pin_id="",
    limit=25,
    viewer=Viewer("en", "NL"),
    excluded_pin_ids=(),
    include_acted_pins=False,
    seed=7,
    request_id="request",
)


class Nothing(KeptImpressions):
    """An impression log that keeps nothing."""

    def record(self, *_: object, **__: object) -> None:
        """Let it go."""


class NothingNoted(KeptMemory):
    """A memory that takes no note."""

    def note_shown(self, *_: object) -> None:
        """Let it go."""


class KeptRun:
    """In place of a staged model: keeps what it was to rank."""

    run: Any = None

    def note(self, run: object, list_id: str) -> bool:
        """Keep it."""
        del list_id
        self.run = run
        return True


def make(
    root: Path, pin_count: int, memory: Memboost, book: str, shadow: Any = None
) -> Recommender:
    """A recommender over one synthetic world."""
    rng = np.random.default_rng(1)
    lists = [
        make_list(name, rng.choice(pin_count, 400, replace=False).tolist(), [0, 1, 2, 3] * 100)
        for name in ("ann", "pixie", "board_cooccurrence")
    ]
    popular = make_list("popular", rng.choice(pin_count, 100, replace=False).tolist())
    candidates = make_candidates(*lists, popular, queried=[1, 2, 3, 4])
    profile = make_profile(range(1, 17), acted_pin_ids=tuple(map(pin_id, range(30))))
    config = RankingConfig(random_share=0.0)
    upstream = StillUpstream(candidates, profile)
    return make_recommender(
        GenerationStore(root / "generations"),
        config,
        upstream,
        Nothing(),
        NothingNoted(memory),
        book,
        shadow,
    )


def remembered(root: Path, pin_count: int) -> Memboost:
    """A million impressions on the home feed."""
    rng = np.random.default_rng(2)
    size = 1_000_000
    world = Artifacts(GenerationStore(root / "generations")).world()
    rows = rng.integers(0, pin_count, size).astype(np.int32)
    shown = Shown(
        np.arange(size, dtype=np.uint64),
        np.ones(size, np.uint64),
        np.zeros(size, np.uint64),
        world.pin_keys(rows),
        np.zeros(size, np.uint8),
        (np.arange(size) % 25).astype(np.uint16),
        np.arange(size),
        np.zeros(size, np.bool_),
    )
    acted = (rng.random(size) < 0.03).astype(np.uint8)
    table = make_table(shown, acted, flat_curves(1), platform_names=("other",), weights=np.ones(4))
    return Memboost((table,))


def cpu_ms(call: Callable[[], object], rounds: int) -> float:
    """Median CPU time of a call in this thread, milliseconds."""
    for _ in range(5):
        call()
    times = []
    for _ in range(rounds):
        begin = time.thread_time_ns()
        call()
        times.append((time.thread_time_ns() - begin) / 1e6)
    return statistics.median(times)


def ask(recommender: Recommender, query: RecommendQuery, numbers: Iterator[int]) -> object:
    """One request; lists of a page belong to another user each time, or it would fill up."""
    user = f"u{next(numbers)}" if query.page_id else query.user_id
    return recommender.recommend(replace(query, user_id=user))


def run(pin_count: int, rounds: int) -> None:
    """Measure all variants and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "world"
        make_store(root, pin_count, 128)
        plain = make(root, pin_count, NO_MEMORY, "")
        memory = make(root, pin_count, remembered(root, pin_count), "")
        ruled = make(root, pin_count, NO_MEMORY, BOOK)
        joint = make(root, pin_count, NO_MEMORY, JOINT_BOOK)
        token = plain.recommend(ASK).next_page_token
        cases: dict[str, tuple[Recommender, RecommendQuery]] = {
            "plain": (plain, ASK),
            "Memboost, 1 M impressions remembered": (memory, ASK),
            "second page": (plain, replace(ASK, page_token=token)),
            "list of a page (file)": (plain, replace(ASK, page_id="p")),
            "diversity 0.5": (plain, replace(ASK, diversity=0.5)),
            "diversity 0.5, determinantal": (joint, replace(ASK, diversity=0.5)),
            "rotation 0.5, 100 answers back": (plain, replace(ASK, rotation_rate=0.5)),
            "two rules and a promotion": (ruled, ASK),
            "full explanations": (plain, replace(ASK, is_explained=True)),
        }
        kept = KeptRun()
        make(root, pin_count, NO_MEMORY, "", kept).recommend(ASK)
        base = 0.0
        print("## Rules, Memboost and explanations: RecommendPins in process\n")
        print("| request | CPU, ms | against plain |")
        print("| --- | --- | --- |")
        for name, (recommender, query) in cases.items():
            spent = cpu_ms(partial(ask, recommender, query, count(1)), rounds)
            base = base or spent
            print(f"| {name} | {spent:.2f} | {spent / base:.2f} |")
        again = partial(compare, kept.run, make_hand_tuned(), gain_default=0.3)
        spent = cpu_ms(again, rounds)
        name = "behind the answer: a staged linear model ranks it too"
        print(f"| {name} | {spent:.2f} | {spent / base:.2f} |")


def traded(draw_count: int) -> None:
    """What each method of diversity gives up in relevance, and what for."""
    print("\n## Diversity: 25 of 400 candidates in 20 groups, the nearest groups more relevant\n")
    print("| method | d | relevance kept | mean cosine | largest cosine | groups | CPU, ms |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for method, order in (
        ("marginal", rule_kernels.marginal_order),
        ("determinantal", partial(rule_kernels.determinantal_order, own_share=OWN_SHARE)),
    ):
        for diversity in (0.0, 0.2, 0.4, 0.6, 0.8):
            rows = np.array([_drawn(order, diversity, seed) for seed in range(draw_count)])
            kept, mean, largest, groups, spent = np.median(rows, axis=0)
            print(
                f"| {method} | {diversity} | {kept:.3f} | {mean:.3f} | {largest:.3f} | "
                f"{groups:.0f} | {spent:.2f} |"
            )


def _drawn(order: Callable[..., NDArray[np.int64]], diversity: float, seed: int) -> list[float]:
    """The figures of one drawn set of candidates."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 20, 400)
    centres = rng.standard_normal((20, 64))
    vectors = centres[groups] + 0.8 * rng.standard_normal((400, 64))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    relevances = rng.random(20)[groups] + 0.3 * rng.standard_normal(400)
    best = np.argsort(-relevances)
    relevances = (relevances[best] - relevances.min()) / np.ptp(relevances)
    vectors, groups = vectors[best], groups[best]
    begin = time.thread_time_ns()
    shown = order(relevances, vectors, diversity, 25)[:25]
    spent = (time.thread_time_ns() - begin) / 1e6
    cosines = (vectors[shown] @ vectors[shown].T)[np.triu_indices(25, 1)]
    kept = relevances[shown].sum() / relevances[:25].sum()
    return [kept, cosines.mean(), cosines.max(), len(np.unique(groups[shown])), spent]


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        run(2000, 3)
        traded(2)
    else:
        run(200_000, 200)
        traded(200)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
