"""
What the coarse cut loses: the best by the full model that are no longer in the pool after it.

For people of a data root the real services propose candidates; all of them are scored by the full
model, and the pool is cut by reciprocal rank fusion, by the hand-tuned light score, and by one
learnt from the other half of the requests.  Recall is the share of the model's best 25 that the cut
keeps; CPU is that of the light score alone.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from bench_recommend import prepare
from numpy.typing import NDArray
from one_process import OneProcess

from ranking_service.feature_context import FeatureContext
from ranking_service.features import feature_rows
from ranking_service.gathering import context_of
from ranking_service.hand_tuned import make_hand_tuned
from ranking_service.light_score import LIGHT_COLUMNS, RANK_FUSION, LightScore
from ranking_service.models.light import fit_light
from ranking_service.pool import Pool, merge
from ranking_service.query import RecommendQuery, Surface, Viewer

BEST = 25
KEPT = (500, 250, 125)


class Asked:
    """One request: its candidates, what they are compared with, and what the model says."""

    def __init__(self, pool: Pool, context: FeatureContext, ranker: Any) -> None:
        self.pool = pool
        self.context = context
        self.rows = feature_rows(pool, context)
        self.logits = np.asarray(ranker.logits(self.rows))


def ask(services: OneProcess, users: Sequence[str], model: str) -> list[Asked]:
    """Home feeds, and pins that go with one of theirs, of some people."""
    recommender = services.methods["RecommendPins"].__self__._recommender  # noqa: SLF001
    found = []
    for number, user_id in enumerate(users):
        acted = recommender._upstream.profile(user_id).acted_pin_ids  # noqa: SLF001
        for surface, query_pin_id in (
            (Surface.HOME_FEED, ""),
            (Surface.RELATED_PINS, acted[0] if acted else ""),
        ):
            if surface == Surface.RELATED_PINS and not query_pin_id:
                continue
            query = RecommendQuery(
                user_id=user_id,
                surface=surface,
                query_pin_id=query_pin_id,
                limit=BEST,
                viewer=Viewer(),
                excluded_pin_ids=(),
                include_acted_pins=False,
                seed=number,
                request_id=f"request-{number}-{surface}",
            )
            got = recommender._gatherer.gather(query, time.time(), may_be_random=False)  # noqa: SLF001
            excluded = got.world.rows((*got.ask.excluded_pin_ids, query_pin_id))
            pool = merge(got.candidates, excluded_rows=excluded)
            context = context_of(
                got.query, got.world, got.profile, got.query_row, got.now, got.remembered
            )
            chosen = recommender._models.serving(surface, model)  # noqa: SLF001
            found.append(Asked(pool, context, chosen.ranker))
    return found


def recall(asked: Sequence[Asked], light: LightScore, kept: int) -> tuple[float, float]:
    """Mean share of the best that pass the cut, and CPU microseconds of the light score."""
    shares, seconds = [], []
    for one in asked:
        begin = time.process_time()
        scores = light.of_pool(one.pool, one.context)
        seconds.append(time.process_time() - begin)
        best = np.argsort(-one.logits, kind="stable")[:BEST]
        passed = np.argsort(-scores, kind="stable")[:kept]
        shares.append(np.isin(best, passed).mean())
    return float(np.mean(shares)), 1e6 * float(np.median(seconds))


def learnt(asked: Sequence[Asked], otherwise: LightScore) -> LightScore:
    """A light score from all candidates of some requests."""
    is_related: NDArray[np.bool_] = np.concatenate(
        [np.full(len(one.pool), one.context.surface == Surface.RELATED_PINS) for one in asked]
    )
    rows = np.concatenate([one.rows[:, LIGHT_COLUMNS] for one in asked])
    logits = np.concatenate([one.logits for one in asked])
    return fit_light(rows, logits, is_related, otherwise=otherwise)


def people(root: Path, count: int) -> list[str]:
    """Some people who acted."""
    files = sorted((root / "events/actions").rglob("*.parquet"))
    users = sorted(set(pq.read_table(files[-1], columns=["user_id"])["user_id"].to_pylist()))
    return np.random.default_rng(1).permutation(users)[:count].tolist()


def main() -> int:
    """Print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, nothing to quote")
    parser.add_argument("--data-root", type=Path, help="a built data root; default: a made-up one")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--model", default="hand_tuned", help="or empty: the serving one")
    options = parser.parse_args()
    root = options.data_root or prepare("tiny" if options.quick else "small")
    count = 8 if options.quick else options.users
    services = OneProcess(root)
    try:
        asked = ask(services, people(root, count), options.model)
    finally:
        services.close()
    half = len(asked) // 4 * 2  # whole people
    judged, sizes = asked[half:], [len(one.pool) for one in asked]
    hand_tuned = make_hand_tuned().light
    lights = {
        "reciprocal rank fusion": RANK_FUSION,
        "hand-tuned light score": hand_tuned,
        "learnt light score": learnt(asked[:half], hand_tuned),
    }
    print("## The coarse cut\n")
    print(
        f"{len(judged)} requests judged, {int(np.median(sizes))} candidates in the median (up to "
        f"{max(sizes)}); model `{options.model or 'serving'}`; recall of its best {BEST}.\n"
    )
    print("| cut by | " + " | ".join(f"{kept} kept" for kept in KEPT) + " | CPU us |")
    print("| --- |" + " --- |" * (len(KEPT) + 1))
    for name, light in lights.items():
        found = [recall(judged, light, kept) for kept in KEPT]
        figures = " | ".join(f"{share:.4f}" for share, _ in found)
        print(f"| {name} | {figures} | {found[0][1]:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
