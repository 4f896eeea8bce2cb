"""How good the candidate sources are: each, and all together, beside baselines on the same rows.

Everything is built as of the split in a folder of its own, profile_service and candidate_service
run on it with their clocks standing still, and they are asked as ranking_service asks them.  Lists
are judged on the full catalogue: no sampled negatives.
"""

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from corkboard.evaluation.asking import Terms, ask_everybody
from corkboard.evaluation.baselines import BASELINES, Baseline, fit_in_turn
from corkboard.evaluation.choices import SplitKind, Start
from corkboard.evaluation.judging import Judge, ListReport
from corkboard.evaluation.split import (
    LeakFound,
    Split,
    as_of_in_words,
    check_inputs,
    make_scratch_root,
    read_pairs,
    split_pairs,
)
from corkboard.pipeline import STEPS, Needs, Order, Outcome, StepResult, Watcher, run_steps
from corkboard.simulate import SIMULATED, is_simulated
from corkboard.stack import Stack
from service_runtime.errors import ProcessFailed

DEPTHS = (10, 100, 400)
SERVICES = ("profile_service", "candidate_service")
STEPS_AS_OF = tuple(step for step in STEPS if step.needs is not Needs.NOTHING)
PATIENT = ("candidate_service", ("retrieval_deadline_ms=20000",))
CALL_SECONDS = 60.0


class EvaluationFailed(ProcessFailed):
    """A job, or too many calls, failed; the message says where it stopped."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        kind: How what is asked for is set apart.
        since: Unix seconds of a split by time; None = by `test_share`.
        test_share: Share of the pairs that a split by time asks for.
        horizon_days: How long after a split by time is asked for.
        user_count_max: People to ask, chosen by chance.
        start: What questions start from.
        seed: Of all chance.
        baselines: Models to compare with.
        sources: Names of the sources to ask; () = all that are ready.
        keep: Folder in which the built artifacts stay; None = none.
    """

    kind: SplitKind = SplitKind.AUTO
    since: float | None = None
    test_share: float = 0.1
    horizon_days: float = math.inf
    user_count_max: int = 1_000
    start: Start = Start.INTERESTS
    seed: int = 0
    baselines: Sequence[Baseline] = BASELINES
    sources: Sequence[str] = ()
    keep: Path | None = None


@dataclass(frozen=True, slots=True)
class CandidateReport:
    """What came out; figures as `judging.ListReport` has them.

    Attributes:
        facts: Sizes and terms by name, for the head of a report.
        sources: One report a source, in the service's order.
        union: All sources in turns; its `alone` is NaN.
        weighed: All sources by weighted ranks; likewise.
        baselines: One report a baseline.
        build: What the jobs reported.
        seconds: How long everything took.
    """

    facts: dict[str, str]
    sources: tuple[ListReport, ...]
    union: ListReport
    weighed: ListReport
    baselines: tuple[ListReport, ...]
    build: tuple[StepResult, ...]
    seconds: float
    warnings: tuple[str, ...] = field(default=())

    @property
    def lists(self) -> tuple[ListReport, ...]:
        """All reports: sources, both unions, baselines."""
        return (*self.sources, self.union, self.weighed, *self.baselines)


