"""Work on many pieces at once whose results come in order and are never all held."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

P = TypeVar("P")
R = TypeVar("R")


def ordered_map(work: Callable[[P], R], pieces: Iterable[P], *, threads: int) -> Iterator[R]:
    """
    Yield the result of each piece, in the order of the pieces.

    `ThreadPoolExecutor.map` runs through all pieces at once and keeps what nobody has taken yet;
    here at most two pieces a thread are under way.

    Args:
        work: Called from several threads.
        pieces: Taken as there is room.
        threads: How many work, >= 1.
    """
    with ThreadPoolExecutor(max(1, threads), thread_name_prefix="ordered-map") as pool:
        under_way: deque[Future[R]] = deque()
        try:
            for piece in pieces:
                under_way.append(pool.submit(work, piece))
                if len(under_way) >= 2 * max(1, threads):
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for waiting in under_way:
                waiting.cancel()
