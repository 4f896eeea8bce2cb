"""Days of made-up traffic through the three real services.

Each day the services stand still at noon; people ask for their home feeds and for pins that go with
one of theirs, read by the position curve, and what they do is recorded under the answer's list id.
At night the jobs run that a night needs.  In the end the data root looks as after days of real use.
"""

import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from corkboard import answers
from corkboard.client import Client
from corkboard.importing import import_folder
from corkboard.pipeline import Order, Outcome, Watcher, choose_steps, run_steps
from corkboard.simulate import MARK_FILE, SIMULATED
from corkboard.simulate.reading import Act, expected_saves, read
from corkboard.simulate.world import (
    DAY_US,
    SimulatedWorld,
    Sizes,
    board_name,
    make_world,
    user_name,
    write_import,
)
from corkboard.stack import Stack
from service_runtime.errors import InvalidRequest, ProcessFailed

NIGHTLY: Final = ("export_actions", "export_impressions", "build_popular", "rebuild_profiles")
ANSWER_LIMIT: Final = 25
ASKING_THREADS: Final = 2
Say = Callable[[str], None]


class SimulationFailed(ProcessFailed):
    """A job or a service of the simulation failed; the message says which."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated.

    Attributes:
        sizes: Of the world.
        days: Days of traffic, >= 1; the last one ends at *end*.
        end: Unix seconds.
        seed: Of all chance.
        random_share: Share of answers in random order, from which models learn.
        visit_share: Share of the people who come on a day.
    """

    sizes: Sizes
    days: int
    end: float
    seed: int = 0
    random_share: float = 0.2
    visit_share: float = 0.7


@dataclass(frozen=True, slots=True)
class DayReport:
    """One day.

    Attributes:
        day: Its date.
        lists: Answers that were read.
        shown: Pins in them.
        acts: What was done, by kind.
        expected: Saves that the ordered home feeds were worth on average, the known answer, by 25
            places; NaN without any.
        expected_random: The same of those in random order.
    """

    day: str
    lists: int
    shown: int
    acts: dict[str, int]
    expected: float
    expected_random: float


@dataclass(frozen=True, slots=True)
class _Read:
    """One list that was read."""

    list_id: str
    is_randomised: bool
    is_home: bool
    user: int
    pins: list[int]
    acts: list[Act]
    worth: float


