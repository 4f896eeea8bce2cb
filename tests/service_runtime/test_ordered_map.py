"""Work on many pieces at once: in order, few at a time, faults told."""

import threading
from collections.abc import Iterator

import pytest

from service_runtime.ordered_map import ordered_map


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_the_pieces(threads: int) -> None:
    """Later pieces may be done first; they wait."""
    second_is_done = threading.Event()

    def work(piece: int) -> int:
        if threads > 1 and piece == 0:
            assert second_is_done.wait(20)
        if piece == 1:
            second_is_done.set()
        return piece * piece

    assert list(ordered_map(work, range(9), threads=threads)) == [n * n for n in range(9)]


def test_pieces_are_taken_as_there_is_room() -> None:
    """Two pieces a thread are under way, not all."""
    taken: list[int] = []

    def pieces() -> Iterator[int]:
        for piece in range(100):
            taken.append(piece)
            yield piece

    results = ordered_map(str, pieces(), threads=2)

    assert next(results) == "0"
    assert len(taken) == 4
    assert len(list(results)) == 99


def test_fault_of_a_piece_is_the_callers() -> None:
    """What a worker raises is raised where the result is taken."""

    def work(piece: int) -> int:
        return 1 // piece

    with pytest.raises(ZeroDivisionError):
        list(ordered_map(work, [1, 0, 1], threads=2))
