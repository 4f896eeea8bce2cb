"""What is wrong with a call of kubectl or docker, going by the tree: names that are not there."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.docs.rehearsal import Called
from tests.docs.test_commands import fault_of as fault_of_ours

KUBECTL = Path(sys.executable).with_name("kubectl")
Manifest = dict[str, Any]
SHORT = {
    **dict.fromkeys(("deploy", "deployment", "deployments"), "Deployment"),
    **dict.fromkeys(("sts", "statefulset", "statefulsets"), "StatefulSet"),
    **dict.fromkeys(("cronjob", "cronjobs", "cj"), "CronJob"),
    **dict.fromkeys(("svc", "service", "services"), "Service"),
    **dict.fromkeys(("cm", "configmap", "configmaps"), "ConfigMap"),
    **dict.fromkeys(("pvc", "persistentvolumeclaim"), "PersistentVolumeClaim"),
    **dict.fromkeys(("netpol", "networkpolicy", "networkpolicies"), "NetworkPolicy"),
    **dict.fromkeys(("ns", "namespace", "namespaces"), "Namespace"),
}
MADE_THERE = frozenset({"pod", "pods", "job", "jobs", "event", "events", "secret", "secrets"})
"""Kinds of which objects come to be in the cluster, so that their names are not ours to know."""
FOREIGN = frozenset({"certificate", "certificates"})
"""Kinds that others bring: cert-manager."""
_TAKES_A_WORD = frozenset(
    {"-n", "--namespace", "-f", "-k", "-c", "-l", "-o", "-t", "--timeout", "--build-arg"}
)
_PLACEHOLDER = re.compile("[A-Z_]+|…|[.]{3}")
"""Stands for a name of the reader's: ours have no capitals."""


@dataclass(frozen=True)
class Cluster:
    """What an installation has.

    Attributes:
        objects: All rendered objects.
        namespaces: Where they may be.
        made: `kind/name` of what earlier calls of the same block made.
    """

    objects: list[Manifest]
    namespaces: frozenset[str]
    made: set[str] = field(default_factory=set)

    def named(self, kind: str) -> dict[str, Manifest]:
        """Objects of a kind by name."""
        return {one["metadata"]["name"]: one for one in self.objects if one["kind"] == kind}

    def claims(self) -> set[str]:
        """Claims that are made here, those of the pods of a StatefulSet among them."""
        own = {
            f"{claim['metadata']['name']}-{name}-{number}"
            for name, one in self.named("StatefulSet").items()
            for claim in one["spec"].get("volumeClaimTemplates", [])
            for number in range(one["spec"].get("replicas", 1))
        }
        return {*self.named("PersistentVolumeClaim"), *own}

    def wanted_secrets(self) -> set[str]:
        """Secrets that pods mount."""
        return set(re.findall(r'"secretName": "([^"]+)"', json.dumps(self.objects)))


@dataclass(frozen=True)
class Words:
    """A call taken apart: `verb`, positional words, options, and what follows `--`."""

    verb: str
    words: list[str]
    options: dict[str, str]
    rest: list[str]


def parsed(words: tuple[str, ...]) -> Words:
    """Take a call apart."""
    before, rest = list(words), []
    if "--" in before:
        at = before.index("--")
        before, rest = before[:at], before[at + 1 :]
    plain, options = [], {}
    while before:
        word = before.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            plain.append(word)
        elif not equals and name in _TAKES_A_WORD and before:
            options[name] = before.pop(0)
        else:
            options[name] = value
    return Words(plain[0] if plain else "", plain[1:], options, rest)


def faults_of(call: Called, cluster: Cluster) -> list[str]:
    """Everything that is wrong with a call; empty is good."""
    told = parsed(call.words)
    if call.name == "corkboard":
        return [*_inside(["corkboard", *call.words])]
    if call.name in _OTHERS:
        return [*_OTHERS[call.name](told, cluster, call.folder)]
    if told.verb not in _VERBS:
        return [f"nobody has taught this test the verb {told.verb!r}"]
    found = [*_options(told)]
    namespace = told.options.get("-n", told.options.get("--namespace", ""))
    if namespace and namespace not in cluster.namespaces:
        found.append(f"there is no namespace {namespace}")
    return [*found, *_VERBS[told.verb](told, cluster, call.folder)]


