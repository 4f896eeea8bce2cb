"""What is answered from when candidate_service is away."""

from pathlib import Path

from ranking_service.fallback import CandidateMemory, popular_candidates
from ranking_service.world import Artifacts
from service_runtime.generation_store import GenerationStore
from tests.ranking_service.worlds import (
    make_candidates,
    make_list,
    publish_catalogue,
    publish_statistics,
)

SOME = make_candidates(make_list("ann", [1, 2]))


def test_memory_gives_back_what_was_answered_last() -> None:
    """The newest answer to the same asker, nothing to others."""
    memory = CandidateMemory(3)
    newer = make_candidates(make_list("ann", [3]))

    memory.remember(("a",), SOME)
    memory.remember(("a",), newer)

    assert memory.recall(("a",)) is newer
    assert memory.recall(("b",)) is None


def test_memory_is_bounded_and_forgets_who_was_silent_for_longest() -> None:
    """Being recalled counts as being used."""
    memory = CandidateMemory(2)
    for name in "ab":
        memory.remember((name,), SOME)
    memory.recall(("a",))
    memory.remember(("c",), SOME)

    assert len(memory) == 2
    assert [memory.recall((name,)) is not None for name in "abc"] == [True, False, True]


def test_memory_keeps_no_empty_answer() -> None:
    """An answer without candidates must not hide what is popular."""
    memory = CandidateMemory(2)

    memory.remember(("a",), make_candidates(make_list("ann", [])))

    assert memory.recall(("a",)) is None


def test_memory_of_size_zero_keeps_nothing() -> None:
    """The setting 0 switches it off."""
    memory = CandidateMemory(0)
    memory.remember(("a",), SOME)

    assert len(memory) == 0


def test_popular_candidates_come_from_our_own_statistics(tmp_path: Path) -> None:
    """Best first, scores falling; without statistics there are none."""
    store = GenerationStore(tmp_path)
    publish_catalogue(store, 4)
    assert popular_candidates(Artifacts(store).world()) is None
    publish_statistics(store, 4, columns={"popularity": [1.0, 9.0, 0.0, 5.0]})

    candidates = popular_candidates(Artifacts(store).world())

    assert candidates is not None
    (proposals,) = candidates.lists
    assert proposals.source == "popular"
    assert proposals.rows.tolist() == [1, 3, 0, 2]
    assert proposals.scores.tolist() == sorted(proposals.scores.tolist(), reverse=True)
