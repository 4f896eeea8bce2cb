"""What each serving workload has beside itself: a budget, a spread, a Service, a scaler."""

from collections.abc import Iterator

from tests.k8s.manifest_rules.reading import (
    SERVING,
    WORKLOADS,
    Fault,
    Manifest,
    labels,
    of_kind,
    pod_template,
    process,
    selects,
    title,
)


def faults(manifests: list[Manifest]) -> Iterator[Fault]:
    """What is missing, and what is there for nobody."""
    for one in of_kind(manifests, *SERVING):
        yield from (f"{title(one)}: {fault}" for fault in _missing(one, manifests))
    for one in of_kind(manifests, "PodDisruptionBudget"):
        yield from (f"{title(one)} {fault}" for fault in _budget(one, manifests))
    for one in of_kind(manifests, "HorizontalPodAutoscaler"):
        yield from (f"{title(one)}: {fault}" for fault in _scaler(one, manifests))


def _missing(one: Manifest, manifests: list[Manifest]) -> Iterator[Fault]:
    budgets = [
        title(budget)
        for budget in of_kind(manifests, "PodDisruptionBudget")
        if selects(budget["spec"]["selector"], labels(one))
    ]
    if len(budgets) != 1:
        yield f"one budget of disruptions is wanted, it has {budgets}"
    spreads = pod_template(one)["spec"].get("topologySpreadConstraints", [])
    if not spreads or not all(_spreads(spread["labelSelector"], one) for spread in spreads):
        yield "its pods are not spread over nodes"
    if one["kind"] == "Deployment" and "replicas" not in one["spec"]:
        targets = [
            scaler["spec"]["scaleTargetRef"]["name"]
            for scaler in of_kind(manifests, "HorizontalPodAutoscaler")
        ]
        if targets.count(one["metadata"]["name"]) != 1:
            yield "it says no replicas, and no autoscaler does"
    if not any(port.get("name") == "grpc" for port in process(one).get("ports", [])):
        return
    headless = [
        service
        for service in of_kind(manifests, "Service")
        if service["spec"].get("clusterIP") == "None"
        and selects({"matchLabels": service["spec"].get("selector", {})}, labels(one))
    ]
    if len(headless) != 1:
        yield "no headless Service shows gRPC its pods"


def _spreads(selector: Manifest, one: Manifest) -> bool:
    """An empty selector would count the pods of all."""
    return bool(selector.get("matchLabels")) and selects(selector, labels(one))


def _budget(one: Manifest, manifests: list[Manifest]) -> Iterator[Fault]:
    if ("minAvailable" in one["spec"]) == ("maxUnavailable" in one["spec"]):
        yield "wants exactly one of minAvailable and maxUnavailable"
    if not any(
        selects(one["spec"]["selector"], labels(workload))
        for workload in of_kind(manifests, *WORKLOADS)
    ):
        yield "protects no pods"


def _scaler(one: Manifest, manifests: list[Manifest]) -> Iterator[Fault]:
    target = one["spec"]["scaleTargetRef"]
    found = [
        workload
        for workload in of_kind(manifests, target["kind"])
        if workload["metadata"]["name"] == target["name"]
    ]
    if not found:
        yield f"there is no {target['kind']} {target['name']}"
    if any("replicas" in workload["spec"] for workload in found):
        yield "every apply would set back the replicas that it has chosen"
    if one["spec"].get("minReplicas", 1) < 2:
        yield "one pod is left at night, and none while it is replaced"
    wanted = [
        metric["resource"]["target"]["averageUtilization"]
        for metric in one["spec"].get("metrics", [])
        if metric["type"] == "Resource" and metric["resource"]["name"] == "cpu"
    ]
    if len(wanted) != 1 or not 0 < wanted[0] < 100:
        yield f"it scales by {wanted} % of CPU, one share below 100 is wanted"
    if one["spec"].get("minReplicas", 1) > one["spec"]["maxReplicas"]:
        yield "minReplicas is above maxReplicas"
