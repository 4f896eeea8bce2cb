"""Settings: what pods are told is what our processes read, and leads where it should.

They are read by the services' own loader: names, types, ranges and relations are its work. What it
cannot know is the cluster: which Services there are, how long a pod may take to end, its name.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from candidate_service.config import CandidateConfig
from profile_service.config import ProfileConfig
from ranking_service.config import RankingConfig
from service_runtime.config import ServiceConfig, load_config
from service_runtime.config_draft import ConfigError
from tests.k8s.manifest_rules.reading import (
    SERVING,
    WORKLOADS,
    Fault,
    Manifest,
    arguments,
    configs,
    environment,
    names,
    of_kind,
    package,
    pod_template,
    process,
    title,
)

CLASSES: dict[str, type[ServiceConfig]] = {
    "profile_service": ProfileConfig,
    "candidate_service": CandidateConfig,
    "ranking_service": RankingConfig,
}
LOG_NAMES = {
    "candidate_service": "CANDIDATE_SERVICE_LIVE_LOG_NAME",
    "ranking_service": "RANKING_SERVICE_IMPRESSION_LOG_NAME",
}
"""Folders on the shared volume that have one writer each: named after the pod."""
_TARGET = re.compile(
    r"dns:///(?P<service>[^.:]+)\.(?P<namespace>[^.:]+)(\.svc[^:]*)?:(?P<port>\d+)"
)


def faults(manifests: list[Manifest]) -> Iterator[Fault]:
    """What would not be read, and what would be read and be wrong here."""
    yield from _names(manifests)
    for one in of_kind(manifests, *WORKLOADS):
        if not package(one):
            continue
        if package(one) not in CLASSES:
            yield f"{title(one)}: {package(one)} is no service"
            continue
        try:
            config = config_of(one, manifests)
        except (ConfigError, ValueError) as error:
            yield f"{title(one)}: {error}"
            continue
        yield from (f"{title(one)}: {fault}" for fault in _threads(one, config))
        mounts = [mount["mountPath"] for mount in process(one).get("volumeMounts", [])]
        if str(config.data_root) not in mounts:
            yield f"{title(one)}: its data root {config.data_root} is no volume"
        if one["kind"] in SERVING:
            yield from (f"{title(one)}: {fault}" for fault in _serving(one, config, manifests))


def config_of(workload: Manifest, manifests: list[Manifest]) -> ServiceConfig:
    """What the process of a workload would read.

    Raises:
        ConfigError: It would refuse.
        ValueError: A variable comes from where the rules cannot look.
    """
    variables = environment(process(workload), configs(manifests), pod="pod-0")
    return _loaded(package(workload), frozenset(variables.items()))


@cache
def _loaded(service: str, variables: frozenset[tuple[str, str]]) -> ServiceConfig:
    return load_config(CLASSES[service], environment=dict(variables))


def _names(manifests: list[Manifest]) -> Iterator[Fault]:
    """The loader forgives foreign variables; in our manifests every one with our prefix is ours."""
    known = {f"CORKBOARD_{name.upper()}" for name in ServiceConfig.model_fields}
    for service, config_class in CLASSES.items():
        known |= {f"{service}_{name}".upper() for name in config_class.model_fields}
    told = {name for data in configs(manifests).values() for name in data}
    for one in of_kind(manifests, *WORKLOADS):
        told |= {entry["name"] for entry in process(one).get("env", [])}
    prefixes = ("CORKBOARD_", *(f"{service.upper()}_" for service in CLASSES))
    for name in sorted(told - known):
        if name.startswith(prefixes):
            yield f"{name} is no setting"


def _threads(one: Manifest, config: ServiceConfig) -> Iterator[Fault]:
    """Without a limit of CPU nothing but these keeps a process from taking all of its node."""
    variables = environment(process(one), {}, pod="pod-0")
    if "cpu" in process(one).get("resources", {}).get("limits", {}):
        return
    count = variables.get("OMP_NUM_THREADS", "0")
    if int(count) < 1:
        yield "OpenBLAS, OpenMP and Arrow would take a thread for each core of the node"
    if one["kind"] in SERVING and config.worker_count < 1:
        yield "it would serve with a thread for each core of the node"
    if isinstance(config, CandidateConfig) and config.source_thread_count < 1:
        yield "it would ask sources with a thread for each core of the node"
    if one["kind"] == "CronJob" and f"--threads={count}" not in arguments(process(one), variables):
        yield "its engine would take a thread for each core of the node"


def _serving(one: Manifest, config: ServiceConfig, manifests: list[Manifest]) -> Iterator[Fault]:
    container = process(one)
    if config.host not in {"0.0.0.0", "::"}:  # noqa: S104  the network policies say who comes in
        yield f"it listens on {config.host} only"
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    wanted = {"grpc": config.port, "metrics": config.metrics_port, "health": config.health_port}
    if ports != {name: port for name, port in wanted.items() if port}:
        yield f"its ports are {ports}, it listens on {wanted}"
    drain = config.drain_wait_seconds + config.drain_seconds
    if pod_template(one)["spec"].get("terminationGracePeriodSeconds", 30) <= drain:
        yield f"it is killed before it has drained for {drain:g} s"
    if isinstance(config, ProfileConfig) and config.export_every_seconds <= 0:
        yield "nobody exports live actions: its volume belongs to one pod, so no job can"
    if isinstance(config, RankingConfig):
        for service in ("profile", "candidate"):
            target = getattr(config, f"{service}_target")
            yield from _target(f"{service}-service", target, manifests)
    yield from _log_name(container)


def _target(name: str, target: str, manifests: list[Manifest]) -> Iterator[Fault]:
    """A target is the gRPC port of that Service, asked of DNS so that every pod is seen."""
    match = _TARGET.fullmatch(target)
    if match is None:
        yield f"{target} is not dns:///service.namespace:port"
        return
    if match["service"] != name or name not in names(manifests, "Service"):
        yield f"{target} is not the Service {name}"
        return
    (service,) = [one for one in of_kind(manifests, "Service") if one["metadata"]["name"] == name]
    if match["namespace"] != service["metadata"].get("namespace"):
        yield f"{target} is in another namespace than {title(service)}"
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    if int(match["port"]) != ports.get("grpc"):
        yield f"{target} is not the port grpc of {title(service)}"


def _log_name(container: Mapping[str, Any]) -> Iterator[Fault]:
    wanted = LOG_NAMES.get(container["args"][0])
    sources = [entry for entry in container.get("env", []) if entry["name"] == wanted]
    paths = [entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath") for entry in sources]
    if wanted and paths != ["metadata.name"]:
        yield f"{wanted} is not the pod's name, so two pods would write one folder"
