"""Run every benchmark and write benchmarks/RESULTS.md.

Each `bench_*.py` prints a Markdown section whose figures are ratios measured in one run, and can
be run alone; `--quick` makes all of them tiny (to see that they work, not to quote). Shared
machines are noisy: trust the ratios, not the absolute figures.
"""

import argparse
import datetime as dt
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
LIBRARIES = ("numpy", "numba", "usearch", "lightgbm", "lmdb", "duckdb", "grpcio", "protobuf")


def machine() -> str:
    """What was measured on, in one paragraph."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GiB, Python {platform.python_version()}; "
        f"{libraries}."
    )


def section(script: Path, *, quick: bool) -> str:
    """The Markdown that one benchmark prints, with the command that made it."""
    command = [sys.executable, str(script), *(["--quick"] if quick else [])]
    print(f"· {script.name}", file=sys.stderr, flush=True)
    done = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=False)
    shown = f"`.venv/bin/python benchmarks/{script.name}{' --quick' if quick else ''}`"
    verdict = "" if done.returncode == 0 else f"\n\n**exit code {done.returncode}**"
    return f"{done.stdout.strip()}\n\nCommand: {shown}{verdict}\n"


def main() -> None:
    """Run what was asked for and write the results file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes; writes no results file")
    parser.add_argument("--only", help="run benchmarks whose name contains this; writes no file")
    options = parser.parse_args()

    scripts = [s for s in sorted(HERE.glob("bench_*.py")) if (options.only or "") in s.name]
    sections = [section(script, quick=options.quick) for script in scripts]
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    text = "\n".join(
        [
            "# Results",
            "",
            f"Measured on {today}: {machine()}",
            "Made by `make bench`. Ratios are of one run; absolute figures are this machine's.",
            "",
            *sections,
        ]
    )
    if options.quick or options.only:
        print(text)
    else:
        (HERE / "RESULTS.md").write_text(text)


if __name__ == "__main__":
    main()
