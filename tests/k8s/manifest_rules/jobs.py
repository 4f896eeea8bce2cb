"""The night: every job that should run does, after those whose results it reads."""

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from corkboard.steps import STEPS
from tests.k8s.manifest_rules.reading import Fault, Manifest, of_kind, process, title

ROOT = Path(__file__).parents[3]
SERVICES = ("profile_service", "candidate_service", "ranking_service")
NOT_NIGHTLY = {
    "profile_service.jobs.export_actions": "the service exports itself, its volume is its own",
    "profile_service.jobs.copy_live": "for a backup, when somebody makes one",
    "candidate_service.jobs.embed_images": "needs a vision net that the operator brings",
    "ranking_service.jobs.check_scenarios": "before somebody changes scenarios",
    "ranking_service.jobs.check_skew": "when somebody looks for skew",
    "ranking_service.jobs.compare_rankers": "an evaluation, by hand",
    "ranking_service.jobs.promote_ranker": "a decision, by hand",
}
"""Jobs without an hour, each with its reason."""
MORE_AFTER = {
    "ranking_service.jobs.train_ranker": (
        "ranking_service.jobs.export_impressions",
        "ranking_service.jobs.build_memboost",
    )
}
"""What jobs read that are no step of a build."""
HOURLY = frozenset({"candidate_service.jobs.build_fresh"})
HOUR: Final = 60
DAY: Final = 24 * HOUR
NIGHT: Final = 6 * HOUR
"""The longest that a result may lie before a nightly job reads it."""


def faults(manifests: list[Manifest]) -> Iterator[Fault]:
    """Jobs that do not run, or too early to see what they read."""
    runs: dict[str, list[int]] = {}
    for one in of_kind(manifests, "CronJob"):
        module = process(one)["args"][0]
        yield from (f"{title(one)}: {fault}" for fault in _hour(one))
        if module in runs:
            yield f"{title(one)}: {module} has two hours"
        with suppress(ValueError):
            runs[module] = minutes_of_day(one["spec"]["schedule"])
    for module in sorted(job_modules() - NOT_NIGHTLY.keys() - runs.keys()):
        yield f"{module} never runs"
    for module in sorted(HOURLY & runs.keys()):
        if max(_waits(runs[module], runs[module])) > HOUR:
            yield f"{module} does not run every hour"
    for before, after in _order():
        if before in runs and after in runs and not is_in_time(runs[before], runs[after]):
            yield f"{after} does not follow {before}, whose result it reads"


def _hour(one: Manifest) -> Iterator[Fault]:
    module = process(one)["args"][0]
    if module not in job_modules():
        yield f"there is no job {module}"
    if one["spec"].get("suspend"):
        yield "it is suspended"
    if one["spec"].get("concurrencyPolicy") != "Forbid":
        yield "two of it may run at a time"
    if "startingDeadlineSeconds" not in one["spec"]:
        yield "after a hundred hours missed it is never started again"
    job = one["spec"]["jobTemplate"]["spec"]
    if "activeDeadlineSeconds" not in job:
        yield "hanging it would keep all that follow from starting"
    if job["template"]["spec"].get("restartPolicy") != "Never":
        yield "restarted in its pod it leaves no trace of its failures"
    if one["spec"].get("timeZone") != "Etc/UTC":
        yield "its hour is not told in UTC as all others are"
    try:
        minutes_of_day(one["spec"]["schedule"])
    except ValueError as error:
        yield str(error)


@cache
def job_modules() -> frozenset[str]:
    """Every job of the three services."""
    found = frozenset(
        f"{service}.jobs.{path.stem}"
        for service in SERVICES
        for path in (ROOT / service / "jobs").glob("*.py")
        if path.stem != "__init__"
    )
    assert len(found) > 20, "the jobs were not found; nothing would be checked"
    return found


def _order() -> Iterator[tuple[str, str]]:
    module_of = {step.name: step.module for step in STEPS}
    for step in STEPS:
        yield from ((module_of[before], step.module) for before in step.after)
    for module, before in MORE_AFTER.items():
        yield from ((one, module) for one in before)


def is_in_time(before: list[int], after: list[int]) -> bool:
    """Whether results of a job are read while they are new.

    Nightly jobs follow within the night. A job that runs by the hour follows a nightly one within
    the hour, and a nightly job finds what an hourly one made within the hour before it.

    Args:
        before: When the job runs that makes the result, minutes of the day.
        after: When the job runs that reads it.
    """
    often = max(len(before), len(after))
    longest = NIGHT if often == 1 else DAY // often
    if len(before) <= len(after):
        return all(0 < min(_waits([one], after)) <= longest for one in before)
    return all(0 < min(_waits(before, [one])) <= longest for one in after)


def _waits(before: list[int], after: list[int]) -> list[int]:
    """For each run in *before* the minutes until the next one in *after*, a later one."""
    return [min((one - start - 1) % DAY + 1 for one in after) for start in before]


def minutes_of_day(schedule: str) -> list[int]:
    """When a schedule of cron runs.

    Raises:
        ValueError: Not every day alike, or not understood.
    """
    minute, hour, *days = schedule.split()
    if days != ["*", "*", "*"]:
        raise ValueError(f"{schedule} is not every day")
    return sorted(h * 60 + m for h in _values(hour, 24) for m in _values(minute, 60))


def _values(field: str, count: int) -> list[int]:
    if field == "*":
        return list(range(count))
    if field.startswith("*/"):
        return list(range(0, count, int(field[2:])))
    found = [int(one) for one in field.split(",")]
    if not all(0 <= one < count for one in found):
        raise ValueError(f"{field} is not within 0 to {count - 1}")
    return found
