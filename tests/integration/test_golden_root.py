"""A whole data root as a release left it, in a backup of that release: it is restored, and serves.

Made by `python -m tests.integration.test_golden_root FOLDER`; never made again for a version that
was released.  It holds a generation of every artifact, exported events, and live logs of actions,
pins, saves and impressions that no job has seen yet.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from corkboard import Client
from corkboard.answers import Action
from corkboard.backup import back_up, restore
from corkboard.importing import import_folder
from corkboard.pipeline import Order, choose_steps, run_steps
from corkboard.pipeline import Outcome as StepOutcome
from corkboard.questions import PinRecord, SaveRecord, ShownPin
from corkboard.steps import STEPS
from ranking_service.experiment_results import EXPERIMENTS, FORMAT_VERSION, Outcome, Outcomes
from ranking_service.experiments import ArmResult, Estimate
from ranking_service.models.calibration import Calibration
from ranking_service.models.linear import LinearModel
from ranking_service.query import Surface
from ranking_service.ranker import (
    RANKER_ARTIFACT,
    RANKER_FORMAT_VERSION,
    SAVE,
    STAGED_ARTIFACT,
    GbdtRanker,
    LinearRanker,
    open_ranker,
    write_ranker,
)
from service_runtime.generations import GenerationStore
from tests.integration.world import AS_OF, build, make_stack

GOLDEN = Path(__file__).parents[1] / "golden"
VERSIONS = sorted(path.name for path in GOLDEN.glob("data_root_v*"))
FEATURES = ("a", "b")
ROWS = np.array([[0.0, 1.0], [1.0, 0.0]], np.float32)
ESTIMATE = Estimate(0.25, 0.125, 0.5)
OUTCOME = Outcome(
    {"new": 0.5, "old": 0.5},
    (ArmResult("new", "ann", 12, 300, ESTIMATE, ESTIMATE),),
    {"new": "lost"},
)
PINS = """pin_id,title,topics,language,time,text_vector,visual_vector,image_hash
sourdough,Sourdough with a dark crust,bread,en,2026-01-05,1 0 0,0 1,00ff00ff00ff00ff
focaccia,Focaccia with rosemary,bread,en,2026-01-29,0.9 0.1 0,0 1,00ff00ff00ff00fe
rye-loaf,Rye loaf for the week,bread,de,2026-01-05,0.8 0 0.2,1 0,
oak-bench,A bench from reclaimed oak,woodworking,en,2026-01-28,0 1 0,1 1,
coat-hooks,Steam-bent coat hooks,woodworking,en,2026-01-05,0 0.9 0.1,1 -1,
peg-rail,Shaker peg rail,woodworking,en,2026-01-05,0 0.8 0.2,-1 0,
"""
SAVES = """user_id,board_id,board_title,pin_id,time
ana,b1,Baking,sourdough,2026-01-20
ana,b1,Baking,focaccia,2026-01-30
ben,b2,Bread,sourdough,2026-01-21
ben,b2,Bread,rye-loaf,2026-01-22
emre,b3,Shed,oak-bench,2026-01-23
emre,b3,Shed,coat-hooks,2026-01-24
emre,b3,Shed,peg-rail,2026-01-25
fatima,b4,Wood,oak-bench,2026-01-26
fatima,b4,Wood,peg-rail,2026-01-27
"""


def make_golden(target: Path) -> None:
    """Write a backup of a small data root with something of everything in it."""
    os.environ["CANDIDATE_SERVICE_INDEX_EXACT_COUNT_MAX"] = "0"  # an index even for six pins
    with tempfile.TemporaryDirectory() as name:
        root, mine = Path(name) / "root", Path(name) / "mine"
        mine.mkdir()
        (mine / "pins.csv").write_text(PINS)
        (mine / "saves.csv").write_text(SAVES)
        import_folder(mine, root)
        build(root)
        with make_stack(root) as stack, stack.client() as client:
            first = client.recommend("ana", limit=4, seed=1)
            shown = [ShownPin(pin.pin_id, at) for at, pin in enumerate(first.pins)]
            client.record_impressions(first.list_id, shown, user_id="ana")
            click = Action("ana", first.pins[0].pin_id, "click", list_id=first.list_id)
            client.record_all([click])
            client.update_user("ana", language="de", country="DE", segment="bakers")
        build_later(root)
        publish_models(GenerationStore(root / "generations"))
        with make_stack(root) as stack, stack.client() as client:
            client.record("ben", "focaccia", "hide", action_id="golden-hide")
            client.record("gus", "oak-bench", action_id="golden-save")
            client.declare("hana", ["peg-rail"])
            client.record("ivan", "rye-loaf")
            client.erase("ivan")
            client.upsert_pins([PinRecord("brioche", title="Brioche", topics=["bread"])])
            client.upsert_saves([SaveRecord("brioche", board_id="b2", user_id="ben")])
            client.recommend("gus", limit=3, seed=1)
        make_small(root)
        back_up(root, target, now=datetime(2026, 1, 31, tzinfo=UTC))


def make_small(root: Path) -> None:
    """Leave out older generations, and the name of a folder that was there for a minute."""
    for artifact in (root / "generations").iterdir():
        current = (artifact / "CURRENT").read_text(encoding="utf-8").strip()
        for generation in artifact.iterdir():
            if generation.is_dir() and generation.name != current:
                shutil.rmtree(generation)
    for receipt in root.glob("catalogue/imports/*.json"):
        told = json.loads(receipt.read_text(encoding="utf-8")) | {"folder": "mine"}
        receipt.write_text(json.dumps(told, indent=2), encoding="utf-8")


def build_later(root: Path, *names: str) -> None:
    """Run jobs as a minute after AS_OF, at which the servers stood still."""
    for result in run_steps(choose_steps(only=names), Order(root, AS_OF.timestamp() + 60)):
        assert result.outcome is StepOutcome.DONE, (result.step.name, result.reason)


def publish_models(store: GenerationStore) -> None:
    """A model of trees, a linear one, and an experiment: what six pins cannot teach."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, len(FEATURES))).astype(np.float32)
    settings = {"objective": "binary", "num_leaves": 4, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(x, x[:, 0] > 0), 3)
    surfaces = frozenset({Surface.HOME_FEED})
    trees = GbdtRanker(booster.model_to_string(), surfaces=surfaces)
    summed = LinearModel(np.array([1.0, -2.0]), 0.5, np.zeros(2))
    linear = LinearRanker("rank_svm", summed, calibration=Calibration(0.5, 0.25))
    for artifact, ranker in ((RANKER_ARTIFACT, trees), (STAGED_ARTIFACT, linear)):
        with store.draft(artifact, format_version=RANKER_FORMAT_VERSION) as draft:
            write_ranker(draft.folder, {SAVE: ranker}, feature_names=FEATURES)
            logits = [float(value) for value in ranker.logits(ROWS)]
            draft.publish(as_of_us=1, details={"model": ranker.model, "logits": logits})
    with store.draft(EXPERIMENTS, format_version=FORMAT_VERSION) as draft:
        Outcomes({"bread": OUTCOME}).write(draft.folder)
        draft.publish(as_of_us=1)


