"""How a mistake is made in manifests that are right."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.k8s.manifest_rules import Manifest

Breakage = Callable[[list[Manifest]], None]


@dataclass(frozen=True)
class Broken:
    """A mistake.

    Attributes:
        breaks: Makes it.
        told: Words of the fault that must be found.
    """

    breaks: Breakage
    told: str


def find(found: list[Manifest], kind: str, name: str = "ranking-service") -> Manifest:
    """The object of that kind and name; generated names carry a hash after theirs."""
    return next(
        one
        for one in found
        if one["kind"] == kind
        and (one["metadata"]["name"] == name or one["metadata"]["name"].startswith(f"{name}-"))
    )


def change(kind: str, path: str, to: object, name: str = "ranking-service") -> Breakage:
    """Break one object: set what is at a path of words, append to a list (+), or remove (None)."""

    def breaks(found: list[Manifest]) -> None:
        *upper, last = [int(word) if word.isdigit() else word for word in path.split()]
        place: Any = find(found, kind, name)
        for word in upper:
            place = place[word]
        if last == "+":
            place.append(to)
        elif to is None:
            del place[last]
        else:
            place[last] = to

    return breaks


def without(kind: str, name: str) -> Breakage:
    """Remove an object."""
    return lambda found: found.remove(find(found, kind, name))


def deployment(path: str, to: object) -> Breakage:
    """Change the Deployment of ranking_service."""
    return change("Deployment", f"spec {path}", to)


def pod(path: str, to: object) -> Breakage:
    """Change its pods."""
    return deployment(f"template spec {path}", to)


def server(path: str, to: object, name: str = "ranking-service") -> Breakage:
    """Change the server's container of a Deployment."""
    return change("Deployment", f"spec template spec containers 0 {path}", to, name)


def job(path: str, to: object, name: str) -> Breakage:
    """Change a CronJob."""
    return change("CronJob", f"spec {path}", to, name)


def job_pod(path: str, to: object, name: str = "build-catalogue") -> Breakage:
    """Change its pods."""
    return job(f"jobTemplate spec template spec {path}", to, name)


def scaler(path: str, to: object) -> Breakage:
    """Change the autoscaler of ranking_service."""
    return change("HorizontalPodAutoscaler", f"spec {path}", to)


def budget(path: str, to: object) -> Breakage:
    """Change its budget of disruptions."""
    return change("PodDisruptionBudget", f"spec {path}", to)


def policy(path: str, to: object, name: str = "ranking-service") -> Breakage:
    """Change a network policy."""
    return change("NetworkPolicy", f"spec {path}", to, name)


def setting(name: str, to: str | None) -> Breakage:
    """Change a setting of all processes, or remove it (None)."""
    return change("ConfigMap", f"data {name}", to, "corkboard-settings")


def volume(**source: object) -> Breakage:
    """Give the pods of ranking_service one more volume."""
    return pod("volumes +", {"name": "more", **source})
