"""Which plan a request gets: its scenario, the experiments' arms, and what it asks for itself."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ranking_service.config import RankingConfig
from ranking_service.experiments import arm_of
from ranking_service.plan import Plan
from ranking_service.query import RecommendQuery, Surface
from ranking_service.scenarios import Book, Settings, plan_of, read_book
from service_runtime.errors import InvalidRequest, NotFound
from service_runtime.telemetry import Metrics, audit, logger

_log = logger("ranking_service.scenarios")


class Planner:
    """
    Plans requests by the newest good scenario file.

    Args:
        path: The file; None = none.
        config: What holds where the file says nothing.
        stopped: Arms that the guard rail has stopped, and why, of an experiment.
        metrics: Gets `scenario_files_refused_total`.

    Raises:
        InvalidRequest: If the file is wrong at the start: then nothing has served before.
    """

    artifact = "scenarios"

    def __init__(
        self,
        path: Path | None,
        config: RankingConfig,
        *,
        stopped: Callable[[str], Mapping[str, str]],
        metrics: Metrics,
    ) -> None:
        self._path = path
        self._config = config
        self._stopped = stopped
        self._refused = metrics.counter(
            "scenario_files_refused", "Scenario files that were not taken over for a fault."
        )
        self._stamp = self._stamped()
        self.book: Book = read_book(path)
        self._plans: dict[tuple[int, str, tuple[tuple[str, str], ...]], Plan] = {}

    def poll(self) -> bool:
        """Take the file over if it changed and is good; a bad one is told once and refused."""
        stamp = self._stamped()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            book = read_book(self._path)
        except InvalidRequest as fault:
            self._refused.inc()
            _log.error("scenarios.refused", file=str(self._path), reason=str(fault))
            return False
        self.book = book
        self._plans = {}
        _log.info("scenarios.reloaded", file=str(self._path), scenarios=sorted(book.scenarios))
        audit("scenarios.reloaded", file=str(self._path), scenarios=sorted(book.scenarios))
        return True

    def plan(self, query: RecommendQuery) -> Plan:
        """
        How to answer a request.

        Raises:
            NotFound: If nobody configured its scenario, or an experiment or arm that it names.
            InvalidRequest: If the scenario is for another surface.
        """
        book = self.book
        name = _scenario(book, query)
        arms = self._arms(book, name, query)
        key = (id(book), name, tuple(sorted(arms.items())))
        plan = self._plans.get(key)
        if plan is None:
            settings: dict[str, Settings] = {
                experiment: book.experiments[experiment].arms[arm]
                for experiment, arm in arms.items()
            }
            plan = replace(
                plan_of(book, self._config, name, settings),
                experiment_arms=arms,
                is_rotating=book.is_rotating or self._config.rotation_rate > 0,
            )
            self._plans[key] = plan
        return _asked(plan, query)

    def shares(self, experiment: str) -> Mapping[str, float]:
        """
        Share of users by arm of an experiment.

        Raises:
            NotFound: If the scenario file has no such experiment.
        """
        table = self.book.experiments.get(experiment)
        if table is None:
            raise NotFound(
                f"there is no experiment {experiment!r}",
                field="experiment",
                reason="EXPERIMENT_UNKNOWN",
                hint="the scenario file names the experiments",
            )
        return table.shares

    def _arms(self, book: Book, name: str, query: RecommendQuery) -> dict[str, str]:
        """The arm of each experiment that takes part."""
        arms = {}
        for experiment, table in book.experiments.items():
            wanted = query.experiment_arms.get(experiment)
            if wanted is not None and wanted not in table.arms:
                raise NotFound(
                    f"the experiment {experiment!r} has no arm {wanted!r}", field="experiment_arms"
                )
            if table.scenarios and name not in table.scenarios:
                continue
            if wanted is not None:
                arms[experiment] = wanted
            elif query.user_id:
                arm = arm_of(query.user_id, table.salt or experiment, table.shares)
                arms[experiment] = table.control if arm in self._stopped(experiment) else arm
        if unknown := sorted(set(query.experiment_arms) - set(book.experiments)):
            raise NotFound(f"there is no experiment {unknown[0]!r}", field="experiment_arms")
        return arms

    def _stamped(self) -> tuple[int, int]:
        """When the file was last written, and how long it is; zeros without one."""
        if self._path is None:
            return 0, 0
        try:
            status = self._path.stat()
        except OSError:
            return 0, 0
        return status.st_mtime_ns, status.st_size


def _scenario(book: Book, query: RecommendQuery) -> str:
    """The scenario of a request: the one that it names, else the surface's own."""
    own = query.surface.name.lower()
    name = query.scenario or own
    table = book.scenarios.get(name)
    if table is None:
        if name in {surface.name.lower() for surface in Surface}:
            return name
        raise NotFound(
            f"there is no scenario {name!r}",
            field="scenario",
            reason="SCENARIO_UNKNOWN",
            hint="add it to the scenario file, or leave the field empty",
        )
    if table.surface not in {None, own}:
        raise InvalidRequest(f"{name!r} is for {table.surface}, not {own}", field="scenario")
    return name


def _asked(plan: Plan, query: RecommendQuery) -> Plan:
    """The plan with what the request itself asks for."""
    asked: dict[str, Any] = {
        name: value
        for name, value in (
            ("diversity", query.diversity),
            ("rotation_rate", query.rotation_rate),
            ("rotation_seconds", query.rotation_seconds),
            ("score_min", query.score_min or None),
            ("is_rotating", bool(query.rotation_rate) or None),
        )
        if value is not None
    }
    return replace(plan, **asked) if asked else plan