@pytest.fixture(scope="module", params=VERSIONS)
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root restored from the golden backup, every checksum checked."""
    folder = tmp_path_factory.mktemp("golden") / "root"
    report = restore(GOLDEN / request.param, folder)
    assert report.file_count > 60
    return folder


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[Client]:
    """Of this release's services on it."""
    with make_stack(root) as stack, stack.client() as client:
        yield client


def test_there_is_a_golden_root_with_every_artifact(root: Path) -> None:
    """An empty folder would prove nothing."""
    held = {path.name for path in (root / "generations").iterdir()}

    made = {artifact for step in STEPS for artifact in step.makes}
    assert made | {RANKER_ARTIFACT, STAGED_ARTIFACT} <= held


def test_every_source_answers_from_it(client: Client) -> None:
    """Each artifact that a source needs is opened by this release."""
    states = {state.source: state.reason for state in client.catalogue().sources}

    assert len(states) >= 10
    assert {name: reason for name, reason in states.items() if reason} == {}


def test_profiles_and_what_came_after_them_are_there(client: Client) -> None:
    """Clusters of the generation; actions, picks, erasures of the live store."""
    ana = client.profile("ana")
    gus = client.profile("gus")
    hana = client.profile("hana")
    again = client.record("gus", "oak-bench", action_id="golden-save")

    assert {cluster.medoid_pin_id for cluster in ana.clusters} <= {
        "sourdough",
        "focaccia",
        "rye-loaf",
    }
    assert ana.clusters
    assert [cluster.medoid_pin_id for cluster in gus.clusters] == ["oak-bench"]
    assert [cluster.medoid_pin_id for cluster in hana.clusters] == ["peg-rail"]
    assert not client.profile("ivan").clusters
    assert again.code == "duplicate"


def test_live_pins_and_saves_are_in_answers(client: Client) -> None:
    """What was written and never built."""
    answer = client.recommend("ana", limit=10, seed=1)
    found = client.search("brioche")

    assert not [part for part in answer.degradations if "ranker" not in part.part]
    assert "brioche" in answer.pin_ids
    assert [pin.pin_id for pin in found.pins] == ["brioche"]


def test_what_was_shown_is_remembered(client: Client, root: Path) -> None:
    """The table of the job, and the log that no job has read."""
    shown = client.recommend("ana", limit=10, seed=1).pin_ids
    counts = [client.memboost("", pin_id).score.impression_count for pin_id in shown]
    known = GenerationStore(root / "generations").current("memboost")

    assert sum(counts) > 0
    assert known is not None
    assert known.manifest.counts["impressions"] > 0
    assert list(root.glob("events/impressions/day=*/*.parquet"))


def test_models_and_experiments_say_what_they_said(root: Path) -> None:
    """The same logits, the same figures."""
    store = GenerationStore(root / "generations")
    for artifact in (RANKER_ARTIFACT, STAGED_ARTIFACT):
        generation = store.current(artifact, format_version=RANKER_FORMAT_VERSION)
        assert generation is not None
        names = json.loads((generation.path / "features.json").read_text())["names"]
        ranker = open_ranker(generation.path, feature_names=names)
        assert ranker.logits(ROWS).tolist() == generation.manifest.details["logits"]
    experiments = store.current(EXPERIMENTS, format_version=FORMAT_VERSION)
    assert experiments is not None
    assert Outcomes.open(experiments.path).by_name["bread"] == OUTCOME


def test_this_release_builds_on_it(root: Path) -> None:
    """Jobs read what the others left, and the catalogue keeps its rows."""
    before = GenerationStore(root / "generations").current("catalogue")
    build_later(root, "export_changes", "build_catalogue")
    after = GenerationStore(root / "generations").current("catalogue")

    assert before is not None
    assert after is not None
    assert after.manifest.details["id_space"] == before.manifest.details["id_space"]
    assert after.manifest.counts["pin_count"] == before.manifest.counts["pin_count"] + 1


if __name__ == "__main__":
    make_golden(Path(sys.argv[1]))