@cache
def _help(verb: str) -> str:
    """What kubectl says of a verb, and of the options that all verbs have."""
    said = [
        subprocess.run([str(KUBECTL), *asked], capture_output=True, text=True, check=True).stdout
        for asked in ((*verb.split(), "--help"), ("options",))
    ]
    return "\n".join(said)


def _options(told: Words) -> Iterator[str]:
    verb = f"{told.verb} {told.words[0]}" if told.verb in {"create", "rollout"} else told.verb
    verb = "create secret generic" if verb == "create secret" else verb
    known = set(re.findall(r"(?<!\S)(--?[a-z][a-z-]*)(?=[=, :\n])", _help(verb)))
    for name in told.options:
        together = re.fullmatch(r"-[a-z]{2,}", name)  # -it is -i -t
        if not known.issuperset({f"-{letter}" for letter in name[1:]} if together else {name}):
            yield f"{verb} has no option {name}"


@cache
def rendered_at(folder: Path) -> str:
    """Why a folder cannot be rendered; "" if it can."""
    done = subprocess.run(
        [str(KUBECTL), "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    return done.stderr if done.returncode else ""


def _apply(told: Words, _: Cluster, folder: Path) -> Iterator[str]:
    path = folder / told.options.get("-k", told.options.get("-f", "nowhere"))
    if not path.exists():
        yield f"there is no {path.name}"
    elif "-k" in told.options and (fault := rendered_at(path)):
        yield fault


def _kustomize(told: Words, _: Cluster, folder: Path) -> Iterator[str]:
    if fault := rendered_at(folder / told.words[0]):
        yield fault


def _object(named: str, cluster: Cluster) -> Iterator[str]:
    """`kind/name`, or a pod by its name alone."""
    kind, slash, name = named.partition("/")
    if _PLACEHOLDER.fullmatch(name) and kind in {*SHORT, *MADE_THERE, *FOREIGN}:
        return
    if not slash:
        yield from _pod(named, cluster)
    elif kind in SHORT and name not in cluster.named(SHORT[kind]):
        yield f"there is no {SHORT[kind]} {name}"
    elif kind not in {*SHORT, *MADE_THERE, *FOREIGN}:
        yield f"there is no kind {kind}"
    elif kind in {"job", "jobs"} and f"job/{name}" not in cluster.made:
        yield f"nobody has made the job {name}"


def _pod(name: str, cluster: Cluster) -> Iterator[str]:
    """Pods whose names can be known: those of a StatefulSet, and those that the block ran."""
    owner, _, number = name.rpartition("-")
    found = cluster.named("StatefulSet").get(owner)
    if f"pod/{name}" in cluster.made or _PLACEHOLDER.fullmatch(name):
        return
    if found is None or not number.isdigit() or int(number) >= found["spec"].get("replicas", 1):
        yield f"there is no pod {name}"


def _exec(told: Words, cluster: Cluster, _: Path) -> Iterator[str]:
    yield from _object(told.words[0], cluster)
    yield from _inside(told.rest)


def _inside(words: list[str]) -> Iterator[str]:
    """What runs in a container of ours."""
    if words and words[0] in {"corkboard", "python"} and (fault := fault_of_ours(words)):
        yield fault


def _cp(told: Words, cluster: Cluster, _: Path) -> Iterator[str]:
    for word in told.words:
        pod, colon, path = word.partition(":")
        if colon:
            yield from _pod(pod, cluster)
            mounts = re.findall(r'"mountPath": "([^"]+)"', json.dumps(cluster.objects))
            if not any(path.startswith(mount) for mount in mounts):
                yield f"nothing is mounted at {path}"


def _run(told: Words, cluster: Cluster, _: Path) -> Iterator[str]:
    cluster.made.add(f"pod/{told.words[0]}")
    text = told.options.get("--overrides", "{}")
    try:
        overrides = json.loads(text)
    except ValueError as error:
        yield f"--overrides is no JSON: {error}"
        return
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in overrides.get("spec", {}).get("volumes", [])
        if "persistentVolumeClaim" in volume
    }
    yield from (f"there is no claim {claim}" for claim in claims - cluster.claims())
    yield from _inside(told.rest)


def _create(told: Words, cluster: Cluster, _: Path) -> Iterator[str]:
    kind, *names = told.words
    if kind == "job":
        cluster.made.add(f"job/{names[0]}")
        yield from _object(told.options.get("--from", "cronjob/"), cluster)
    elif kind == "secret" and names[1] not in cluster.wanted_secrets():
        yield f"no pod wants the Secret {names[1]}"
    elif kind not in {"secret", "namespace"}:
        yield f"nobody has taught this test to create a {kind}"


def _forward(told: Words, cluster: Cluster, _: Path) -> Iterator[str]:
    named, *ports = told.words
    yield from _object(named, cluster)
    service = cluster.named("Service").get(named.partition("/")[2], {})
    known = {str(port["port"]) for port in service.get("spec", {}).get("ports", [])}
    for port in ports:
        if known and port.rpartition(":")[2] not in known:
            yield f"{named} has no port {port}"


def _look(told: Words, cluster: Cluster, _: Path) -> Iterator[str]:
    kinds = {*SHORT, *MADE_THERE, *FOREIGN}
    for word in told.words[:1]:
        if "/" in word:
            yield from _object(word, cluster)
        elif not {*word.split(",")} <= kinds:
            yield f"there is no kind {word}"
    if len(told.words) > 1 and told.words[0] in SHORT:
        yield from _object("/".join(told.words[:2]), cluster)


def _each(told: Words, cluster: Cluster, _: Path) -> Iterator[str]:
    for word in told.words:
        yield from _object(word, cluster)


def _rollout(told: Words, cluster: Cluster, _: Path) -> Iterator[str]:
    for word in told.words[1:]:
        yield from _object(word, cluster)


_VERBS: dict[str, Callable[[Words, Cluster, Path], Iterator[str]]] = {
    "apply": _apply,
    "kustomize": _kustomize,
    "exec": _exec,
    "cp": _cp,
    "run": _run,
    "create": _create,
    "port-forward": _forward,
    "get": _look,
    "describe": _look,
    "wait": _each,
    "logs": _each,
    "scale": _each,
    "delete": _look,
    "rollout": _rollout,
}


def _docker(told: Words, _: Cluster, folder: Path) -> Iterator[str]:
    """`build -f FILE --build-arg NAME=… .`, and pushes."""
    if told.verb == "build":
        file = folder / told.options.get("-f", "Dockerfile")
        if not file.exists():
            yield f"there is no {told.options.get('-f')}"
        elif (wanted := told.options.get("--build-arg", "").partition("=")[0]) and not re.search(
            rf"^ARG {wanted}\b", file.read_text(), re.MULTILINE
        ):
            yield f"the image has no argument {wanted}"
    elif told.verb not in {"push", "load", "save"}:
        yield f"nobody has taught this test the verb {told.verb!r}"


def _edit(told: Words, _: Cluster, folder: Path) -> Iterator[str]:
    """`edit set image NAME=…`, in the folder of a kustomization whose objects have that image."""
    done = subprocess.run(
        [str(KUBECTL), "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        yield done.stderr
    elif told.words[:2] != ["set", "image"]:
        yield f"nobody has taught this test {told.words}"
    else:
        for word in told.words[2:]:
            if f"image: {word.partition('=')[0]}:" not in done.stdout:
                yield f"no container has the image {word.partition('=')[0]}"


_OTHERS: dict[str, Callable[[Words, Cluster, Path], Iterator[str]]] = {
    "docker": _docker,
    "kustomize": _edit,
    "sleep": lambda *_: iter(()),
}


def without_hashes(found: list[Manifest]) -> list[Manifest]:
    """Rendered objects, without what kustomize appends to names of ConfigMaps."""
    for one in found:
        if one["kind"] == "ConfigMap":
            one["metadata"]["name"] = re.sub(r"-[a-z0-9]{10}$", "", one["metadata"]["name"])
    return found
