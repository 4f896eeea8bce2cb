"""What an API server would refuse, and what nobody would notice, in a set of manifests.

Schemas find unknown fields and wrong types. These rules find what is well-formed and wrong: names
that lead nowhere, selectors that select nothing, limits below requests.
"""

import re
from collections.abc import Iterator
from typing import Any

Manifest = dict[str, Any]
Fault = str

_QUANTITY = re.compile(r"^\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")
_SUFFIX = {
    "m": 1e-3,
    "k": 1e3,
    "Ki": 2**10,
    "M": 1e6,
    "Mi": 2**20,
    "G": 1e9,
    "Gi": 2**30,
    "T": 1e12,
    "Ti": 2**40,
}
_PORT_NAME = re.compile(r"^(?=.{1,15}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
WORKLOADS = ("Deployment", "StatefulSet", "CronJob")
DNS_SECONDS = 30
"""How old an answer of CoreDNS may be, as kubeadm sets it up."""
MOUNTED_ELSEWHERE = frozenset({"kube-root-ca.crt"})
"""ConfigMaps that the cluster itself makes."""


def faults(manifests: list[Manifest]) -> list[Fault]:
    """Everything that is wrong, one sentence each; empty is good."""
    return [
        *_identities(manifests),
        *(
            fault
            for one in manifests
            if one["kind"] in WORKLOADS
            for fault in _workload(one, manifests)
        ),
        *(
            fault
            for one in manifests
            if one["kind"] == "Service"
            for fault in _service(one, manifests)
        ),
        *_budgets_and_scalers(manifests),
        *_policies(manifests),
    ]


def pod_template(workload: Manifest) -> dict[str, Any]:
    """The pod template of a workload, of a CronJob's job too."""
    spec = workload["spec"]
    if workload["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template: dict[str, Any] = spec["template"]
    return template


def containers(template: dict[str, Any]) -> list[dict[str, Any]]:
    """All containers of a pod template."""
    spec = template["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def quantity(text: object) -> float:
    """A Kubernetes quantity as a number.

    Raises:
        ValueError: It is none.
    """
    told = str(text)
    if not _QUANTITY.match(told):
        raise ValueError(f"{told!r} is no quantity")
    digits = re.match(r"[\d.]+", told)
    assert digits is not None
    return float(digits[0]) * _SUFFIX.get(told[len(digits[0]) :], 1.0)


def _named(manifests: list[Manifest], kind: str) -> set[str]:
    return {one["metadata"]["name"] for one in manifests if one["kind"] == kind}


def _identities(manifests: list[Manifest]) -> Iterator[Fault]:
    """No object twice; every one in our namespace."""
    seen: set[tuple[str, str]] = set()
    for one in manifests:
        key = (one["kind"], one["metadata"]["name"])
        if key in seen:
            yield f"{key} is there twice"
        seen.add(key)
        if one["kind"] != "Namespace" and one["metadata"].get("namespace") != "corkboard":
            yield f"{key} is not in the namespace corkboard"


def _workload(one: Manifest, manifests: list[Manifest]) -> Iterator[Fault]:
    name = f"{one['kind']} {one['metadata']['name']}"
    template = pod_template(one)
    labels = template["metadata"].get("labels", {})
    if one["kind"] != "CronJob":
        wanted = one["spec"]["selector"]["matchLabels"]
        if not wanted.items() <= labels.items():
            yield f"{name}: selector {wanted} does not select its own pods {labels}"
    rollout = one["spec"].get("strategy", {}).get("rollingUpdate", {})
    if {str(rollout.get(key)) for key in ("maxUnavailable", "maxSurge")} <= {"0", "0%"}:
        yield f"{name}: maxUnavailable and maxSurge are both 0, so it can never be updated"
    if one["kind"] == "Deployment" and one["spec"].get("minReadySeconds", 0) <= DNS_SECONDS:
        yield f"{name}: pods are replaced faster than names are, minReadySeconds > {DNS_SECONDS}"
    governing = one["spec"].get("serviceName")
    if one["kind"] == "StatefulSet" and governing not in _named(manifests, "Service"):
        yield f"{name}: there is no Service {governing}"
    yield from (f"{name}: {fault}" for fault in _pod(one, template, manifests))


def _pod(one: Manifest, template: dict[str, Any], manifests: list[Manifest]) -> Iterator[Fault]:
    spec = template["spec"]
    volumes = [volume["name"] for volume in spec.get("volumes", [])]
    claims = [claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])]
    if spec.get("serviceAccountName") not in _named(manifests, "ServiceAccount"):
        yield f"there is no ServiceAccount {spec.get('serviceAccountName')}"
    if spec.get("automountServiceAccountToken") is not False:
        yield "its pods get the token of a service account"
    if spec.get("enableServiceLinks") is not False:
        yield "service links would set PROFILE_SERVICE_PORT and its like"
    if one["kind"] != "CronJob":
        drain = 3 + 15
        if spec.get("terminationGracePeriodSeconds", 30) <= drain:
            yield f"it is killed before it has drained for {drain} s"
    yield from _nested_places(spec)
    yield from _volumes(spec.get("volumes", []), manifests)
    for container in containers(template):
        for fault in _container(container, {*volumes, *claims}, manifests):
            yield f"{container['name']}: {fault}"


def _nested_places(spec: dict[str, Any]) -> Iterator[Fault]:
    """A place inside another volume must be made by our user, or the run-time makes it as root."""
    made = {place for one in spec.get("initContainers", []) for place in one.get("command", [])[2:]}
    for container in spec["containers"]:
        paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        for path in paths:
            if any(path.startswith(f"{outer}/") for outer in paths) and path not in made:
                yield f"no init container makes {path}, so root would own it and what is around it"


def _volumes(volumes: list[dict[str, Any]], manifests: list[Manifest]) -> Iterator[Fault]:
    for volume in volumes:
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim and claim not in _named(manifests, "PersistentVolumeClaim"):
            yield f"there is no claim {claim}"
        config = volume.get("configMap", {}).get("name")
        if config and config not in _named(manifests, "ConfigMap"):
            yield f"there is no ConfigMap {config}"


def _container(
    container: dict[str, Any], volumes: set[str], manifests: list[Manifest]
) -> Iterator[Fault]:
    for mount in container.get("volumeMounts", []):
        if mount["name"] not in volumes:
            yield f"there is no volume {mount['name']}"
    paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
    if len(set(paths)) != len(paths):
        yield "two volumes at one path"
    for source in container.get("envFrom", []):
        config = source.get("configMapRef", {}).get("name")
        if config and config not in _named(manifests, "ConfigMap") | MOUNTED_ELSEWHERE:
            yield f"there is no ConfigMap {config}"
    yield from _security(container.get("securityContext", {}))
    yield from _resources(container.get("resources", {}))
    ports = container.get("ports", [])
    names = [port.get("name", "") for port in ports]
    for port in ports:
        if not _PORT_NAME.match(port.get("name", "")):
            yield f"port name {port.get('name')!r} is not 1 to 15 of a-z, 0-9 and -"
    if len(set(names)) != len(names):
        yield "two ports of one name"
    numbers = {port["containerPort"] for port in ports}
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        yield from (f"{kind}: {fault}" for fault in _probe(kind, container.get(kind), numbers))


def _security(context: dict[str, Any]) -> Iterator[Fault]:
    if context.get("privileged"):
        yield "it is privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "it may gain privileges"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "its root file system can be written"
    if context.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "it keeps capabilities"


def _resources(resources: dict[str, Any]) -> Iterator[Fault]:
    try:
        requests = {name: quantity(value) for name, value in resources.get("requests", {}).items()}
        limits = {name: quantity(value) for name, value in resources.get("limits", {}).items()}
    except ValueError as error:
        yield str(error)
        return
    if not {"cpu", "memory"} <= requests.keys() or "memory" not in limits:
        yield "requests of cpu and memory, and a limit of memory, are wanted"
    for name, limit in limits.items():
        if requests.get(name, 0) > limit:
            yield f"the request of {name} is above its limit"


def _probe(kind: str, probe: dict[str, Any] | None, ports: set[int]) -> Iterator[Fault]:
    if probe is None:
        if ports:
            yield "is missing"
        return
    handlers = [name for name in ("grpc", "httpGet", "tcpSocket", "exec") if name in probe]
    if len(handlers) != 1:
        yield f"has the handlers {handlers}, one is wanted"
    if "grpc" in probe and probe["grpc"]["port"] not in ports:
        yield f"asks port {probe['grpc']['port']}, the container has {sorted(ports)}"
    if kind == "livenessProbe" and probe.get("successThreshold", 1) != 1:
        yield "successThreshold of a liveness probe must be 1"


def _service(one: Manifest, manifests: list[Manifest]) -> Iterator[Fault]:
    name = f"Service {one['metadata']['name']}"
    selector = one["spec"].get("selector", {})
    chosen = [
        pod_template(workload)
        for workload in manifests
        if workload["kind"] in WORKLOADS
        and selector.items() <= pod_template(workload)["metadata"].get("labels", {}).items()
    ]
    if not selector or not chosen:
        yield f"{name} selects no pods"
    for template in chosen:
        ports = [port for container in containers(template) for port in container.get("ports", [])]
        known = {port["name"] for port in ports} | {port["containerPort"] for port in ports}
        for port in one["spec"]["ports"]:
            if port.get("targetPort", port["port"]) not in known:
                yield f"{name}: no container has the port {port.get('targetPort')}"


def _budgets_and_scalers(manifests: list[Manifest]) -> Iterator[Fault]:
    for one in manifests:
        name = f"{one['kind']} {one['metadata']['name']}"
        if one["kind"] == "PodDisruptionBudget":
            if ("minAvailable" in one["spec"]) == ("maxUnavailable" in one["spec"]):
                yield f"{name}: exactly one of minAvailable and maxUnavailable is wanted"
            wanted = one["spec"]["selector"]["matchLabels"].items()
            if not any(
                wanted <= pod_template(workload)["metadata"].get("labels", {}).items()
                for workload in manifests
                if workload["kind"] in WORKLOADS
            ):
                yield f"{name} protects no pods"
        if one["kind"] == "HorizontalPodAutoscaler":
            target = one["spec"]["scaleTargetRef"]
            found = [
                workload
                for workload in manifests
                if (workload["kind"], workload["metadata"]["name"])
                == (target["kind"], target["name"])
            ]
            if not found:
                yield f"{name}: there is no {target['kind']} {target['name']}"
            if any("replicas" in workload["spec"] for workload in found):
                yield f"{name}: every apply would set back the replicas that it has chosen"
            if one["spec"].get("minReplicas", 1) > one["spec"]["maxReplicas"]:
                yield f"{name}: minReplicas is above maxReplicas"


def _policies(manifests: list[Manifest]) -> Iterator[Fault]:
    pods = [pod_template(one) for one in manifests if one["kind"] in WORKLOADS]
    names = {
        port["name"] for pod in pods for one in containers(pod) for port in one.get("ports", [])
    }
    for one in manifests:
        if one["kind"] != "NetworkPolicy":
            continue
        name = f"NetworkPolicy {one['metadata']['name']}"
        wanted = one["spec"]["podSelector"].get("matchLabels", {}).items()
        if wanted and not any(wanted <= pod["metadata"].get("labels", {}).items() for pod in pods):
            yield f"{name} selects no pods"
        for rule in (*one["spec"].get("ingress", []), *one["spec"].get("egress", [])):
            for port in rule.get("ports", []):
                if port.get("protocol", "TCP") not in {"TCP", "UDP", "SCTP"}:
                    yield f"{name}: {port['protocol']} is no protocol"
                if isinstance(port["port"], str) and port["port"] not in names:
                    yield f"{name}: no container has a port {port['port']}"
