"""One flipped bit in any file of any artifact is found by its checksum, and the old one serves."""

import json
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from candidate_service.jobs import build_content_vectors
from corkboard.pipeline import STEPS
from corkboard.stack import Stack
from service_runtime.errors import Corrupted
from service_runtime.files import list_files
from service_runtime.generations import GenerationStore
from service_runtime.manifest import MANIFEST_FILE, read_manifest, render_manifest
from tests.candidate_service.world import make_context, write_pins
from tests.fault.rounds import log_seed
from tests.integration.world import AS_OF, copy_of_root, make_stack
from tests.ranking_service.test_world import publish_ranker

ARTIFACTS = {name for step in STEPS for name in step.makes} | {"ranker"}
SWAP_SECONDS_MAX = 60.0

Pair = tuple[str, str]
"""A service and an artifact."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a generation of every artifact there is; not to be changed."""
    root = copy_of_root(tmp_path_factory.mktemp("whole"))
    pin_ids = [f"{topic}-{n}" for topic in ("typography", "cooking") for n in (1, 2, 3)]
    rng = np.random.default_rng(3)
    kinds = ("text_vector", "visual_vector")
    write_pins(
        root,
        [
            {
                "pin_id": name,
                "import_seq": 1 << 60,
                **{k: rng.normal(size=4).tolist() for k in kinds},
            }
            for name in pin_ids
        ],
        file="vectors",
    )
    context = make_context(root, as_of_us=round(AS_OF.timestamp() * 1e6))
    build_content_vectors.run(context)
    context.close()
    publish_ranker(GenerationStore(root / "generations"))
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(whole, tmp_path / "root"))


def flip(path: Path, dice: random.Random) -> None:
    """Change one bit somewhere in a file."""
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def test_every_file_of_every_artifact_is_covered_by_a_checksum(root: Path) -> None:
    """Wherever the bit is, the generation is refused with the name of the file."""
    dice = log_seed("flipped bits")
    store = GenerationStore(root / "generations")
    seen = set()
    for artifact in sorted(ARTIFACTS):
        generation = store.current(artifact)
        assert generation is not None, f"the test's world lacks {artifact}"
        names = list_files(generation.path)
        assert set(names) == {*generation.manifest.files, MANIFEST_FILE}
        for name, path in names.items():
            whole = path.read_bytes()
            if not whole:
                continue
            flip(path, dice)
            with pytest.raises(Corrupted, match=path.name):
                store.verify(artifact, generation.id)
            path.write_bytes(whole)
            seen.add((artifact, name))
        store.verify(artifact, generation.id)

    assert len(seen) > 2 * len(ARTIFACTS)


def test_flipped_bit_in_current_is_survived(root: Path) -> None:
    """The pointer to the generation in use names nothing, or nothing that can be read."""
    dice = log_seed("flipped pointers")
    store = GenerationStore(root / "generations")
    for artifact in sorted(ARTIFACTS):
        before = store.current_id(artifact)
        flip(root / "generations" / artifact / "CURRENT", dice)
        versions = range(100)
        assert store.open_latest_good(artifact, format_version=versions).id == before


class Heard:
    """What the services said of generations."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._said: set[tuple[str, str, str, str]] = set()
        self._lock = threading.Lock()

    def __call__(self, service: str, line: str) -> None:
        """Take one line of a service's log."""
        if '"generation.' not in line:
            return
        told = json.loads(line)
        with self._lock:
            event = told["event"].removeprefix("generation.")
            self._said.add((event, service, told["artifact"], told["generation"]))

    def pairs(self, event: str, generations: dict[str, str]) -> set[Pair]:
        """Services and artifacts of which an event was told about one of these generations."""
        with self._lock:
            return {
                (service, artifact)
                for what, service, artifact, generation in self._said
                if what == event and generations.get(artifact) == generation
            }

    def wait(
        self, event: str, generations: dict[str, str], is_enough: Callable[[set[Pair]], bool]
    ) -> set[Pair]:
        """Wait until enough pairs were told, or too long; returns those that were."""
        deadline = time.monotonic() + SWAP_SECONDS_MAX
        while not is_enough(found := self.pairs(event, generations)):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        return found


def publish_copies(root: Path, suffix: str, dice: random.Random | None) -> dict[str, str]:
    """Make a copy of every artifact's generation current, with a flipped bit if there are dice."""
    made = {}
    for artifact in sorted(ARTIFACTS):
        folder = root / "generations" / artifact
        first = min(path.name for path in folder.iterdir() if path.is_dir())
        copy = f"{first}-{suffix}"
        shutil.copytree(folder / first, folder / copy)
        manifest = replace(read_manifest(artifact, folder / first), id=copy)
        (folder / copy / MANIFEST_FILE).write_bytes(render_manifest(manifest))
        if dice is not None:
            files = [path for path in list_files(folder / copy).values() if path.stat().st_size]
            flip(dice.choice(files), dice)
        (folder / ".CURRENT.new").write_text(f"{copy}\n")
        (folder / ".CURRENT.new").replace(folder / "CURRENT")
        made[artifact] = copy
    return made


@pytest.fixture
def heard() -> Heard:
    """Collects what the stack says."""
    return Heard()


@pytest.fixture
def stack(root: Path, heard: Heard) -> Iterator[Stack]:
    """Three services on the root."""
    with make_stack(root, on_line=heard) as stack:
        yield stack


def test_damaged_generations_of_all_artifacts_are_refused_while_serving(
    root: Path, heard: Heard, stack: Stack
) -> None:
    """Each service that reads an artifact refuses it, answers as before, and takes a good one."""
    store = GenerationStore(root / "generations")
    first = {artifact: store.current_id(artifact) or "" for artifact in ARTIFACTS}
    readers = heard.wait("opened", first, lambda told: {name for _, name in told} == ARTIFACTS)
    with stack.client() as client:
        before = client.recommend("ana", limit=10, seed=5)
        bad = publish_copies(root, "bad", log_seed("damaged generations"))
        refused = heard.wait("refused", bad, readers.__eq__)
        during = client.recommend("ana", limit=10, seed=5)
        good = publish_copies(root, "good", None)
        opened = heard.wait("opened", good, readers.__eq__)
        after = client.recommend("ana", limit=10, seed=5)

    assert {artifact for _, artifact in readers} == ARTIFACTS
    assert refused == readers
    assert during.generations == before.generations
    assert [pin.pin_id for pin in during.pins] == [pin.pin_id for pin in before.pins]
    assert opened == readers
    assert all(generation.endswith("-good") for generation in after.generations.values())
