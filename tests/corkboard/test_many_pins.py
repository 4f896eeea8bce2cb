"""Look-ups of more pins than fit into one answer: the client asks several times."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from corkboard import Client
from corkboard.calls.candidate import PINS_PER_CALL
from corkboard.candidate.v1 import candidate_service_pb2 as wire
from corkboard.candidate.v1 import candidate_service_pb2_grpc as wire_grpc
from service_runtime.errors import Exhausted
from service_runtime.grpc_errors import to_status

TITLE = "t" * 65_536


class LargePins(wire_grpc.CandidateServiceServicer):
    """Every pin has a long title; more than *fitting_count* of them are refused in our words."""

    def __init__(self, fitting_count: int, reason: str = "ANSWER_TOO_LARGE") -> None:
        self.fitting_count = fitting_count
        self.reason = reason
        self.requests: list[wire.GetPinsRequest] = []

    def GetPins(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Ids, and titles where they are wanted."""
        self.requests.append(request)
        if len(request.pin_ids) > self.fitting_count:
            refusal = Exhausted("too much", hint="fewer", reason=self.reason)
            context.abort_with_status(to_status(refusal, domain="candidate_service"))
        has_titles = not request.read_mask.paths or "title" in request.read_mask.paths
        title = TITLE if has_titles else ""
        pins = [wire.Pin(pin_id=pin_id, is_known=True, title=title) for pin_id in request.pin_ids]
        return wire.GetPinsResponse(pins=pins)


def serve(service: LargePins, *options: tuple[str, int]) -> Iterator[Client]:
    """Give a client of a server with these options."""
    server = grpc.server(ThreadPoolExecutor(2), options=options)
    wire_grpc.add_CandidateServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Client(candidate=f"127.0.0.1:{port}") as client:
        yield client
    server.stop(0).wait()


def ids(count: int) -> list[str]:
    """So many ids, some of them twice."""
    return [f"p{at % (count - 3)}" for at in range(count)]


def test_many_pins_are_asked_for_in_several_calls() -> None:
    """In the order asked, each as often as asked for, with what is wanted of them."""
    service = LargePins(fitting_count=10**6)
    for client in serve(service):
        pins = client.pins(ids(25_000), with_vectors=True, fields=("owner_id",))

    assert [pin.pin_id for pin in pins] == ids(25_000)
    assert {len(request.pin_ids) for request in service.requests} == {PINS_PER_CALL}
    assert all(request.with_vectors for request in service.requests)
    assert {tuple(request.read_mask.paths) for request in service.requests} == {("owner_id",)}


@pytest.mark.parametrize(
    ("fitting_count", "options"),
    [
        (7, ()),  # our own refusal
        (10**6, (("grpc.max_send_message_length", 1 << 20),)),  # gRPC's at the server
        (10**6, ()),  # gRPC's at the client, whose own limit is 4 MiB
    ],
)
def test_what_does_not_fit_is_asked_for_by_halves(
    fitting_count: int, options: tuple[tuple[str, int], ...]
) -> None:
    """Whoever says that it is too large."""
    service = LargePins(fitting_count)
    for client in serve(service, *options):
        pins = client.pins(ids(300))

    assert [pin.pin_id for pin in pins] == ids(300)
    assert len(service.requests) > 4


def test_one_pin_that_does_not_fit_is_refused() -> None:
    """There is nothing left to halve."""
    service = LargePins(fitting_count=0)
    for client in serve(service):
        with pytest.raises(Exhausted, match="too much"):
            client.pins(ids(4))

    assert [len(request.pin_ids) for request in service.requests] == [4, 2, 1]


def test_other_refusals_are_not_answered_by_more_calls() -> None:
    """A service that has too much to do is not asked twice as often."""
    service = LargePins(fitting_count=0, reason="QUEUE_FULL")
    for client in serve(service):
        with pytest.raises(Exhausted):
            client.pins(ids(300))

    assert len(service.requests) == 1


def test_titles_ask_for_titles_alone() -> None:
    """Descriptions of hundreds of pins need not be sent for it."""
    service = LargePins(fitting_count=10**6)
    for client in serve(service):
        titles = client.titles(["b", "a", "a", ""])

    assert titles == {"a": TITLE, "b": TITLE}
    assert [list(request.read_mask.paths) for request in service.requests] == [["title"]]
