"""How any batch job of ours runs: arguments, settings, progress, one report line, an exit code.

A job is a module with `run(context) -> report` and a main of three lines:

    def main() -> None:
        run_job("rebuild_profiles", run, ProfileConfig)

    if __name__ == "__main__":
        main()

The last line on stdout is the report as one JSON object; all else goes to stderr. Exit codes:
0 done, 1 a gate failed and nothing was published, 2 bad arguments, settings or input,
3 an error that nobody foresaw (its trace is on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import inspect
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, NoReturn, TypeVar

import numpy as np
import orjson
from structlog.typing import FilteringBoundLogger

from service_runtime.batch import BatchEngine, BatchSettings, open_engine
from service_runtime.blas import use_one_blas_thread
from service_runtime.clock import system_clock
from service_runtime.config import ServiceConfig, load_config
from service_runtime.data_root import check_data_root
from service_runtime.disk_faults import disk_error, is_of_disk
from service_runtime.errors import CorkboardError, InvalidRequest, ProcessFailed
from service_runtime.generations import GenerationStore, open_generations
from service_runtime.progress import ProgressView, SilentProgress, open_progress
from service_runtime.telemetry import configure_logging, keep_audit, logger, use_log_key

ConfigT = TypeVar("ConfigT", bound=ServiceConfig)

EXIT_DONE: Final = 0
EXIT_GATE_FAILED: Final = 1
EXIT_BAD_INPUT: Final = 2
EXIT_UNFORESEEN: Final = 3
EXIT_INTERRUPTED: Final = 130


class JobFailed(ProcessFailed):
    """
    A gate of the job failed; nothing was published and the old generation stays.

    Args:
        message: Which gate, what was measured and what it takes.
        hint: What to do.
        report: Figures to show in the report line.
    """

    EXIT_CODE: ClassVar[int] = EXIT_GATE_FAILED

    def __init__(
        self, message: str, *, hint: str = "", report: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.report = dict(report or {})


@dataclass
class JobContext(Generic[ConfigT]):
    """
    All that a job may use; in tests made by hand.

    Attributes:
        config: The settings of the service that the job belongs to.
        as_of_us: The job reads only facts before this time, microseconds since the Unix epoch.
        seed: Seed of all chance.
        progress: `progress(description, total)` gives a function to call with what was done.
        arguments: The parsed command line, for a job's own arguments.
        shard: (i, n) if this process does only the i-th of n parts.
        batch: How the batch engine may use the machine.
    """

    config: ConfigT
    as_of_us: int
    seed: int = 0
    progress: ProgressView = field(default_factory=SilentProgress)
    arguments: argparse.Namespace = field(default_factory=argparse.Namespace)
    shard: tuple[int, int] | None = None
    batch: BatchSettings = field(default_factory=BatchSettings)
    name: str = "job"

    @property
    def data_root(self) -> Path:
        """The folder of logs, catalogue, live state and generations."""
        return self.config.data_root

    @property
    def as_of(self) -> float:
        """`as_of_us` in Unix seconds."""
        return self.as_of_us / 1e6

    @cached_property
    def rng(self) -> np.random.Generator:
        """The job's generator of chance, seeded by `seed`."""
        return np.random.default_rng(self.seed)

    @cached_property
    def engine(self) -> BatchEngine:
        """The batch engine, opened when it is first asked for."""
        return open_engine(self.batch)

    @cached_property
    def generations(self) -> GenerationStore:
        """Where artifacts are published."""
        return open_generations(self.data_root, self.config.generations_url)

    @cached_property
    def log(self) -> FilteringBoundLogger:
        """The job's logger."""
        return logger(self.name)

    def close(self) -> None:
        """Close the engine if it was opened, and the progress view."""
        if "engine" in self.__dict__:
            self.engine.close()
        self.progress.close()


Run = Callable[[JobContext[ConfigT]], Mapping[str, Any]]


def run_job(
    name: str,
    run: Run[ConfigT],
    config_class: type[ConfigT],
    *,
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
    arguments: Sequence[str] | None = None,
) -> NoReturn:
    """
    Run a job as the main of a process and exit with its code.

    Args:
        name: Of the job, as its module is called.
        run: Does the work and returns the report, JSON values only.
        config_class: Settings of the service that the job belongs to.
        add_arguments: Adds the job's own arguments; found in `context.arguments`.
        arguments: The command line; None = this process's.
    """
    sys.exit(execute_job(name, run, config_class, add_arguments=add_arguments, arguments=arguments))


