"""Generations published to and followed from a real S3 server, and a folder by URL."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from service_runtime.errors import Corrupted, NotReady, Unavailable
from service_runtime.files import list_files, locked
from service_runtime.generations import (
    KEPT_COUNT,
    Generation,
    GenerationStore,
    GenerationWatcher,
    Live,
    open_generations,
)
from service_runtime.manifest import MANIFEST_FILE, render_manifest
from service_runtime.object_store import ObjectStore
from service_runtime.store_url import StoreUrl, check_store_url
from tests.service_runtime.s3_server import BUCKET, CREDENTIALS, S3Server, free_port, running


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """One S3 server for all tests of this file."""
    kept = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    with running() as server:
        yield server
    for name, value in kept.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(params=["s3", "file"])
def url(request: pytest.FixtureRequest, server: S3Server, tmp_path: Path) -> str:
    """An empty place for generations."""
    name = "".join(letter for letter in request.node.name if letter.isalnum())
    return server.url(name) if request.param == "s3" else f"file://{tmp_path}/shared"


def machine(tmp_path: Path, name: str, url: str) -> GenerationStore:
    """The store of one machine, its folder empty."""
    return open_generations(tmp_path / name, url)


def publish(store: GenerationStore, text: str = "hello") -> Generation:
    """Publish a generation of two files."""
    with store.draft("thing", format_version=1) as draft:
        draft.path("a.txt").write_text(text)
        draft.path("deep/b.bin").write_bytes(text.encode() * 100_000)
        return draft.publish(as_of_us=7, counts={"letters": len(text)})


def read(generation: Generation) -> str:
    """What a reader makes of it."""
    return generation.file("a.txt").read_text()


class TestFollowing:
    def test_what_one_machine_publishes_another_serves(self, tmp_path: Path, url: str) -> None:
        """Files, figures and id come over, and every byte is checked."""
        jobs, services = machine(tmp_path, "jobs", url), machine(tmp_path, "services", url)
        published = publish(jobs)
        live = Live(services, "thing", 1, read)

        current = services.current("thing")

        assert current is not None
        assert live.get() == "hello"
        assert current.path.is_relative_to(tmp_path / "services")
        assert current.manifest == published.manifest
        assert current.file("deep/b.bin").read_bytes() == b"hello" * 100_000

    def test_a_new_one_is_swapped_in_while_the_old_one_is_read(
        self, tmp_path: Path, url: str
    ) -> None:
        """A watcher fetches and swaps by itself; what is current already is not fetched again."""
        jobs, services = machine(tmp_path, "jobs", url), machine(tmp_path, "services", url)
        publish(jobs, "one")
        live = Live(services, "thing", 1, read)
        watcher = GenerationWatcher([live], 0.02, fetch_period=0.02)
        watcher.start()
        publish(jobs, "two")

        try:
            for _ in range(500):
                if live.get() == "two":
                    break
                watcher._stopped.wait(0.02)
        finally:
            watcher.stop()

        assert live.get() == "two"
        assert live.fetch_failure_count == 0
        assert not services.fetch("thing")

    def test_roll_back_reaches_all_and_needs_no_copy_here(self, tmp_path: Path, url: str) -> None:
        """Rolled back on a machine that never had the older one; the others follow."""
        jobs, services = machine(tmp_path, "jobs", url), machine(tmp_path, "services", url)
        first = publish(jobs, "one")
        publish(jobs, "two")
        live = Live(services, "thing", 1, read)
        assert live.get() == "two"

        back = machine(tmp_path, "operator", url).roll_back("thing")
        live.fetch()
        live.poll()

        assert back.id == first.id == services.current_id("thing")
        assert live.get() == "one"
        with pytest.raises(NotReady, match="go back to"):
            machine(tmp_path, "operator", url).roll_back("thing")
        assert publish(jobs, "three").id > first.id
        live.fetch()
        live.poll()
        assert live.get() == "three"

    def test_next_id_sorts_after_what_others_published(self, tmp_path: Path, url: str) -> None:
        """Two publishers with nothing in common but the store never go back in time."""
        ids = [publish(machine(tmp_path, f"jobs{at}", url)).id for at in range(3)]

        assert ids == sorted(ids)
        assert machine(tmp_path, "services", url).fetch("thing")

    def test_old_ones_are_pruned_here_and_there(self, tmp_path: Path, url: str) -> None:
        """The last three are kept, and what a killed publisher left goes with the old ones."""
        jobs, services = machine(tmp_path, "jobs", url), machine(tmp_path, "services", url)
        first = publish(jobs, "0")
        assert jobs.remote is not None
        jobs.remote.store.remove(f"thing/{first.id}/{MANIFEST_FILE}")  # as if killed before it

        ids = []
        for number in range(KEPT_COUNT + 2):
            ids.append(publish(jobs, str(number)).id)
            services.fetch("thing")

        assert jobs.remote.ids("thing") == ids[-KEPT_COUNT:]
        assert services.generations("thing") == ids[-KEPT_COUNT:]
        assert [one.id for one in services.kept_manifests("thing")] == ids[-KEPT_COUNT:]
        assert [one.id for one in machine(tmp_path, "new", url).kept_manifests("thing")] == ids[-3:]

    def test_nothing_published_is_nothing_fetched(self, tmp_path: Path, url: str) -> None:
        """An empty store is no error, and what was built here before goes on serving."""
        publish(open_generations(tmp_path / "services"), "built here")
        services = machine(tmp_path, "services", url)

        assert not services.fetch("thing")
        assert services.current("other") is None
        assert Live(services, "thing", 1, read).get() == "built here"

    def test_who_publishes_here_is_not_disturbed(self, tmp_path: Path, url: str) -> None:
        """While another process holds the artifact, fetching is left to it."""
        publish(machine(tmp_path, "jobs", url))
        services = machine(tmp_path, "services", url)

        with locked(services.root / "thing"):
            assert not services.fetch("thing")

        assert services.fetch("thing")


class TestDamage:
    @pytest.mark.parametrize("name", ["a.txt", "deep/b.bin", MANIFEST_FILE])
    @pytest.mark.parametrize("kind", ["flipped", "cut", "gone"])
    def test_damaged_objects_are_found_and_the_old_one_serves(
        self, tmp_path: Path, url: str, name: str, kind: str
    ) -> None:
        """By checksum, once; a machine that has none takes the newest good one before it."""
        jobs, services = machine(tmp_path, "jobs", url), machine(tmp_path, "services", url)
        first = publish(jobs, "one")
        live = Live(services, "thing", 1, read)
        second = publish(jobs, "two")
        assert jobs.remote is not None
        damage(jobs.remote.store, f"thing/{second.id}/{name}", kind)

        live.fetch()
        live.poll()

        assert live.get() == "one"
        assert live.refuses_current
        assert services.generations("thing") == [first.id]
        assert not list(services.root.glob("thing/.draft*"))
        new = machine(tmp_path, "new", url)
        assert new.fetch("thing")
        assert new.current_id("thing") == first.id
        with pytest.raises(Corrupted, match="corkboard build thing") as caught:
            new.remote.download("thing", second.id, tmp_path / "aside")  # type: ignore[union-attr]
        assert name in str(caught.value)

    def test_copy_that_cannot_be_read_just_now_is_not_refused(self, tmp_path: Path) -> None:
        """A disk that does not answer says nothing of what is on it; the next look takes it."""
        url = f"file://{tmp_path}/shared"
        jobs, services = machine(tmp_path, "jobs", url), machine(tmp_path, "services", url)
        first, second = publish(jobs, "one"), publish(jobs, "two")
        services.fetch("thing")
        (services.root / "thing" / "CURRENT").write_text(f"{first.id}\n")
        file = services.root / "thing" / second.id / "a.txt"
        file.rename(tmp_path / "aside")
        file.symlink_to(file)  # reading it fails with ELOOP
        shutil.copytree(
            jobs.root / "thing" / first.id, services.root / "thing" / first.id, dirs_exist_ok=True
        )
        live = Live(services, "thing", 1, read)
        before = live.get(), live.fetch_failure_count
        file.unlink()
        (tmp_path / "aside").rename(file)

        live.fetch()
        live.poll()

        assert before == ("one", 1)
        assert live.get() == "two"

    def test_current_that_is_no_id_changes_nothing(self, tmp_path: Path, url: str) -> None:
        """A torn CURRENT is told; the generation that serves stays."""
        jobs, services = machine(tmp_path, "jobs", url), machine(tmp_path, "services", url)
        publish(jobs, "one")
        live = Live(services, "thing", 1, read)
        assert jobs.remote is not None
        jobs.remote.store.write("thing/CURRENT", b"../../etc\n")

        live.fetch()

        assert (live.get(), live.fetch_failure_count) == ("one", 1)
        with pytest.raises(Corrupted, match="CURRENT"):
            services.fetch("thing")

    def test_files_that_would_leave_the_folder_are_refused(self, tmp_path: Path, url: str) -> None:
        """Whoever can write to the store cannot write elsewhere on the machines that follow it."""
        jobs, services = machine(tmp_path, "jobs", url), machine(tmp_path, "services", url)
        published = publish(jobs, "one")
        entry = published.manifest.files["a.txt"]
        wicked = replace(published.manifest, files={"../../escaped": entry})
        assert jobs.remote is not None
        jobs.remote.store.write(f"thing/{published.id}/{MANIFEST_FILE}", render_manifest(wicked))

        assert not services.fetch("thing")

        assert list_files(tmp_path / "services").keys() <= {"generations/thing/.lock"}


def damage(store: ObjectStore, name: str, kind: str) -> None:
    """Change one bit of an object, cut it, or remove it."""
    content = store.read(name)
    assert content
    if kind == "gone":
        store.remove(name)
    elif kind == "cut":
        store.write(name, content[:-1])
    else:
        at = len(content) // 2
        store.write(name, content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


class TestUnreachable:
    def test_old_one_serves_and_publishing_is_refused(self, tmp_path: Path) -> None:
        """Without the store reads go on, jobs say why they cannot publish; then all goes on."""
        os.environ.update(CREDENTIALS)
        server = S3Server()
        server.start()
        url = server.url("generations")
        jobs, services = machine(tmp_path, "jobs", url), machine(tmp_path, "services", url)
        first = publish(jobs, "one")
        live = Live(services, "thing", 1, read)

        server.stop()
        live.fetch()
        live.poll()

        assert (live.get(), live.fetch_failure_count) == ("one", 1)
        with pytest.raises(Unavailable, match="generations_url"):
            publish(jobs, "two")
        with pytest.raises(Unavailable):
            services.roll_back("thing")
        assert jobs.generations("thing") == [first.id]
        assert jobs.current_id("thing") == first.id
        restarted = Live(machine(tmp_path, "services", url), "thing", 1, read)
        assert restarted.get() == "one"

        server.start()
        publish(jobs, "three")
        live.fetch()
        live.poll()
        server.stop()

        assert live.get() == "three"

    def test_a_killed_publisher_leaves_the_old_one_current(
        self, tmp_path: Path, server: S3Server
    ) -> None:
        """Killed between the files and the manifest, nobody takes its files for a generation."""
        url = server.url("killed")
        jobs, services = machine(tmp_path, "jobs", url), machine(tmp_path, "services", url)
        first = publish(jobs, "one")
        killed = """
