"""Trains the ranker, from what was shown or, where too little was yet, by replaying the past.

For a day in the past everything is built as of that day in a folder of its own, the three real
services run on it with their clocks standing still, and they are asked what they would have shown
to the people who acted afterwards.  What the services log is what they will log in production,
features and all.  The job train_ranker then joins it with what those people really did.

Nothing later than the day can be in an answer: the jobs read only what happened before it, and
train_ranker refuses rows that were made with anything newer.
"""

import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds

from corkboard.pipeline import (
    STEPS,
    Needs,
    Order,
    Outcome,
    Step,
    StepResult,
    Watcher,
    has_parquet,
    job_arguments,
    parse_report,
    run_module,
    run_steps,
    step_of,
)
from corkboard.stack import Stack, StackFailed
from service_runtime.errors import CorkboardError

EXPORT_MODULE = step_of("export_impressions").module
TRAIN_STEP = Step(
    name="train_ranker",
    module="ranking_service.jobs.train_ranker",
    purpose="the ranker, from replayed days",
    makes=("ranker",),
    needs=Needs.ACTIONS,
)
STEPS_OF_A_DAY = tuple(step for step in STEPS if step.needs is not Needs.NOTHING)
POSITIVE_TYPES = ("save", "purchase", "like", "share", "comment", "download", "long_click")
SECONDS_PER_DAY = 86_400
HORIZON_DAYS = 28
PROFILE_DAYS = 90
LOG_DAYS_MIN = 14
USERS_PER_DAY_MAX = 250
USERS_PER_DAY_MIN = 20
NEWCOMER_SHARE = 0.3
ANSWER_LIMIT = 500
OUTCOMES = {0: Outcome.DONE, 1: Outcome.KEPT}  # a job's exit code 1: its quality gate said no
ASKING_THREADS = 2
FAILED_SHARE_MAX = 0.05


class ReplayFailed(Exception):  # noqa: N818  named as service_runtime.errors names its own
    """A day could not be replayed; the message says where it stopped."""


@dataclass(frozen=True, slots=True)
class Later:
    """Somebody who acted after the replayed day.

    Attributes:
        user_id: Who.
        pin_id: The first pin that they acted on afterwards, for the related pins that they would
            have been shown beside it.
        action_count: How many positive actions they did within the horizon.
        is_known: Whether they had acted within the profile's window before the day.
    """

    user_id: str
    pin_id: str
    action_count: int
    is_known: bool


def train(
    order: Order,
    watcher: Watcher | None = None,
    *,
    day_count: int = 2,
    keep: bool = False,
) -> StepResult:
    """Train the ranker on what people were shown, or on replayed days until there is enough of it.

    Args:
        order: Data root, as-of time, seed and number of processes.
        watcher: Told how it gets on.
        day_count: Days to replay, >= 2, each a horizon after the other; the last one validates.
        keep: Whether the replayed days stay on disk under `replay/` of the data root.

    Returns:
        How it ended; skipped where too few people acted to learn anything.
    """
    watcher = watcher or Watcher()
    begin = time.monotonic()
    scratch = order.data_root / "replay"
    shown = order.data_root / "events" / "impressions"
    is_shown_enough = len(list(shown.glob("day=*"))) >= LOG_DAYS_MIN
    days = () if is_shown_enough else choose_days(order.data_root, order.as_of, day_count)
    if not days and not is_shown_enough:
        reason = "too few people acted on two separate days to learn from"
        result = StepResult(TRAIN_STEP, Outcome.SKIPPED, reason=reason)
        watcher.ended(result)
        return result
    watcher.started(TRAIN_STEP)
    try:
        replayed = [replay_day(order, day, scratch, watcher) for day in days]
        result = _run_training(order, replayed or [shown], watcher)
    except (ReplayFailed, CorkboardError) as error:
        result = StepResult(TRAIN_STEP, Outcome.FAILED, reason=str(error))
    finally:
        if not keep:
            shutil.rmtree(scratch, ignore_errors=True)
    result = replace(result, seconds=time.monotonic() - begin)
    watcher.ended(result)
    return result


