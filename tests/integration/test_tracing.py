"""One recommendation as a collector sees it: three services, one trace, a span for each source."""

import json
from pathlib import Path

import grpc

from corkboard.ranking.v1 import ranking_service_pb2 as ranking_pb
from corkboard.ranking.v1.ranking_service_pb2_grpc import RankingServiceStub
from corkboard.stack import SERVICES
from service_runtime.telemetry import hashed
from tests.integration.world import copy_of_root, make_stack
from tests.service_runtime.collector import attributes, collecting


def test_a_recommendation_is_one_trace_over_three_services(tmp_path: Path) -> None:
    """The answer names the trace; the collector has it, the log line has it, nobody is named."""
    lines: list[dict[str, object]] = []

    def keep(_: str, text: str) -> None:
        if text.startswith("{"):
            lines.append(json.loads(text))

    with collecting() as collector:
        setting = [f"trace_endpoint={collector.endpoint}", "trace_share=1"]
        settings = dict.fromkeys(SERVICES, setting)
        with make_stack(copy_of_root(tmp_path), settings=settings, on_line=keep) as stack:
            with grpc.insecure_channel(stack.targets["ranking_service"]) as channel:
                ask = ranking_pb.RecommendPinsRequest(
                    user_id="ana", surface=ranking_pb.SURFACE_HOME_FEED, limit=5
                )
                stub = RankingServiceStub(channel)
                answer, done = stub.RecommendPins.with_call(ask, timeout=30)
            assert answer.pins
        trace_id = str(dict(done.trailing_metadata())["x-trace-id"])
        spans = collector.spans(trace_id=trace_id)

    by_id = {span.span_id: (service, span) for service, span in spans}
    names = {(service, span.name.rpartition("/")[2], span.kind) for service, span in spans}
    inner, server, client = 1, 2, 3
    assert {
        ("ranking_service", "RecommendPins", server),
        ("ranking_service", "GetProfile", client),
        ("profile_service", "GetProfile", server),
        ("ranking_service", "RetrieveCandidates", client),
        ("candidate_service", "RetrieveCandidates", server),
        ("candidate_service", "source ann", inner),
        ("ranking_service", "score", inner),
        ("candidate_service", "source popular", inner),
    } <= names
    roots = [(service, span.name) for service, span in spans if not span.parent_span_id]
    assert roots == [("ranking_service", "corkboard.ranking.v1.RankingService/RecommendPins")]
    for service, span in spans:
        if span.name.startswith("source "):
            above = by_id[span.parent_span_id][1]
            assert above.name.endswith("/RetrieveCandidates"), (service, span.name)
            assert attributes(span)["candidate_count"] >= 0
    assert not any(b"ana" in span.SerializeToString() for _, span in spans)

    finished = [line for line in lines if line.get("trace_id") == trace_id]
    assert {line["service"] for line in finished} == set(SERVICES)
    assert {line["request_id"] for line in finished} == {finished[0]["request_id"]}
    users = {line["service"]: line.get("user") for line in finished}
    assert users["ranking_service"] == users["profile_service"] == hashed("ana")