import os, sys
from pathlib import Path
from service_runtime.generations import open_generations
from service_runtime.object_store import ObjectStore
class Killed(ObjectStore):
    def upload(self, path, name):
        if name.endswith("manifest.json"):
            os.kill(os.getpid(), 9)
        super().upload(path, name)
store = open_generations(Path(sys.argv[1]), sys.argv[2])
store.remote.store.__class__ = Killed
with store.draft("thing", format_version=1) as draft:
    draft.path("a.txt").write_text("two")
    draft.publish(as_of_us=8)
"""
        done = subprocess.run(
            [sys.executable, "-c", killed, str(tmp_path / "jobs"), url], check=False
        )

        assert done.returncode == -9
        assert services.fetch("thing")
        assert services.current_id("thing") == first.id
        assert len(server.keys("killed")) > len(first.manifest.files) + 2
        assert publish(jobs, "three").id == jobs.current_id("thing")
        shutil.rmtree(services.root)
        assert services.fetch("thing")
        assert services.current_id("thing") == jobs.current_id("thing")

    def test_a_bucket_that_is_not_there_is_told(self, tmp_path: Path, server: S3Server) -> None:
        """The error names the URL and what to look at; no bucket is made by us."""
        url = server.url("x").replace(BUCKET, "nobodys")

        with pytest.raises(Unavailable, match="nobodys") as caught:
            publish(machine(tmp_path, "jobs", url))

        assert "AWS_ACCESS_KEY_ID" in caught.value.hint


class TestUrl:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("s3://bucket", StoreUrl("s3", "bucket")),
            ("s3://bucket/a/b/", StoreUrl("s3", "bucket/a/b")),
            (
                "s3://b/a?endpoint=http://minio:9000&region=eu-west-1",
                StoreUrl("s3", "b/a", "http://minio:9000", "eu-west-1"),
            ),
            ("file:///srv/shared/", StoreUrl("file", "/srv/shared")),
        ],
    )
    def test_places(self, url: str, expected: StoreUrl) -> None:
        """Bucket or folder, endpoint and region."""
        assert check_store_url(url) == expected

    @pytest.mark.parametrize(
        ("url", "word"),
        [
            ("gs://bucket/a", "scheme"),
            ("/srv/shared", "scheme"),
            ("s3://key:secret@bucket/a", "logged"),
            ("s3:///a", "bucket"),
            ("s3://bucket/../other", "bucket"),
            ("s3://bucket?secret_key=x", "secret_key"),
            ("s3://bucket?endpoint=minio:9000", "http"),
            ("file://host/a", "absolute"),
            ("file:///", "absolute"),
            ("file:///a?region=x", "absolute"),
            ("s3://bucket/a#b", "#b"),
        ],
    )
    def test_others_are_refused_by_name(self, url: str, word: str) -> None:
        """What is not understood is named; a secret is never accepted."""
        with pytest.raises(ValueError, match=word):
            check_store_url(url)


def test_nobody_listens_is_told_within_seconds(tmp_path: Path) -> None:
    """An address where nothing is fails as Unavailable, not as a hang."""
    url = f"s3://bucket/a?endpoint=http://127.0.0.1:{free_port()}&region=us-east-1"

    with pytest.raises(Unavailable):
        machine(tmp_path, "services", url).fetch("thing")
