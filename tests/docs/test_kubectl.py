"""Commands for a cluster name what the manifests have, wherever a page shows them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.kubectl_words import Cluster, faults_of, without_hashes
from tests.docs.pages import ROOT, blocks, pages, prose
from tests.docs.rehearsal import rehearse
from tests.docs.test_commands import _SHELL
from tests.k8s.rendered import rendered_with

_TOOL = re.compile(r"^ *(?:kubectl|kustomize|docker) ", re.MULTILINE)
_INLINE = re.compile(r"`((?:kubectl|kustomize|docker) [^`\n]+)`")
_OWN_NAMESPACE = re.compile(r"^namespace: (\S+)$", re.MULTILINE)
COMPONENTS = ("tls", "object-store", "tracing", "json-gateway", "backups")


def snippets(page: Path) -> Iterator[tuple[str, str]]:
    """Where and what: shell blocks with such commands, and commands within sentences."""
    for block in blocks(page):
        if block.language in _SHELL and not block.words and _TOOL.search(block.text):
            yield block.place, block.text
    name = str(page.relative_to(ROOT))
    for at, text in enumerate(_INLINE.findall(prose(page))):
        yield f"{name} (in a sentence, {at + 1})", text


SHOWN = [(place, text) for page in pages() for place, text in snippets(page)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The overlay for production with every component of ours."""
    found = rendered_with(tmp_path_factory.mktemp("rendered"), "production", *COMPONENTS)
    own = [_OWN_NAMESPACE.findall(block.text) for page in pages() for block in blocks(page)]
    return Cluster(
        without_hashes(found), frozenset({"corkboard", *(name for names in own for name in names)})
    )


def faults(text: str, folder: Path, cluster: Cluster) -> list[str]:
    """What is wrong with the calls of a snippet, which know of one another."""
    alone = Cluster(cluster.objects, cluster.namespaces)
    calls = rehearse(text, folder)
    assert calls, "nothing was called"
    return [
        f"{call.name} {' '.join(call.words[:6])}: {fault}"
        for call in calls
        for fault in faults_of(call, alone)
    ]


def test_there_is_something_to_look_at() -> None:
    """A test over no commands would pass; blocks and sentences both."""
    assert len(SHOWN) > 10
    assert {"docs/kubernetes.md", "docs/mesh.md", "docs/backup-and-restore.md"} <= {
        place.partition(":")[0] for place, _ in SHOWN
    }


@pytest.mark.parametrize(("place", "text"), SHOWN, ids=[place for place, _ in SHOWN])
def test_commands_for_a_cluster_name_what_is_there(
    place: str, text: str, cluster: Cluster, tmp_path: Path
) -> None:
    """Paths, workloads, Services, Secrets, claims, options; commands in containers too."""
    found = faults(text, tmp_path, cluster)

    assert found == [], place


WRONG = {
    "overlay": "kubectl apply -k k8s/overlays/prod",
    "folder gone into": "cd k8s/overlays/prod\nkubectl apply -k .",
    "what cannot be rendered": "kubectl apply -k k8s/monitoring",
    "cronjob in a loop": "for job in build-graph build-nothing; do\n"
    "  kubectl -n corkboard create job --from=cronjob/$job first-$job\ndone",
    "job nobody made": "kubectl -n corkboard wait --for=condition=complete job/first-build",
    "pod": "kubectl -n corkboard exec profile-service-1 -- ls",
    "command in a container": "kubectl -n corkboard exec profile-service-0 -- corkboard bakup x",
    "option of it": "kubectl -n corkboard exec profile-service-0 -- corkboard backup --root x y",
    "place in a container": "kubectl -n corkboard cp profile-service-0:/backup .",
    "service": "kubectl -n corkboard port-forward svc/ranker 50053",
    "port": "kubectl -n corkboard port-forward svc/ranking-service 50051",
    "secret": "kubectl -n corkboard create secret generic corkboard-store --from-file=credentials",
    "workload": "kubectl -n corkboard rollout restart deployment/profile-service",
    "namespace": "kubectl -n corkbord get pods",
    "kind": "kubectl -n corkboard get pots",
    "option": "kubectl -n corkboard get pods --witch",
    "file": 'kubectl run import --image=x --overrides="$(cat k8s/pod.json)"',
    "claim": """kubectl run import --image=x --overrides='{"spec": {"volumes": [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}}'""",
    "verb": "kubectl aply -k k8s/overlays/production",
    "image file": "docker build -f k8s/Dockerfile -t corkboard .",
    "argument of the image": "docker build -f k8s/image/Dockerfile --build-arg CPUS=host .",
    "image": "cd k8s/overlays/production\nkustomize edit set image corkbord=example.com/x:1",
    "command of ours": "kubectl -n corkboard get pods\ncorkboard recommened ana",
    "command": "kubctl apply -k k8s/overlays/production",
}


@pytest.mark.parametrize("name", WRONG)
def test_each_mistake_is_found(name: str, cluster: Cluster, tmp_path: Path) -> None:
    """The check is worth its name."""
    try:
        found = faults(WRONG[name], tmp_path, cluster)
    except AssertionError as error:
        found = [str(error)]

    assert found
