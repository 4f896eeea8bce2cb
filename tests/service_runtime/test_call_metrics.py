"""Counts and times of calls, held to prometheus_client's own."""

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service_runtime.call_metrics import CallMetrics
from service_runtime.telemetry import SECONDS_BUCKETS

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
calls = st.lists(
    st.tuples(
        st.sampled_from(["Get", "Put"]),
        st.sampled_from(["OK", "NOT_FOUND"]),
        st.sampled_from(SECONDS_BUCKETS) | st.floats(0, 20),
        st.floats(0, 20),
    ),
    max_size=30,
)


def samples(registry: CollectorRegistry) -> Samples:
    """The numbers on the page, without the times at which they were made."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for metric in families
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }


@settings(deadline=None)
@given(calls)
def test_page_equals_prometheus_own(ended: list[tuple[str, str, float, float]]) -> None:
    """The same calls give the same page as counters and histograms of prometheus_client."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    metrics = CallMetrics("x", ours, lambda: 4, lambda: 9)
    requests = Counter("x_requests", "", ["method", "code"], registry=theirs)
    seconds = Histogram(
        "x_request_seconds", "", ["method"], buckets=SECONDS_BUCKETS, registry=theirs
    )
    queued = Histogram("x_queue_seconds", "", buckets=SECONDS_BUCKETS, registry=theirs)

    for method, code, took, waited in ended:
        metrics.begin()
        metrics.end(method, code, took, waited)
        requests.labels(method, code).inc()
        seconds.labels(method).observe(took)
        queued.observe(waited)

    nobody: frozenset[tuple[str, str]] = frozenset()
    gauges = {
        ("x_requests_in_flight", nobody): 0.0,
        ("x_requests_waiting", nobody): 4.0,
        ("x_requests_limit", nobody): 9.0,
    }
    assert samples(ours) == samples(theirs) | gauges


def test_calls_in_flight_are_those_begun_and_not_ended() -> None:
    """The gauge goes up with each beginning and down with each end; refusals do not count."""
    registry = CollectorRegistry()
    metrics = CallMetrics("x", registry, lambda: 0, lambda: 9)

    for _ in range(3):
        metrics.begin()
    metrics.end("Get", "OK", 0.1, 0.0)
    metrics.refuse("Get", "RESOURCE_EXHAUSTED", "overload")
    metrics.refuse("unknown", "UNIMPLEMENTED")

    found = samples(registry)
    assert found["x_requests_in_flight", frozenset()] == 2.0
    labels = frozenset({"method": "Get", "code": "RESOURCE_EXHAUSTED"}.items())
    assert found["x_requests_total", labels] == 1.0
    shed = {labels: value for (name, labels), value in found.items() if "shed" in name}
    assert shed == {frozenset({("reason", "overload")}): 1.0}


def test_no_call_is_lost_between_threads() -> None:
    """Eight threads count 8,000 calls together."""
    registry = CollectorRegistry()
    metrics = CallMetrics("x", registry, lambda: 0, lambda: 9)

    def work(_: int) -> None:
        for _ in range(1000):
            metrics.begin()
            metrics.end("Get", "OK", 0.001, 0.0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    found = samples(registry)
    labels = frozenset({"method": "Get", "code": "OK"}.items())
    assert found["x_requests_total", labels] == 8000.0
    assert found["x_requests_in_flight", frozenset()] == 0.0
