"""
A dry run of a scenario file: checked as the server would, and what would change is told.

Nothing is changed.  Exit code 2 with every fault if the file is wrong.
"""

from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ranking_service.config import RankingConfig
from ranking_service.query import Surface
from ranking_service.scenarios import Book, plan_of, read_book
from service_runtime.job import JobContext, run_job

NAME: Final = "check_scenarios"


def run(context: JobContext[RankingConfig]) -> Mapping[str, Any]:
    """
    Check the file of `--file` and compare it with the one that serves.

    Returns:
        For each scenario what it would say, and what of it is different from now.

    Raises:
        InvalidRequest: With every fault of the file.
    """
    book = read_book(context.arguments.file)
    serving = read_book(context.config.scenario_file)
    surfaces = {surface.name.lower() for surface in Surface}
    names = sorted({*surfaces, *book.scenarios, *serving.scenarios})
    after = {name: _told(book, context.config, name) for name in names}
    before = {name: _told(serving, context.config, name) for name in names}
    return {
        "scenarios": {name: after[name] for name in names if name in {*surfaces, *book.scenarios}},
        "changes": {
            name: {
                field: {"now": before[name][field], "then": value}
                for field, value in after[name].items()
                if before[name][field] != value
            }
            for name in names
            if before[name] != after[name]
        },
        "added": sorted(set(book.scenarios) - set(serving.scenarios)),
        "removed": sorted(set(serving.scenarios) - set(book.scenarios)),
        "experiments": {name: dict(table.shares) for name, table in book.experiments.items()},
    }


def _told(book: Book, config: RankingConfig, name: str) -> dict[str, Any]:
    """What a scenario says, as plain values for a report."""
    told = asdict(plan_of(book, config, name, {}))
    told.pop("experiment_arms")
    return told


def add_arguments(parser: ArgumentParser) -> None:
    """The job's own arguments."""
    parser.add_argument(
        "--file", type=Path, required=True, metavar="FILE", help="the scenario file to try"
    )


if __name__ == "__main__":
    run_job(NAME, run, RankingConfig, add_arguments=add_arguments)
