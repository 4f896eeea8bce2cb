"""Forgetting in memory: what one process is told, all processes on the data root follow."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ranking_service.config import RankingConfig
from ranking_service.erased_users import encode_erasure, erased_root
from ranking_service.erasure import Erasures, ErasureState, StoreErasure
from ranking_service.erasure_follower import ErasureFollower
from ranking_service.fallback import CandidateMemory
from ranking_service.memboost.keeper import MemboostKeeper
from ranking_service.pin_keys import key_of
from ranking_service.rotation import ShownLately
from service_runtime.event_log import EventLog
from service_runtime.generation_store import GenerationStore
from service_runtime.telemetry import Metrics
from tests.ranking_service.worlds import make_candidates, make_list

SOME = make_candidates(make_list("ann", [1, 2]))
FOLLOW_SECONDS = 64.0


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Its time."""
        return self.now


class Nobody:
    """Other services that know nobody."""

    def erase(self, user_id: str) -> list[StoreErasure]:
        """Nothing to forget."""
        del user_id
        return []

    def erasure(self, user_id: str) -> list[StoreErasure]:
        """Nothing is known."""
        del user_id
        return []


def remembering(*users: str) -> CandidateMemory:
    """A memory of answers to users, two each."""
    memory = CandidateMemory(100)
    for user in users:
        memory.remember(("pins", user, "p1", ""), SOME)
        memory.remember(("pins", user, "p2", ""), SOME)
    return memory


@contextmanager
def a_process(root: Path, name: str, memory: CandidateMemory, clock: Hand) -> Iterator[Erasures]:
    """The erasures of one process on a data root."""
    metrics, config = (
        Metrics("ranking_service"),
        RankingConfig(data_root=root, impression_log_name=name),
    )
    memboost = MemboostKeeper(GenerationStore(root), root / "live", config, metrics, clock)
    erasures = Erasures(
        root,
        EventLog(erased_root(root) / name),
        memboost=memboost,
        remembered=memory,
        lately=ShownLately(root / "shown", 60.0, 10, clock=clock, metrics=metrics),
        logs=(),
        others=Nobody(),
        follow_seconds=FOLLOW_SECONDS,
        clock=clock,
    )
    yield erasures
    erasures.close()
    memboost.close()


def in_memory(stores: list[StoreErasure]) -> StoreErasure:
    """What is said of the memory of processes."""
    (found,) = [store for store in stores if store.store == "ranking:answers_in_memory"]
    return found


def test_a_process_follows_what_another_one_was_told(tmp_path: Path) -> None:
    """Its next look forgets that user and nobody else; without news it does nothing."""
    memory = remembering("ana", "bob")
    follower = ErasureFollower(tmp_path, memory, 60.0)
    before = follower.poll()
    with EventLog(erased_root(tmp_path) / "another") as log:
        log.append([encode_erasure(key_of("ana"), 1)])
        log.sync()
        after = follower.poll()

    assert (before, after) == (False, True)
    assert (memory.count("ana"), memory.count("bob")) == (0, 2)


def test_a_call_that_began_before_the_erasure_leaves_nothing(tmp_path: Path) -> None:
    """What it remembers afterwards is forgotten too; who comes back later is remembered."""
    clock, memory = Hand(), remembering("ana")
    follower = ErasureFollower(tmp_path, memory, 60.0, monotonic=clock)
    with EventLog(erased_root(tmp_path) / "another") as log:
        log.append([encode_erasure(key_of("ana"), 1)])
        log.sync()
    follower.poll()
    left = []
    for clock.now in (1_030.0, 1_061.0, 1_062.0):
        memory.remember(("pins", "ana", "p1", ""), SOME)
        follower.poll()
        left.append(memory.count("ana"))

    assert left == [0, 0, 1]


def test_a_process_alone_has_erased_at_once(tmp_path: Path) -> None:
    """Nobody else can remember, so nothing is left to wait for."""
    with a_process(tmp_path, "a", remembering("ana"), Hand()) as erasures:
        _, stores = erasures.erase("ana")

        assert in_memory(stores).state is ErasureState.ERASED
        assert in_memory(stores).record_count == 2


def test_with_other_processes_it_is_hidden_until_they_have_followed(tmp_path: Path) -> None:
    """The receipt promises no more than is known, and says when it will be."""
    clock = Hand()
    with (
        a_process(tmp_path, "a", remembering("ana"), clock) as first,
        a_process(tmp_path, "b", remembering("ana"), clock) as second,
    ):
        _, stores = first.erase("ana")
        told = [in_memory(stores), in_memory(first.stores("ana")), in_memory(second.stores("ana"))]
        clock.now += FOLLOW_SECONDS
        later = in_memory(first.stores("ana"))
        own = in_memory(second.stores("ana"))

    assert [store.state for store in told] == [ErasureState.HIDDEN] * 3
    assert "within 64 s" in told[0].detail
    assert later.state is ErasureState.ERASED
    assert own.state is ErasureState.HIDDEN, "it never looked, and says so"


@pytest.mark.parametrize("user_id", ["ana", "nobody"])
def test_who_was_never_erased_is_not_waited_for(tmp_path: Path, user_id: str) -> None:
    """Without an erasure a store says what it knows."""
    with (
        a_process(tmp_path, "a", remembering("ana"), Hand()) as erasures,
        EventLog(erased_root(tmp_path) / "b"),
    ):
        told = in_memory(erasures.stores(user_id))

    assert (told.state is ErasureState.HIDDEN) == (user_id == "ana")
