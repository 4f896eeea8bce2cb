"""kill -9 of who publishes and of who follows: what is current is whole, and never goes back."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from corkboard.candidate.v1 import candidate_service_pb2 as candidate_pb
from corkboard.candidate.v1 import candidate_service_pb2_grpc as candidate_grpc
from corkboard.ranking.v1 import ranking_service_pb2 as ranking_pb
from corkboard.ranking.v1 import ranking_service_pb2_grpc as ranking_grpc
from service_runtime.generation_folders import KEPT_COUNT
from service_runtime.generations import GenerationStore, Live
from tests.fault.numbered import ARTIFACT, FORMAT_VERSION, open_number, publish
from tests.fault.nursery import Nursling, start_module, start_service
from tests.fault.rounds import kill_rounds, log_seed
from tests.integration.world import AS_OF, copy_of_root

ROUNDS = kill_rounds(8)
SECONDS_MAX = 0.08
"""Longest life of a victim: several generations are published in it."""
SERVICE_ROUNDS = kill_rounds(3)
ALONE = {"profile_target": "127.0.0.1:1", "candidate_target": "127.0.0.1:1", "random_share": 0}
SETTINGS = {"candidate_service": {}, "ranking_service": ALONE}


@pytest.mark.timeout(900)
def test_publisher_and_followers_can_be_killed_at_any_moment(tmp_path: Path) -> None:
    """
    Again and again a publisher lives for some milliseconds, while another process follows it.

    After each kill the current generation is whole and as new as any that was acknowledged, the
    follower has only ever gone forward, and a new follower begins where the old one was or later.
    In the end no draft is left and no more generations than are kept.
    """
    dice = log_seed("kill -9 of publishers")
    store = GenerationStore(tmp_path)
    publish(store, 0)
    watched = Live(store, ARTIFACT, FORMAT_VERSION, open_number)
    acknowledged = served = 0
    for _ in range(ROUNDS):
        follower = start_module("tests.fault.numbered", ["follow", str(tmp_path)])
        begun = int(follower.line())
        publisher = start_module(
            "tests.fault.numbered", ["publish", str(tmp_path), str(watched.get() + 1)]
        )
        said = [int(publisher.line())]  # it is at work
        time.sleep(SECONDS_MAX * dice.random())
        said += killed(publisher)
        followed = [begun, *killed(follower)]
        watched.poll()

        assert begun >= served
        assert followed == sorted(set(followed))
        assert said == list(range(said[0], said[-1] + 1))
        assert watched.get() in (said[-1], said[-1] + 1)
        assert watched.get() >= followed[-1]
        acknowledged, served = said[-1], max(served, followed[-1])
    publish(store, watched.get() + 1)

    assert acknowledged >= ROUNDS
    assert watched.refused_count == 0
    assert len(store.generations(ARTIFACT)) == KEPT_COUNT
    left = {path.name for path in (tmp_path / ARTIFACT).iterdir()}
    assert left == {*store.generations(ARTIFACT), "CURRENT", ".lock"}


def killed(victim: Nursling) -> list[int]:
    """Kill a process; returns the numbers that it had said and nobody had read."""
    return [int(line) for line in victim.kill_and_read() if line]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("service", SETTINGS)
def test_service_killed_while_it_swaps_comes_back_with_a_whole_generation(
    tmp_path: Path, service: str
) -> None:
    """
    All artifacts are published again and again while a service takes them over and is killed.

    While it lives its catalogue never goes back; after each restart it serves the current one, and
    answers as at first, since every generation has the same content.
    """
    dice = log_seed(f"kill -9 of {service} while it swaps")
    store = GenerationStore(copy_of_root(tmp_path) / "generations")
    first: list[str] = []
    swaps = 0
    for _ in range(SERVICE_ROUNDS):
        process, channel = start_service(
            service,
            tmp_path / "root",
            fixed_time=AS_OF.timestamp(),
            generation_poll_seconds=0.01,
            **SETTINGS[service],
        )
        with channel:
            pins, catalogue = asked(service, channel)
            assert catalogue == store.current_id("catalogue")
            first = first or pins
            assert pins == first
            served = [catalogue]
            with publishing(store) as published:
                while len(set(served)) < 3:
                    pins, catalogue = asked(service, channel)
                    assert pins == first
                    served.append(catalogue)
                time.sleep(0.3 * dice.random())
                process.kill()
        assert served == sorted(served)
        assert set(served[1:]) <= {served[0], *published}
        swaps += len(set(served)) - 1

    assert first
    assert swaps >= 2 * SERVICE_ROUNDS


def asked(service: str, channel: grpc.Channel) -> tuple[list[str], str]:
    """What a service answers to the same question, and from which generation of the catalogue."""
    if service == "candidate_service":
        request = candidate_pb.RetrieveCandidatesRequest(
            query_pins=[candidate_pb.QueryPin(pin_id="typography-2", weight=1)],
            sources=[candidate_pb.SourceQuota(source=name) for name in ("popular", "text_search")],
            seed=7,
        )
        stub = candidate_grpc.CandidateServiceStub(channel)
        found = stub.RetrieveCandidates(request, timeout=30)
        return list(found.pin_ids), found.catalogue_generation
    query = ranking_pb.RecommendPinsRequest(user_id="ana", limit=20, seed=7)
    answer = ranking_grpc.RankingServiceStub(channel).RecommendPins(query, timeout=30)
    return [pin.pin_id for pin in answer.pins], answer.generations["catalogue"]


@contextmanager
def publishing(store: GenerationStore) -> Iterator[list[str]]:
    """Publish all artifacts again and again meanwhile; yields the catalogues so far."""
    published: list[str] = []
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            publish_again(store, published)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield published
    finally:
        stopped.set()
        worker.join()


def publish_again(store: GenerationStore, published: list[str]) -> None:
    """Publish each artifact's content anew, the catalogue first, and what refers to it."""
    renamed: dict[str, str] = {}
    artifacts = {path.name for path in store.root.iterdir()} - {"catalogue"}
    for artifact in ("catalogue", *sorted(artifacts)):
        current = store.current(artifact)
        assert current is not None
        manifest = current.manifest
        with store.draft(artifact, format_version=manifest.format_version) as draft:
            for name in manifest.files:
                shutil.copyfile(current.file(name), draft.path(name))
            new = draft.publish(
                as_of_us=manifest.as_of_us,
                inputs={name: renamed.get(id_, id_) for name, id_ in manifest.inputs.items()},
                counts=manifest.counts,
                quality=manifest.quality,
                details=manifest.details,
            )
        renamed[manifest.id] = new.id
        if artifact == "catalogue":
            published.append(new.id)
