"""What every test may ask for: a fixed time and a seeded generator. And what becomes of skips.

With CORKBOARD_NO_SKIPS=1 a skipped test fails: where all tools are meant to be there, a run must
not be green because one is missing. Left alone is only what `MAY_SKIP` names.
"""

import os
import re
from collections.abc import Generator
from typing import Any, Final

import numpy as np
import pytest

MAY_SKIP: Final = re.compile(
    "CORKBOARD_[A-Z]"  # switched on by a variable: the image, the cluster
    "|root writes anywhere"  # needs a user that is not root, as others need root
    "|MovieLens"  # needs a download
    "|(were|was) not run"  # examples that need tools of other languages
)


@pytest.fixture
def now() -> float:
    """A fixed moment, Unix seconds: 2026-01-01 00:00 UTC."""
    return 1_767_225_600.0


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(20260101)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """A skipped test fails where none may be skipped."""
    return _without_skips((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    """So does a whole module that is skipped."""
    return _without_skips((yield))


def _without_skips(report: Any) -> Any:
    """The same report, failed if it tells of a skip that is not allowed."""
    if os.environ.get("CORKBOARD_NO_SKIPS") != "1" or not report.skipped:
        return report
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not hasattr(report, "wasxfail") and not MAY_SKIP.search(reason):
        report.outcome = "failed"
        report.longrepr = f"CORKBOARD_NO_SKIPS is set. {reason}"
    return report
