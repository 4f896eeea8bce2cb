"""Publishing survives anything; opening believes nothing."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from service_runtime.errors import Corrupted, NotReady
from service_runtime.files import list_files
from service_runtime.generations import KEPT_COUNT, Generation, GenerationStore
from service_runtime.manifest import MANIFEST_FILE

KILL_ROUNDS = 20

PUBLISHER = """
import sys
from service_runtime.generations import GenerationStore
store = GenerationStore(sys.argv[1])
number = 0
while True:
    with store.draft("thing", format_version=1) as draft:
        for name in ("a.bin", "deep/b.bin"):
            draft.path(name).write_bytes(number.to_bytes(8, "little") * 20_000)
        draft.publish(as_of_us=number)
    number += 1
    print(number, flush=True)
"""


def publish(store: GenerationStore, text: str = "hello", *, version: int = 1) -> Generation:
    """Publish a generation of two files."""
    with store.draft("thing", format_version=version) as draft:
        draft.path("a.txt").write_text(text)
        draft.path("deep/b.txt").write_text(text * 2)
        return draft.publish(as_of_us=7, counts={"letters": len(text)}, details={"kind": "test"})


@pytest.fixture
def store(tmp_path: Path) -> GenerationStore:
    """An empty store."""
    return GenerationStore(tmp_path / "generations")


class TestPublish:
    def test_what_was_published_is_current(self, store: GenerationStore) -> None:
        """Files, figures and times come back as given."""
        published = publish(store)

        current = store.current("thing")

        assert current == published
        assert current is not None
        assert current.file("a.txt").read_text() == "hello"
        assert current.file("deep").is_dir()
        assert current.manifest.as_of_us == 7
        assert current.manifest.counts == {"letters": 5}
        assert current.manifest.details == {"kind": "test"}

    def test_nothing_published_is_none(self, store: GenerationStore) -> None:
        """An artifact that nobody built has no current generation, and that is no error."""
        assert store.current("thing") is None
        assert store.generations("thing") == []

    def test_left_draft_leaves_nothing(self, store: GenerationStore) -> None:
        """Without publish, by error or by intent, no file stays."""

        def fail() -> None:
            with store.draft("thing", format_version=1) as draft:
                draft.path("a.txt").write_text("x")
                raise InterruptedError

        with pytest.raises(InterruptedError):
            fail()
        with store.draft("thing", format_version=1) as draft:
            draft.path("a.txt").write_text("x")

        assert list_files(store.root / "thing").keys() <= {".lock"}

    def test_last_three_are_kept(self, store: GenerationStore) -> None:
        """Older generations are removed, oldest first."""
        ids = [publish(store, str(number)).id for number in range(KEPT_COUNT + 2)]

        assert store.generations("thing") == ids[-KEPT_COUNT:]

    def test_current_is_kept_when_it_is_old(self, store: GenerationStore) -> None:
        """A generation that was rolled back to is not the one that is removed under its readers."""
        ids = [publish(store, str(number)).id for number in range(3)]
        store.roll_back("thing")
        store.roll_back("thing")

        assert store.current_id("thing") == ids[0]
        assert publish(store).id == store.current_id("thing")

    @pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", MANIFEST_FILE, ".owner"])
    def test_names_that_would_leave_the_draft_are_refused(
        self, store: GenerationStore, name: str
    ) -> None:
        """A file of a generation lies in it and is none of its own."""
        with store.draft("thing", format_version=1) as draft, pytest.raises(ValueError, match="ca"):
            draft.path(name)

    def test_drafts_of_dead_processes_are_swept(self, store: GenerationStore) -> None:
        """The next publisher removes what a killed one left, and spares one at work."""
        dead = store.root / "thing" / ".draft-1-dead"
        dead.mkdir(parents=True)
        (dead / "a.txt").write_text("x")
        with store.draft("thing", format_version=1) as living:
            publish(store)

            assert living.folder.is_dir()
            assert not dead.exists()

    def test_concurrent_publishers_all_succeed(self, store: GenerationStore) -> None:
        """Eight at once: each publishes a whole generation, the ids differ, the last one is it."""
        published: list[Generation] = []
        threads = [
            threading.Thread(target=lambda n=n: published.append(publish(store, str(n))))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len({generation.id for generation in published}) == 8
        current = store.current("thing")
        assert current is not None
        assert current.id == max(generation.id for generation in published)


class TestDamage:
    def test_a_flipped_bit_in_any_file_is_refused(self, store: GenerationStore) -> None:
        """Every file of a generation, the manifest too, is covered by a checksum."""
        generation = publish(store)
        chance = random.Random(1)
        checked = 0
        for name, path in list_files(generation.path).items():
            content = path.read_bytes()
            for _ in range(40):
                bit = chance.randrange(8 * len(content))
                damaged = bytearray(content)
                damaged[bit // 8] ^= 1 << (bit % 8)
                path.write_bytes(damaged)
                with pytest.raises(Corrupted, match=name) as caught:
                    store.current("thing")
                assert "corkboard build thing" in caught.value.hint
                checked += 1
            path.write_bytes(content)

        assert checked == 120
        assert store.current("thing") == generation

    def test_a_flipped_bit_in_current_is_refused(self, store: GenerationStore) -> None:
        """CURRENT with any bit changed names nothing, or still the same generation."""
        generation = publish(store)
        path = store.root / "thing" / "CURRENT"
        content = path.read_bytes()
        for bit in range(8 * len(content)):
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << (bit % 8)
            path.write_bytes(damaged)
            with suppress(Corrupted):
                assert store.current("thing") == generation
            assert store.open_latest_good("thing", format_version=1) == generation

    def test_a_missing_file_is_named(self, store: GenerationStore) -> None:
        """The error says artifact, file, what was expected, what was found, and the remedy."""
        generation = publish(store)
        (generation.path / "deep" / "b.txt").unlink()

        with pytest.raises(Corrupted) as caught:
            store.current("thing")

        assert "thing" in caught.value.message
        assert "b.txt" in caught.value.message
        assert "10 bytes" in caught.value.message
        assert "no such file" in caught.value.message

    def test_a_torn_file_is_named_with_both_lengths(self, store: GenerationStore) -> None:
        """A file that lost its end is refused by its length."""
        generation = publish(store)
        (generation.path / "a.txt").write_text("hel")

        with pytest.raises(Corrupted, match=r"a\.txt: expected 5 bytes, found 3 bytes"):
            store.current("thing")

    def test_an_unknown_format_version_is_refused(self, store: GenerationStore) -> None:
        """A reader gets its own layout or an error that names both."""
        publish(store, version=2)

        with pytest.raises(Corrupted, match="expected format version 1, found format version 2"):
            store.current("thing", format_version=1)

    def test_a_half_written_manifest_is_refused(self, store: GenerationStore) -> None:
        """Half a manifest is none."""
        generation = publish(store)
        manifest = generation.path / MANIFEST_FILE
        manifest.write_bytes(manifest.read_bytes()[:100])

        with pytest.raises(Corrupted, match=r"manifest\.json"):
            store.current("thing")

    def test_the_previous_generation_is_opened_instead(self, store: GenerationStore) -> None:
        """Damage of the newest generation costs freshness, not service."""
        good = publish(store, "good")
        bad = publish(store, "bad")
        (bad.path / "a.txt").write_text("evil")

        assert store.open_latest_good("thing", format_version=1) == good

    def test_no_good_generation_is_not_ready_with_reasons(self, store: GenerationStore) -> None:
        """With nothing left to open, the error says why and how to build."""
        bad = publish(store, "bad")
        (bad.path / "a.txt").write_text("evil")

        with pytest.raises(NotReady, match=r"a\.txt") as caught:
            store.open_latest_good("thing", format_version=1)

        assert caught.value.hint == "build it: corkboard build thing"

    def test_a_file_the_manifest_lacks_is_refused(self, store: GenerationStore) -> None:
        """A reader that asks for a file of another layout is told so."""
        generation = publish(store)

        with pytest.raises(Corrupted, match="listed in the manifest"):
            generation.file("c.txt")


class TestRollBack:
    def test_goes_to_the_one_before(self, store: GenerationStore) -> None:
        """After a roll-back, the older generation is current and the newer is not opened."""
        old = publish(store, "old")
        new = publish(store, "new")

        assert store.roll_back("thing") == old
        assert store.current("thing") == old
        assert store.open_latest_good("thing", format_version=1) == old
        assert new.id in store.generations("thing")

    def test_passes_over_damaged_ones(self, store: GenerationStore) -> None:
        """It never lands on a generation that cannot be opened."""
        oldest = publish(store, "oldest")
        (publish(store, "middle").path / "a.txt").unlink()
        publish(store, "newest")

        assert store.roll_back("thing") == oldest

    def test_unreadable_current_goes_to_the_newest(self, store: GenerationStore) -> None:
        """Damage of CURRENT itself is mended by a roll-back."""
        publish(store, "old")
        new = publish(store, "new")
        for content in (b"\xff", b""):
            (store.root / "thing" / "CURRENT").write_bytes(content)

            assert store.roll_back("thing") == new
            assert store.current("thing") == new

    def test_with_nothing_before_is_refused(self, store: GenerationStore) -> None:
        """The first generation has nothing to go back to, and stays."""
        only = publish(store)

        with pytest.raises(NotReady):
            store.roll_back("thing")

        assert store.current("thing") == only


def test_a_publisher_killed_at_any_moment_leaves_a_good_generation(tmp_path: Path) -> None:
    """Kill -9 at random moments, twenty times: what is current opens, and never goes back."""
    chance = random.Random(2)
    store = GenerationStore(tmp_path)
    seen = ""
    for _ in range(KILL_ROUNDS):
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()  # the first is published: from here on, any moment
        time.sleep(chance.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()

        current = store.current("thing", format_version=1)

        assert current is not None
        assert current.id > seen
        content = current.file("a.bin").read_bytes()
        assert content == content[:8] * 20_000
        seen = current.id
    with store.draft("thing", format_version=1):
        pass
    left = [path.name for path in (tmp_path / "thing").iterdir() if path.name.startswith(".")]
    assert left == [".lock"]


def test_manifest_is_json_that_people_can_read(store: GenerationStore) -> None:
    """Whoever is paged can look at it with any tool."""
    generation = publish(store)

    body = json.loads((generation.path / MANIFEST_FILE).read_text())

    assert body["artifact"] == "thing"
    assert body["files"]["a.txt"]["bytes"] == 5
