"""Which pin is named as the reason."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranking_service.explain import explain
from ranking_service.features import make_context
from ranking_service.live_pins import LivePin, live_pins
from ranking_service.pool import Candidates, merge, pool_of
from ranking_service.profile import NOBODY
from ranking_service.query import Surface, Viewer
from tests.ranking_service.worlds import (
    NOW,
    make_candidates,
    make_list,
    make_profile,
    make_world,
    pin_id,
)

FILLER = list(range(100, 200))


@pytest.mark.parametrize(
    ("popular_rank", "walk_rank", "because"),
    [
        (None, 90, pin_id(50)),
        (0, 5, pin_id(50)),
        (0, 10, pin_id(50)),
        (0, 11, ""),
        (30, 40, pin_id(50)),
        (60, 49, pin_id(50)),
        (60, 50, ""),
        (0, None, ""),
    ],
)
def test_popularity_explains_only_where_it_leads(
    tmp_path: Path, popular_rank: Any, walk_rank: Any, because: Any
) -> None:
    """A medoid is named unless a pin is popular far beyond what speaks for it from there."""
    lists = []
    if popular_rank is not None:
        rows = [*FILLER[:popular_rank], 1]
        lists.append(make_list("popular", rows))
    if walk_rank is not None:
        rows = [*FILLER[:walk_rank], 1]
        lists.append(make_list("pixie", rows, [0] * len(rows)))
    candidates = make_candidates(*lists, queried=[50])
    pool = merge(candidates, excluded_rows=np.empty(0, np.int32))
    world = make_world(tmp_path, 200)
    context = make_context(
        world, NOBODY, Viewer(), surface=Surface.HOME_FEED, query_row=-1, now=NOW
    )

    (pin,) = explain(
        pool,
        candidates,
        context,
        positions=np.flatnonzero(pool.rows == 1),
        scores=np.zeros(len(pool), np.float32),
    )

    assert pin.because_pin_id == because
    assert {reason.source for reason in pin.sources} == {proposals.source for proposals in lists}


def test_query_pin_younger_than_the_catalogue_is_named(tmp_path: Path) -> None:
    """What no source proposed is there because of the query pin, also where that is a live one."""
    world = make_world(tmp_path, 200)
    live = live_pins([LivePin("young")], world.catalogue, dimension=0)
    world = replace(world, live=live)
    (query_row,) = world.rows(["young"]).tolist()
    context = make_context(
        world, NOBODY, Viewer(), surface=Surface.RELATED_PINS, query_row=query_row, now=NOW
    )

    (pin,) = explain(
        pool_of(np.array([1], np.int32)),
        Candidates.none(),
        context,
        positions=np.array([0]),
        scores=np.zeros(1, np.float32),
    )

    assert pin.because_pin_id == "young"


def test_medoids_younger_than_the_catalogue_explain_nothing(tmp_path: Path) -> None:
    """A user who has acted on live pins alone gets answers, without a reason from the profile."""
    world = make_world(tmp_path, 200)
    world = replace(world, live=live_pins([LivePin("young")], world.catalogue, dimension=0))
    profile = replace(make_profile([1]), medoid_ids=("young",))
    context = make_context(
        world, profile, Viewer(), surface=Surface.HOME_FEED, query_row=-1, now=NOW
    )

    (pin,) = explain(
        pool_of(np.array([1], np.int32)),
        Candidates.none(),
        context,
        positions=np.array([0]),
        scores=np.zeros(1, np.float32),
    )

    assert context.medoid_rows.tolist() == world.rows(["young"]).tolist()
    assert pin.because_pin_id == ""
