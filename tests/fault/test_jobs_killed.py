"""A job that is killed half-way leaves the old generation, and run again gives what it should."""

import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from candidate_service.content_vectors import EMBEDDED
from corkboard.backup import check
from corkboard.pipeline import STEPS, Order, job_arguments
from ranking_service.ranker import RANKER_ARTIFACT, STAGED_ARTIFACT
from service_runtime.errors import NotFound
from service_runtime.generations import GenerationStore
from tests.candidate_service.onnx_model import make_weights, write_model
from tests.candidate_service.pictures import address, draw, encode
from tests.candidate_service.world import write_pins
from tests.fault.nursery import start_module
from tests.fault.rounds import kill_rounds, log_seed
from tests.integration.world import AS_OF, copy_of_root
from tests.ranking_service.jobs.test_train_ranker import make_shown, write
from tests.ranking_service.worlds import DAY, NOW

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


def run(module: str, arguments: Sequence[str]) -> float:
    """Run a job to its end; returns its seconds."""
    begin = time.monotonic()
    job = start_module(module, arguments)
    report = job.line()
    assert job.wait() == 0, report
    return time.monotonic() - begin


def kill_within(module: str, arguments: Sequence[str], seconds: float, dice: random.Random) -> None:
    """Start a job and kill it within some seconds."""
    job = start_module(module, arguments)
    time.sleep(seconds * dice.random())
    job.kill()


def check_killed(
    root: Path,
    module: str,
    arguments: Sequence[str],
    makes: Sequence[str],
    seconds: float,
    dice: random.Random,
) -> float:
    """
    Kill a job whose artifacts were made undisturbed before, then run it; returns its seconds.

    What is current stays while it is killed, and afterwards has the same bytes, without a draft.
    """
    store = GenerationStore(root / "generations")
    calm = {artifact: content(store, artifact) for artifact in makes}
    ids = {artifact: store.current_id(artifact) for artifact in makes}
    for _ in range(KILLS):
        kill_within(module, arguments, seconds, dice)
        for artifact in makes:
            assert content(store, artifact) == calm[artifact], (artifact, "after a kill")
    seconds = run(module, arguments)
    for artifact, files in calm.items():
        assert content(store, artifact) == files, artifact
        assert not files or store.current_id(artifact) != ids[artifact], artifact
        assert list((root / "generations" / artifact).glob(".draft-*")) == [], artifact
    return seconds


@pytest.mark.timeout(7200)
def test_every_job_can_be_killed_and_run_again(tmp_path: Path) -> None:
    """
    Each job of the night, in its order, on a world that was built undisturbed before.

    After each kill what is current is whole. The run that follows publishes the very bytes that the
    undisturbed job published, and leaves no draft behind.
    """
    dice = log_seed("kill -9 of jobs")
    root = copy_of_root(tmp_path)
    arguments = [*job_arguments(Order(root, AS_OF.timestamp())), "--quiet"]
    seconds = 0.5
    for step in STEPS:
        seconds = check_killed(root, step.module, arguments, step.makes, seconds, dice)


@pytest.mark.timeout(7200)
def test_training_and_promotion_can_be_killed_and_run_again(tmp_path: Path) -> None:
    """The jobs for the ranker, which do not run every night: the same holds."""
    dice = log_seed("kill -9 of training")
    write(tmp_path, *make_shown(120))
    arguments = [*job_arguments(Order(tmp_path, NOW + 30 * DAY)), "--quiet"]
    quick = [f"--set={setting}" for setting in ("tree_count_max=20", "leaf_row_count_min=50")]
    training = [*arguments, *quick, "--stage", "--force"]
    train, promote = "ranking_service.jobs.train_ranker", "ranking_service.jobs.promote_ranker"

    seconds = run(train, training)
    check_killed(tmp_path, train, training, [STAGED_ARTIFACT], seconds, dice)
    seconds = run(promote, arguments)
    check_killed(tmp_path, promote, arguments, [RANKER_ARTIFACT], seconds, dice)


@pytest.mark.timeout(7200)
def test_embedding_of_pictures_can_be_killed_and_run_again(tmp_path: Path) -> None:
    """Also where some pictures were embedded already."""
    pytest.importorskip("onnxruntime")
    dice = log_seed("kill -9 of embed_images")
    pictures = [{"pin_id": f"p{n}", "image_url": address(encode(draw(n)))} for n in range(1, 4)]
    write_pins(tmp_path, pictures)
    write_model(tmp_path / "net.onnx", make_weights())
    arguments = [*job_arguments(Order(tmp_path, AS_OF.timestamp())), "--quiet"]
    run("candidate_service.jobs.build_catalogue", arguments)
    net = [f"--set=image_model_path={tmp_path / 'net.onnx'}", "--set=image_model_output=features"]
    embed = "candidate_service.jobs.embed_images"

    seconds = run(embed, [*arguments, *net])
    check_killed(tmp_path, embed, [*arguments, *net], [EMBEDDED], seconds, dice)


@pytest.mark.timeout(7200)
def test_backup_that_is_killed_is_no_backup_and_harms_nothing(tmp_path: Path) -> None:
    """What it left is refused; the next one, into a folder of its own, is whole."""
    dice = log_seed("kill -9 of a backup")
    root = copy_of_root(tmp_path)
    store = GenerationStore(root / "generations")
    calm = content(store, "catalogue")

    def backup(name: str) -> list[str]:
        return ["backup", str(tmp_path / name), "--data-root", str(root)]

    seconds = run("corkboard", backup("calm"))
    refused = 0
    for number in range(KILLS + 2):
        kill_within("corkboard", backup(f"killed {number}"), seconds, dice)
        try:
            check(tmp_path / f"killed {number}")
        except NotFound:
            refused += 1
    report = check(tmp_path / "calm")
    run("corkboard", backup("whole"))

    assert refused > 0
    assert content(store, "catalogue") == calm
    # What backups write into the audit log comes to be one file more.
    assert check(tmp_path / "whole").file_count >= report.file_count
