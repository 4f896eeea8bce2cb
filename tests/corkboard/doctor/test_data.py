"""The doctor's look at the data root."""

from pathlib import Path

import pytest

from corkboard.doctor.data import HOUR, look_at_data
from corkboard.doctor.finding import Finding, Level
from corkboard.steps import STEPS
from profile_service.actions import Action, ActionType
from profile_service.store import ActionLog, live_folder
from service_runtime.generations import GenerationStore

NOW = 1_800_000_000.0
MAP_BYTES = 1 << 24


def publish(root: Path, artifact: str, *, age_hours: float = 1.0) -> Path:
    """Publish a generation with one file; its folder."""
    store = GenerationStore(root / "generations")
    with store.draft(artifact, format_version=1) as draft:
        draft.path("numbers.bin").write_bytes(bytes(range(200)))
        generation = draft.publish(
            as_of_us=round((NOW - age_hours * HOUR) * 1e6), counts={"pins": 1}
        )
    return Path(generation.path)


def look(root: Path, *, now: float = NOW) -> dict[str, Finding]:
    """What is found, by check."""
    found = look_at_data(root, live_map_bytes=MAP_BYTES, clock=lambda: now)
    return {finding.check: finding for finding in found}


def test_absent_root_is_one_problem(tmp_path: Path) -> None:
    """Nothing else is looked at, and the remedy is the first command of all."""
    found = look(tmp_path / "none")

    assert [one.level for one in found.values()] == [Level.PROBLEM]
    assert "corkboard import" in found["data root"].remedy


def test_empty_root_lacks_the_catalogue_and_says_which_job_makes_it(tmp_path: Path) -> None:
    """A missing catalogue is a problem, what depends on one's data is not."""
    found = look(tmp_path)

    assert found["generation catalogue"].level is Level.PROBLEM
    assert found["generation catalogue"].remedy == "corkboard build --only build_catalogue"
    assert found["generation popular"].level is Level.WARNING
    assert found["generation visual_vectors"].level is Level.OK
    assert found["imported saves"].level is Level.WARNING
    assert {f"generation {name}" for step in STEPS for name in step.makes} <= set(found)


def test_fresh_old_and_damaged_generations_are_told_apart(tmp_path: Path) -> None:
    """Age makes a warning, one flipped bit a problem that names the file and a way back."""
    publish(tmp_path, "profiles")
    publish(tmp_path, "popular", age_hours=50)
    publish(tmp_path, "graph")
    file = publish(tmp_path, "graph") / "numbers.bin"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)

    found = look(tmp_path)

    assert found["generation profiles"].level is Level.OK
    assert found["generation popular"].level is Level.WARNING
    assert "50.0 h" in found["generation popular"].told
    damaged = found["generation graph"]
    assert damaged.level is Level.PROBLEM
    assert "numbers.bin" in damaged.told
    assert damaged.remedy.startswith("corkboard rollback graph, then corkboard build --only")


def test_generation_from_the_future_means_a_wrong_clock(tmp_path: Path) -> None:
    """It was made now, so at NOW of 1970 it lies ahead."""
    publish(tmp_path, "profiles")

    found = look(tmp_path, now=1000.0)["generation profiles"]

    assert found.level is Level.PROBLEM
    assert "clock" in found.told


@pytest.mark.parametrize(("count", "level"), [(10, Level.OK), (100_000, Level.WARNING)])
def test_live_log_is_measured(tmp_path: Path, count: int, level: Level) -> None:
    """A nearly full map is told before it refuses actions."""
    log = ActionLog(live_folder(tmp_path), map_bytes=MAP_BYTES)
    log.append([Action(f"action-{n}", "u", "p", ActionType.SAVE, n) for n in range(count)])
    log.close()

    found = look(tmp_path)["live action log"]

    assert found.level is level