def _run_training(order: Order, impressions: Sequence[Path], watcher: Watcher) -> StepResult:
    """Run the job on folders of impressions."""
    watcher.said(TRAIN_STEP, "training")
    horizon = f"label_horizon_days={HORIZON_DAYS}"
    arguments = [*job_arguments(order), "--set", horizon, "--impressions", *map(str, impressions)]
    code, line, said = run_module(
        TRAIN_STEP.module,
        arguments,
        lambda text: watcher.said(TRAIN_STEP, text),
    )
    report = parse_report(line)
    outcome = OUTCOMES.get(code, Outcome.FAILED)
    last_words = "\n".join(said[-8:]) or f"exit code {code}"
    reason = "" if code == 0 else str(report.get("error", last_words))
    return StepResult(TRAIN_STEP, outcome, 0.0, report, reason)


def choose_days(data_root: Path, as_of: float, day_count: int) -> tuple[float, ...]:
    """When to stand still, Unix seconds, oldest first: whole horizons before the newest action.

    Returns:
        () where fewer than `USERS_PER_DAY_MIN` people acted within the horizon of any of them.
    """
    if not has_parquet(data_root / "events" / "actions"):
        return ()
    newest = _newest_action(data_root, as_of)
    horizon = HORIZON_DAYS * SECONDS_PER_DAY
    days = tuple(newest + 1 - horizon * count for count in range(day_count, 0, -1))
    for day in days:
        if len(people_after(data_root, day, count_max=USERS_PER_DAY_MAX)) < USERS_PER_DAY_MIN:
            return ()
    return days


def replay_day(order: Order, day: float, scratch: Path, watcher: Watcher) -> Path:
    """Build everything as of *day*, ask for answers, export what was logged.

    Returns:
        The folder with the impressions, Parquet by day.

    Raises:
        ReplayFailed: A job, the services or too many calls failed.
    """
    name = f"{datetime.fromtimestamp(day, tz=UTC):%Y-%m-%d}"
    root = make_root(order.data_root, scratch / name)
    teller = _DayTeller(watcher, name)
    as_of_day = replace(order, data_root=root, as_of=day)
    for built in run_steps(STEPS_OF_A_DAY, as_of_day, teller):
        if built.outcome is Outcome.FAILED:
            raise ReplayFailed(f"{built.step.name} as of {name}: {built.reason}")
    people = people_after(order.data_root, day, count_max=USERS_PER_DAY_MAX, seed=order.seed)
    try:
        with Stack(data_root=root, fixed_time=day) as stack:
            ask_for_all(stack, people, teller.say)
    except StackFailed as error:
        raise ReplayFailed(f"services as of {name}: {error}") from error
    teller.say("exporting impressions")
    exported = replace(as_of_day, as_of=day + 1)  # what was logged bears the day's own time
    code, _, said = run_module(EXPORT_MODULE, job_arguments(exported))
    if code != 0:
        raise ReplayFailed(f"{EXPORT_MODULE} as of {name}: {' '.join(said[-3:])}")
    return root / "events" / "impressions"


def make_root(data_root: Path, root: Path) -> Path:
    """A data root that shares catalogue and action log with *data_root* and nothing else."""
    shutil.rmtree(root, ignore_errors=True)
    (root / "events").mkdir(parents=True)
    (root / "catalogue").symlink_to((data_root / "catalogue").resolve())
    (root / "events" / "actions").symlink_to((data_root / "events" / "actions").resolve())
    return root


def people_after(
    data_root: Path,
    day: float,
    *,
    count_max: int,
    seed: int = 0,
) -> tuple[Later, ...]:
    """People with positive actions within the horizon after *day*, chosen by chance.

    People who had acted before come first; newcomers fill at most three tenths of the places.
    """
    end = day + HORIZON_DAYS * SECONDS_PER_DAY
    later = _actions_between(data_root, day, end)
    if later.num_rows == 0:
        return ()
    before = _actions_between(data_root, day - PROFILE_DAYS * SECONDS_PER_DAY, day)
    known = set(before["user_id"].to_pylist())
    people: dict[str, Later] = {}
    for user_id, pin_id in zip(
        later["user_id"].to_pylist(), later["pin_id"].to_pylist(), strict=True
    ):
        earlier = people.get(user_id)
        first = earlier.pin_id if earlier else pin_id
        count = (earlier.action_count if earlier else 0) + 1
        people[user_id] = Later(user_id, first, count, is_known=user_id in known)
    chance = random.Random(seed)
    ordered = sorted(people.values(), key=lambda person: person.user_id)
    chance.shuffle(ordered)
    returning = [person for person in ordered if person.is_known][:count_max]
    newcomers = [person for person in ordered if not person.is_known]
    places = min(count_max - len(returning), max(1, int(count_max * NEWCOMER_SHARE)))
    return tuple(returning + newcomers[: max(places, 0)])