def evaluate(
    data_root: Path,
    plan: Plan,
    *,
    watcher: Watcher | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> CandidateReport:
    """Measure the sources on imported data.

    Args:
        data_root: As `corkboard import` made it; it is only read.
        plan: What to measure.
        watcher: Told how the jobs get on.
        say: Told how everything else gets on.

    Raises:
        InvalidRequest: There is nothing to learn from, or nothing to ask for.
        LeakFound: What is to be predicted could be learned from.
        EvaluationFailed: A job failed.
        ProcessFailed: A service did not come up, or too many calls failed.
    """
    began = time.monotonic()
    split = split_pairs(
        read_pairs(data_root),
        plan.kind,
        since=plan.since,
        test_share=plan.test_share,
        horizon_days=plan.horizon_days,
        seed=plan.seed,
    )
    scratch = plan.keep or data_root / "evaluation"
    if plan.keep is not None and any(scratch.glob("*")):
        raise EvaluationFailed(f"{scratch} is not empty", hint="name a folder that does not exist")
    try:
        root = make_scratch_root(split, data_root, scratch)
        check_inputs(split, root)
        say(f"building as of {as_of_in_words(split.as_of)}")
        built = build_as_of(root, split.as_of, plan.seed, watcher)
        check_generations(root, split.as_of)
        report = _measure(root, split, plan, say)
    finally:
        if plan.keep is None:
            shutil.rmtree(scratch, ignore_errors=True)
    warnings = (*([SIMULATED] if is_simulated(data_root) else []), *report.warnings)
    return replace(report, build=built, seconds=time.monotonic() - began, warnings=warnings)


def build_as_of(
    root: Path, as_of: float, seed: int, watcher: Watcher | None
) -> tuple[StepResult, ...]:
    """Run the jobs on a scratch root.

    Raises:
        EvaluationFailed: One failed.
    """
    results = run_steps(STEPS_AS_OF, Order(root, as_of, seed), watcher)
    for result in results:
        if result.outcome is Outcome.FAILED:
            raise EvaluationFailed(
                f"{result.step.name} as of {as_of_in_words(as_of)} failed: {result.reason}"
            )
    return results


def check_generations(root: Path, as_of: float) -> None:
    """Fail if an artifact was built with anything later than the split.

    Raises:
        LeakFound: The manifest of one says so.
    """
    from service_runtime.generations import GenerationStore

    store = GenerationStore(root / "generations")
    for folder in sorted(path for path in store.root.glob("*") if path.is_dir()):
        generation = store.current(folder.name)
        if generation is not None and generation.manifest.as_of_us > round(as_of * 1e6):
            later = as_of_in_words(generation.manifest.as_of_us / 1e6)
            raise LeakFound(
                f"{folder.name} was built as of {later}, after the split at {as_of_in_words(as_of)}"
            )


def _measure(root: Path, split: Split, plan: Plan, say: Callable[[str], None]) -> CandidateReport:
    """Ask the services and the baselines, and judge what they answer."""
    judge = Judge(split, DEPTHS, user_count_max=plan.user_count_max, seed=plan.seed)
    settings = dict((PATIENT,))
    say("starting the services")
    with (
        Stack(
            data_root=root, services=SERVICES, fixed_time=split.as_of, settings=settings
        ) as stack,
        stack.client(deadline_s=CALL_SECONDS) as client,
    ):
        catalogue = client.catalogue()
        ready = [source.source for source in catalogue.sources if source.is_ready]
        names = [name for name in ready if not plan.sources or name in plan.sources]
        if missing := sorted(set(plan.sources) - set(ready)):
            raise EvaluationFailed(
                f"there is no ready source {', '.join(missing)}", hint=f"ready: {', '.join(ready)}"
            )
        terms = Terms(plan.start, split.as_of, DEPTHS[-1], names, plan.seed)
        asked = ask_everybody(client, judge.held_ids(), terms, say)
    say("judging")
    judge.catalogue_size = catalogue.pin_count
    sources = judge.sources(names, asked)
    union, weighed = judge.union(names, asked), judge.weighed(names, asked)
    fitted = fit_in_turn(
        plan.baselines, judge.histories, judge.seen, judge.tested_users, DEPTHS[-1], say=say
    )
    models = tuple(
        judge.report(baseline.name, lists, origin=baseline.origin, seconds=seconds)
        for baseline, lists, seconds in fitted
    )
    warnings = [
        f"{source.source} was not asked: {source.reason}"
        for source in catalogue.sources
        if not source.is_ready and not plan.sources
    ]
    warnings += judge.warnings(names, asked)
    facts = judge.facts() | {"asked with": plan.start.value}
    return CandidateReport(facts, sources, union, weighed, models, (), 0.0, tuple(warnings))
