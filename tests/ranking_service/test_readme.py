"""The README names everything that a reader of code, settings, logs or metrics may look up."""

import re
from pathlib import Path

import pytest

import ranking_service
from ranking_service.config import RankingConfig
from ranking_service.features import FEATURE_NAMES
from service_runtime.config import ServiceConfig

FOLDER = Path(str(ranking_service.__file__)).parent
README = (FOLDER / "README.md").read_text()
SOURCE = "\n".join(path.read_text() for path in sorted(FOLDER.rglob("*.py")))


def named(kind: str) -> list[str]:
    """Every feature, setting, log event or metric of the service."""
    found = {
        "feature": list(FEATURE_NAMES),
        "setting": sorted(set(RankingConfig.model_fields) - set(ServiceConfig.model_fields)),
        "event": re.findall(r"_log\.\w+\(\s*\"([\w.]+)\"", SOURCE),
        "metric": re.findall(r"metrics\.\w+\(\s*\"(\w+)\"", SOURCE),
        "job": [path.stem for path in (FOLDER / "jobs").glob("[a-z]*.py")],
    }[kind]
    assert found, kind
    return found


@pytest.mark.parametrize("kind", ["feature", "setting", "event", "metric", "job"])
def test_readme_names_every(kind: str) -> None:
    """Nothing that exists is left out."""
    missing = [name for name in named(kind) if name not in README]

    assert missing == []


def test_readme_is_at_most_three_screens() -> None:
    """Long enough to run the service, short enough to be read."""
    assert len(README.splitlines()) <= 150