def execute_job(
    name: str,
    run: Run[ConfigT],
    config_class: type[ConfigT],
    *,
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
    arguments: Sequence[str] | None = None,
) -> int:
    """Run a job as `run_job` does, but return the exit code instead of ending the process."""
    parser = _parser(name, run)
    if add_arguments is not None:
        add_arguments(parser)
    parsed = parser.parse_args(arguments)
    report: dict[str, Any] = {"job": name, "status": "done"}
    start = time.monotonic()
    code = EXIT_DONE
    try:
        context = _context(name, parsed, config_class)
        try:
            report["as_of_us"] = context.as_of_us
            use_one_blas_thread()
            report.update(run(context))
        finally:
            context.close()
    except JobFailed as fault:
        code = EXIT_GATE_FAILED
        report.update(fault.report, status="gate_failed", **_told(name, fault))
    except CorkboardError as fault:
        code = EXIT_BAD_INPUT
        report.update(status="refused", **_told(name, fault))
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
        report.update(status="interrupted")
    except Exception as fault:  # noqa: BLE001  the last line must be a report whatever happens
        if isinstance(fault, OSError) and is_of_disk(fault):
            code = EXIT_BAD_INPUT
            refusal = disk_error(fault.errno, f"what {name} makes", Path(context.data_root))
            report.update(status="refused", **_told(name, refusal))
        else:
            code = EXIT_UNFORESEEN
            traceback.print_exc()
            report.update(status="failed", error=f"{type(fault).__name__}: {fault}")
    report["seconds"] = round(time.monotonic() - start, 3)
    report["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = orjson.dumps(report, default=str, option=orjson.OPT_SERIALIZE_NUMPY)
    sys.stdout.write(line.decode() + "\n")
    sys.stdout.flush()
    return code


def parse_time(text: str) -> int:
    """
    Read a time as ISO 8601 (UTC unless it says otherwise) or Unix seconds.

    Returns:
        Microseconds since the Unix epoch.

    Raises:
        InvalidRequest: If it is neither.
    """
    try:
        return round(float(text) * 1e6)
    except ValueError:
        pass
    except OverflowError as fault:
        raise InvalidRequest(f"{text!r} is not a time") from fault
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as fault:
        raise InvalidRequest(
            f"{text!r} is not a time", hint="write 2026-01-31, 2026-01-31T12:00:00Z or 1769860800"
        ) from fault
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1e6)


def _parser(name: str, run: Callable[..., Any]) -> argparse.ArgumentParser:
    module = sys.modules.get(run.__module__)
    described = inspect.getdoc(run) or (inspect.getdoc(module) if module else "") or name
    parser = argparse.ArgumentParser(
        prog=name,
        description=described,
        epilog=(
            "The last line on stdout is the report as JSON. Exit codes: 0 done, 1 a gate failed "
            "and the old generation stays, 2 bad arguments, settings or input, 3 unforeseen error."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config", type=Path, metavar="FILE", help="TOML file with settings (default: none)")
    add(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="FIELD=VALUE",
        help="one setting, stronger than file and environment; may be repeated",
    )
    add("--data-root", type=Path, metavar="FOLDER", help="data root (default: the setting's)")
    add(
        "--as-of",
        metavar="TIME",
        help="read only facts before this time, ISO 8601 or Unix seconds (default: now)",
    )
    add("--seed", type=int, default=0, help="seed of all chance (default: 0)")
    add("--threads", type=int, default=0, help="most threads at once (default: 0 = all cores)")
    add(
        "--memory-limit",
        default="",
        metavar="SIZE",
        help="memory of the batch engine before it spills, such as 4GB (default: half of all)",
    )
    add("--shard", metavar="I/N", help="do only part I of N, from 0 on (default: all)")
    add("--quiet", action="store_true", help="no progress on stderr")
    return parser


def _context(
    name: str, parsed: argparse.Namespace, config_class: type[ConfigT]
) -> JobContext[ConfigT]:
    overrides = list(parsed.overrides)
    if parsed.data_root is not None:
        overrides.append(f"data_root={parsed.data_root}")
    config = load_config(config_class, path=parsed.config, overrides=overrides)
    use_log_key(config.log_key_file)
    check_data_root(config.data_root)
    is_watched = sys.stderr.isatty()  # then the bars tell, and log lines would tear them
    configure_logging("warning" if parsed.quiet or is_watched else config.log_level, name)
    keep_audit(config.data_root, name)
    now_us = round(system_clock(config.fixed_time)() * 1e6)
    return JobContext(
        config=config,
        as_of_us=now_us if parsed.as_of is None else parse_time(parsed.as_of),
        seed=parsed.seed,
        progress=open_progress(quiet=parsed.quiet),
        arguments=parsed,
        shard=_parse_shard(parsed.shard),
        batch=BatchSettings(
            threads=parsed.threads,
            memory_limit=parsed.memory_limit,
            spill_folder=config.data_root / "spill",
        ),
        name=name,
    )


def _parse_shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise InvalidRequest(f"--shard {text} must be I/N with 0 <= I < N, such as 0/4")
    return int(index), int(count)


def _told(name: str, fault: CorkboardError) -> dict[str, str]:
    """Say a foreseen error to people on stderr, and return it for the report."""
    sys.stderr.write(f"{name}: {fault}\n")
    return {"error": fault.message, "hint": fault.hint, "reason": fault.reason}