def simulate(
    data_root: Path, plan: Plan, *, watcher: Watcher, say: Say = lambda _: None
) -> tuple[SimulatedWorld, list[DayReport]]:
    """Make a world, build everything, and let people use it for some days.

    Raises:
        InvalidRequest: The data root is not empty: made-up people are never mixed with real ones.
        SimulationFailed: A job failed.
        StackFailed: A service did not come up.
    """
    if data_root.exists() and any(data_root.iterdir()):
        raise InvalidRequest(
            f"{data_root} is not empty", hint="simulate into a folder of its own: --data-root NEW"
        )
    world = make_world(plan.sizes, plan.seed)
    begin_us = round(plan.end * 1e6) // DAY_US * DAY_US - plan.days * DAY_US
    scratch = Path(tempfile.mkdtemp(prefix="simulate-"))
    try:
        write_import(world, scratch, begin_us=begin_us, seed=plan.seed)
        import_folder(scratch, data_root)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    (data_root / MARK_FILE).write_text(f"{SIMULATED}\n", encoding="utf-8")
    _build(data_root, begin_us / 1e6, plan, watcher)
    reports = []
    for day in range(plan.days):
        noon_us = begin_us + day * DAY_US + DAY_US // 2
        say(f"{SIMULATED} Day {day + 1} of {plan.days}")
        rng = np.random.default_rng([plan.seed, day])
        settings = {"ranking_service": [f"random_share={plan.random_share}"]}
        stack = Stack(data_root=data_root, fixed_time=noon_us / 1e6, settings=settings)
        with stack, stack.client(deadline_s=30.0) as client:
            reads = _one_day(client, world, plan, rng)
            _record(client, world, reads, noon_us)
        reports.append(_report(reads, noon_us))
        _build(data_root, (noon_us + DAY_US // 2) / 1e6, plan, watcher, NIGHTLY)
    return world, reports


def _build(
    data_root: Path, as_of: float, plan: Plan, watcher: Watcher, names: tuple[str, ...] = ()
) -> None:
    """Run some jobs, or all."""
    order = Order(data_root, as_of, plan.seed)
    for result in run_steps(choose_steps(only=names), order, watcher):
        if result.outcome not in (Outcome.DONE, Outcome.SKIPPED, Outcome.KEPT):
            raise SimulationFailed(f"{result.step.name}: {result.reason}")


def _one_day(
    client: Client, world: SimulatedWorld, plan: Plan, rng: np.random.Generator
) -> list[_Read]:
    """Everybody who comes asks and reads; the same seed gives the same day, in any order."""
    users = np.flatnonzero(rng.random(plan.sizes.users) < plan.visit_share)
    seeds = rng.integers(0, 2**32, len(users))

    def visit(user: int, seed: int) -> list[_Read]:
        own = np.random.default_rng(seed)
        name = user_name(user)
        home = client.recommend(name, limit=ANSWER_LIMIT, with_titles=False)
        reads = [_read(world, user, home, own, is_home=True)]
        saved = [act.place for act in reads[0].acts if act.kind in ("save", "click")]
        if saved:
            query = home.pin_ids[saved[0]]
            near = client.related(query, user_id=name, limit=ANSWER_LIMIT, with_titles=False)
            reads.append(_read(world, user, near, own, is_home=False))
        return reads

    with ThreadPoolExecutor(ASKING_THREADS) as pool:
        found = pool.map(visit, users.tolist(), seeds.tolist())
        return [read_ for reads in found for read_ in reads]


def _read(
    world: SimulatedWorld,
    user: int,
    answer: answers.Recommendations,
    rng: np.random.Generator,
    *,
    is_home: bool,
) -> _Read:
    """Let a user read an answer."""
    pins = [int(pin_id.rpartition("-")[2]) for pin_id in answer.pin_ids]
    rows = np.array(pins, np.int64)
    acts = read(world, user, rows, rng)
    worth = expected_saves(world, user, rows)
    return _Read(answer.list_id, answer.is_randomised, is_home, user, pins, acts, worth)


def _record(client: Client, world: SimulatedWorld, reads: list[_Read], noon_us: int) -> None:
    """Tell profile_service what everybody did, in batches."""
    actions = [
        answers.Action(
            user_id=user_name(read_.user),
            pin_id=f"pin-{read_.pins[act.place]:06d}",
            action_type=act.kind,
            action_id=f"{read_.list_id}-{act.place}-{act.kind}",
            action_time=datetime.fromtimestamp((noon_us + 1_000_000 * (act.place + 1)) / 1e6, UTC),
            board_id=board_name(read_.user, int(world.topics[read_.pins[act.place]]))
            if act.kind == "save"
            else "",
            list_id=read_.list_id,
        )
        for read_ in reads
        for act in read_.acts
    ]
    for begin in range(0, len(actions), 5000):
        client.record_all(actions[begin : begin + 5000])


def _report(reads: list[_Read], noon_us: int) -> DayReport:
    """A day in figures."""
    acts: dict[str, int] = {}
    for read_ in reads:
        for act in read_.acts:
            acts[act.kind] = acts.get(act.kind, 0) + 1

    def worth(*, is_randomised: bool) -> float:
        own = [r.worth for r in reads if r.is_home and r.is_randomised == is_randomised]
        return float(np.mean(own)) if own else float("nan")

    return DayReport(
        day=f"{datetime.fromtimestamp(noon_us / 1e6, UTC):%Y-%m-%d}",
        lists=len(reads),
        shown=sum(len(read_.pins) for read_ in reads),
        acts=acts,
        expected=worth(is_randomised=False),
        expected_random=worth(is_randomised=True),
    )
