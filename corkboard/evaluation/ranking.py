"""How good the order is: every model trained on the same logs and judged on the same later lists.

The work is done by the job compare_rankers, on what was really shown, or, where too little was yet,
on replayed days (`corkboard.replay`); here it is started and its figures are read.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corkboard.pipeline import Order, Watcher, job_arguments, parse_report, run_module
from corkboard.replay import HORIZON_DAYS, LOG_DAYS_MIN, choose_days, replay_day
from corkboard.simulate import SIMULATED, is_simulated
from service_runtime.errors import ProcessFailed

MODULE = "ranking_service.jobs.compare_rankers"
JUDGED = "judged on newer lists that no model trained on; each half by what the other half chose"


class RankingNotCompared(ProcessFailed):
    """The job could not compare; its words are the message."""


@dataclass(frozen=True, slots=True)
class RankingReport:
    """What compare_rankers found.

    Attributes:
        facts: What was compared, by name, for the head of a page.
        models: Figures by model.
        families: Figures without each family of features; `none` = with all.
        negatives: Figures of session_pairs by what it saw as negatives.
        weights: Figures with and without up-weighted positives.
        slices: Figures by which lists trained; empty without enough random lists.
        notes: What makes the figures less sure.
    """

    facts: Mapping[str, str]
    models: Mapping[str, Mapping[str, Any]]
    families: Mapping[str, Mapping[str, float]]
    negatives: Mapping[str, Mapping[str, float]]
    weights: Mapping[str, Mapping[str, float]]
    slices: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]


def evaluate(
    order: Order,
    watcher: Watcher,
    *,
    model: str = "pointwise_gbdt",
    day_count: int = 2,
    settings: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda _: None,
) -> RankingReport:
    """Compare all models on the logs of a data root, or on replayed days.

    Args:
        order: Data root, as-of time, seed.
        watcher: Told how replayed days get on.
        model: Which one families and slices are tried on.
        day_count: Days to replay where too little was logged.
        settings: Further settings of ranking_service, `name=value`.
        say: Told what happens.

    Raises:
        RankingNotCompared: There is too little to learn from, or the job failed.
    """
    begin = time.monotonic()
    logged = order.data_root / "events" / "impressions"
    is_logged = len(list(logged.glob("day=*"))) >= (
        1 if is_simulated(order.data_root) else LOG_DAYS_MIN
    )
    scratch = Path(tempfile.mkdtemp(prefix="replay-"))
    try:
        if is_logged:
            # Made-up people act at once; real ones have the horizon of the settings.
            horizon = ["label_horizon_days=0.25"] if is_simulated(order.data_root) else []
            folders, chosen = [logged], [*horizon, *settings]
        else:
            say("too little was logged yet: replaying the past")
            days = choose_days(order.data_root, order.as_of, day_count)
            folders = [replay_day(order, day, scratch, watcher) for day in days]
            chosen = [f"label_horizon_days={HORIZON_DAYS}", *settings]
        if not folders:
            raise RankingNotCompared(
                "too few people acted on two separate days to learn from",
                hint="import more actions, or try `corkboard simulate`",
            )
        report = _run(order, folders, chosen, model, say)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _read(report, is_logged=is_logged, order=order, seconds=time.monotonic() - begin)


def _run(
    order: Order,
    folders: list[Path],
    settings: list[str],
    model: str,
    say: Callable[[str], None],
) -> Mapping[str, Any]:
    """Run the job and read its last word."""
    options = [word for setting in settings for word in ("--set", setting)]
    arguments = [*job_arguments(order), *options, "--model", model, "--impressions"]
    code, line, said = run_module(MODULE, [*arguments, *map(str, folders)], say)
    report = parse_report(line)
    if code != 0 or "models" not in report:
        words = str(report.get("error", "")) or "\n".join(said[-8:]) or f"exit code {code}"
        raise RankingNotCompared(words, hint=str(report.get("hint", "")))
    return report


def _read(
    report: Mapping[str, Any], *, is_logged: bool, order: Order, seconds: float
) -> RankingReport:
    """The job's report as values."""
    examples, positives = report["examples"], report["positives"]
    facts = {
        "lists come from": "what was logged" if is_logged else "replayed days",
        "training": f"{examples['training']:,} examples, {positives['training']:,} positive",
        "judging": f"{examples['judging']:,} examples, {positives['judging']:,} positive",
        "rows": JUDGED,
        "examination curve": " ".join(f"{chance:g}" for chance in report["examination"]),
        "took": f"{seconds:,.0f} s",
    }
    notes = ["The examination curve is declared, not measured: readers of your feeds may differ."]
    if is_simulated(order.data_root):
        notes.insert(0, SIMULATED)
    if not is_logged:
        notes.append(
            "Replayed lists were never shown: a pin counts as good if the person found it anyway."
        )
    if not report["slices"]:
        notes.append("Too few lists were in random order to compare slices.")
    return RankingReport(
        facts=facts,
        models=report["models"],
        families=report["families"],
        negatives=report["negatives"],
        weights=report["weights"],
        slices=report["slices"],
        notes=tuple(notes),
    )
