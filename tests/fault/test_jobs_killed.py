"""A job that is killed half-way leaves the old generation, and run again gives what it should."""

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from corkboard.pipeline import STEPS, Step
from service_runtime.generations import GenerationStore
from tests.fault.nursery import start_job
from tests.fault.rounds import kill_rounds, log_seed
from tests.integration.world import AS_OF, copy_of_root

KILLS = kill_rounds(1)
"""Of each job, at random moments of the time that the job before it took."""


def content(store: GenerationStore, artifact: str) -> Counter[tuple[str, str]]:
    """
    The files of what is current with their checksums, every one checked; empty without any.

    Tantivy names its segments by chance, and two of its files hold these names.
    """
    generation = store.current(artifact)
    entries = generation.manifest.files if generation is not None else {}
    return Counter(
        (Path(name).suffix if name.startswith("index/") else name, entry.xxh3)
        for name, entry in entries.items()
        if not (name.startswith("index/") and name.endswith(".json"))
    )


def run(step: Step, root: Path) -> float:
    """Run a job to its end; returns its seconds."""
    begin = time.monotonic()
    job = start_job(step.module, root, as_of=AS_OF.timestamp())
    report = job.line()
    assert job.wait() == 0, report
    return time.monotonic() - begin


@pytest.mark.timeout(1800)
def test_every_job_can_be_killed_and_run_again(tmp_path: Path) -> None:
    """
    Each job of the night, in its order, on a world that was built undisturbed before.

    After each kill what is current is whole. The run that follows publishes the very bytes that the
    undisturbed job published, and leaves no draft behind.
    """
    dice = log_seed("kill -9 of jobs")
    root = copy_of_root(tmp_path)
    store = GenerationStore(root / "generations")
    seconds = 0.5
    for step in STEPS:
        calm = {artifact: content(store, artifact) for artifact in step.makes}
        ids = {artifact: store.current_id(artifact) for artifact in step.makes}
        for _ in range(KILLS):
            kill_within(step, root, seconds, dice)
            for artifact in step.makes:
                assert content(store, artifact) == calm[artifact], (artifact, "after a kill")
        seconds = run(step, root)
        for artifact, files in calm.items():
            assert content(store, artifact) == files, artifact
            assert not files or store.current_id(artifact) != ids[artifact], artifact
            assert list((root / "generations" / artifact).glob(".draft-*")) == [], artifact


def kill_within(step: Step, root: Path, seconds: float, dice: random.Random) -> None:
    """Start a job and kill it within some seconds."""
    job = start_job(step.module, root, as_of=AS_OF.timestamp())
    time.sleep(seconds * dice.random())
    job.kill()