def ask_for_all(
    stack: Stack,
    people: Sequence[Later],
    say: Callable[[str], None],
) -> int:
    """Ask home feeds and related pins.

    The home feed is asked of people with a profile: a newcomer's teaches only what is popular, and
    newcomers do so much in their first hour that they would outweigh everybody.  Related pins are
    asked of all who went on after their first pin.

    Returns:
        Number of answers.

    Raises:
        ReplayFailed: More than a twentieth of the calls failed.
    """
    failures: list[str] = []
    asked = 0
    with stack.client(deadline_s=30.0) as client, ThreadPoolExecutor(ASKING_THREADS) as pool:

        def ask(person: Later) -> int:
            user_id, limit = person.user_id, ANSWER_LIMIT
            if person.is_known:
                client.recommend(user_id, limit=limit, with_titles=False)
            if person.action_count > 1:
                client.related(person.pin_id, user_id=user_id, limit=limit, with_titles=False)
            return int(person.is_known) + int(person.action_count > 1)

        def ask_safely(person: Later) -> int:
            try:
                return ask(person)
            except CorkboardError as error:
                failures.append(str(error))
                return 0

        for done, count in enumerate(pool.map(ask_safely, people), start=1):
            asked += count
            if done % 10 == 0:
                say(f"asking, {done} of {len(people)} people")
    if len(failures) > FAILED_SHARE_MAX * max(len(people), 1):
        raise ReplayFailed(f"{len(failures)} of {len(people)} people got no answer: {failures[0]}")
    return asked


class _DayTeller(Watcher):
    """Tells a watcher of the training how the replay of one day gets on."""

    def __init__(self, watcher: Watcher, name: str) -> None:
        self._watcher = watcher
        self._name = name

    def started(self, step: Step) -> None:
        """Say which job runs."""
        self.say(step.name)

    def say(self, text: str) -> None:
        """Say anything about the day."""
        self._watcher.said(TRAIN_STEP, f"as of {self._name}: {text}")


def _newest_action(data_root: Path, as_of: float) -> float:
    """Unix seconds of the newest action before *as_of*; 0 without any."""
    newest = 0
    for batch in _batches(data_root, 0.0, as_of, ["action_time_us"]):
        newest = max(newest, pc.max(batch["action_time_us"]).as_py() or 0)
    return newest / 1e6


def _actions_between(data_root: Path, begin: float, end: float) -> pa.Table:
    """Positive actions in [begin, end), Unix seconds, oldest first: user_id, pin_id."""
    columns = ["user_id", "pin_id", "action_time_us"]
    batches = list(_batches(data_root, begin, end, columns))
    schema = pa.schema(
        [("user_id", pa.string()), ("pin_id", pa.string()), ("action_time_us", pa.int64())],
    )
    table = pa.Table.from_batches([batch.cast(schema) for batch in batches], schema)
    return table.sort_by("action_time_us")


def _batches(
    data_root: Path,
    begin: float,
    end: float,
    columns: Sequence[str],
) -> Iterator[pa.RecordBatch]:
    """Positive actions in [begin, end), Unix seconds, in no order, some columns of them."""
    folder = data_root / "events" / "actions"
    if not has_parquet(folder):
        return
    when = pds.field("action_time_us")
    is_wanted = (when >= int(begin * 1e6)) & (when < int(end * 1e6))
    is_wanted &= pds.field("action_type").isin(POSITIVE_TYPES)
    source = pds.dataset(folder, format="parquet", exclude_invalid_files=True)
    yield from source.to_batches(columns=list(columns), filter=is_wanted)
