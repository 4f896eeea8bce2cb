"""The doctor's look at running services, on real ones."""

from collections.abc import Iterator

import pytest

from corkboard.doctor.finding import Finding, Level
from corkboard.doctor.services import look_at_services, read_page
from service_runtime.grpc_server import Server
from service_runtime.telemetry import Metrics
from tests.mesh.proxy import free_port
from tests.service_runtime.echo import serving


@pytest.fixture
def server() -> Iterator[Server]:
    """A server with a metrics page that has figures of ours."""
    metrics = Metrics("echo")
    with serving(metrics=metrics, metrics_port=free_port()) as (server, _):
        yield server


def look(server: Server, *, ahead_s: float = 0.0) -> dict[str, Finding]:
    """What is found, by check; our clock stands *ahead_s* before the service's."""
    page = f"127.0.0.1:{server.metrics_port}"
    now = read_page(page, "echo").time
    found = look_at_services(
        {"echo": f"127.0.0.1:{server.port}"}, {"echo": page}, clock=lambda: now + ahead_s
    )
    return {finding.check: finding for finding in found}


def test_service_that_is_well_is_told_so(server: Server) -> None:
    """Health, clock, open files, figures."""
    found = look(server)

    assert set(found) == {"echo", "echo clock", "echo open files", "echo figures"}
    assert {one.level for one in found.values()} == {Level.OK}


def test_service_that_is_away_is_a_problem() -> None:
    """And nothing more is asked of it."""
    (found,) = look_at_services({"echo": "127.0.0.1:1"}, {"echo": "127.0.0.1:1"})

    assert found.level is Level.PROBLEM
    assert "UNREACHABLE" in found.told


def test_clocks_that_differ_are_a_problem(server: Server) -> None:
    """An hour: events of one would be the other's future."""
    found = look(server, ahead_s=3600)["echo clock"]

    assert found.level is Level.PROBLEM
    assert "behind ours" in found.told


def test_figures_above_their_bounds_are_told(server: Server) -> None:
    """Those that are good are not mentioned."""
    refused = server.metrics.gauge("generation_refused", "x", ["artifact"])
    refused.labels("graph").set(1)
    refused.labels("catalogue").set(0)
    server.metrics.gauge("live_map_used_ratio", "x").set(0.93)
    server.metrics.gauge("feature_skew_share", "x").set(0.0)

    page = f"127.0.0.1:{server.metrics_port}"
    found = list(look_at_services({"echo": f"127.0.0.1:{server.port}"}, {"echo": page}))

    told = [(one.level, one.told) for one in found if one.check == "echo figures"]
    assert told == [
        (
            Level.WARNING,
            "what is current of an artifact was found damaged; an older one serves, or none",
        ),
        (Level.PROBLEM, "the live action log's map is 93% full"),
    ]


def test_page_that_is_no_metrics_page_is_a_warning(server: Server) -> None:
    """The gRPC port instead of the metrics port, say."""
    target = f"127.0.0.1:{server.port}"

    found = {one.check: one for one in look_at_services({"echo": target}, {"echo": target})}

    assert found["echo"].level is Level.OK
    assert found["echo figures"].level is Level.WARNING
    assert "metrics_port" in found["echo figures"].remedy
