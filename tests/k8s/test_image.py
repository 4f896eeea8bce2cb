"""The image, built and run as the manifests say: their user, limits, hardening, settings.

Building takes minutes and a network, so all but the lint runs only when asked:

    CORKBOARD_IMAGE=build pytest tests/k8s/test_image.py --timeout 3600
    CORKBOARD_IMAGE=localhost/corkboard:0.1.0 pytest tests/k8s/test_image.py --timeout 3600

`build` takes more options for `podman build` from CORKBOARD_IMAGE_OPTIONS, for example
`--build-arg PYTHON_IMAGE=...`.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from corkboard import Client
from corkboard.answers import Recommendations
from corkboard.health import SERVING, check_health
from datasets.tiny import load
from tests.k8s.manifest_rules import Manifest
from tests.k8s.podman import arguments_of, missing, podman, run_arguments, state
from tests.k8s.rendered import ROOT, manifests

IMAGE = os.environ.get("CORKBOARD_IMAGE", "")
IMAGE_BYTES_MAX = 1_000_000_000
"""Measured .93 GB: numba's compiler, Arrow, SciPy, DuckDB and Python are two thirds of it."""
PORTS = {"profile-service": 50051, "candidate-service": 50052, "ranking-service": 50053}
_UNMET = missing() if IMAGE else "CORKBOARD_IMAGE names no image"
needs_image = pytest.mark.skipif(bool(_UNMET), reason=f"containers cannot be tried: {_UNMET}")


def test_dockerfile_lints() -> None:
    """Hadolint has nothing to say."""
    linter = Path(sys.executable).with_name("hadolint")
    path = ROOT / "k8s" / "image" / "Dockerfile"
    told = subprocess.run([linter, "--no-color", path], check=False, capture_output=True, text=True)

    assert told.stdout + told.stderr == ""


@pytest.fixture(scope="module")
def image() -> str:
    """The image that was named, or one built from this tree."""
    if IMAGE != "build":
        return IMAGE
    options = shlex.split(os.environ.get("CORKBOARD_IMAGE_OPTIONS", ""))
    dockerfile = ROOT / "k8s" / "image" / "Dockerfile"
    podman("build", *options, "-f", dockerfile, "-t", "localhost/corkboard:test", ROOT)
    return "localhost/corkboard:test"


@dataclass(frozen=True)
class World:
    """Manifests, an image, a network, and a shared volume with built data."""

    image: str
    mark: str
    found: list[Manifest]
    data: Path

    def workload(self, name: str) -> Manifest:
        """The Deployment, StatefulSet or CronJob of that name."""
        kinds = {"Deployment", "StatefulSet", "CronJob"}
        return next(
            one for one in self.found if one["kind"] in kinds and one["metadata"]["name"] == name
        )

    def options(self, name: str) -> list[str]:
        """What starts it as its manifest says."""
        settings = next(one["data"] for one in self.found if one["kind"] == "ConfigMap")
        volumes = {"data": self.data, "live": self.data / "live" / "profile"}
        return run_arguments(self.workload(name), settings, volumes, name=f"{name}-0")

    def start(self, name: str, *more: str) -> str:
        """Start a service under its Service's name; returns the container's name."""
        container = f"{name}-{self.mark}"
        network = [f"--network={self.mark}", f"--network-alias={name}.corkboard"]
        options = [*self.options(name), *network, *more]
        podman("run", "-d", f"--name={container}", *options, self.image, *self.arguments(name))
        return container

    def arguments(self, name: str) -> list[str]:
        """Of its container."""
        return arguments_of(self.workload(name))


@pytest.fixture(scope="module")
def world(image: str) -> Iterator[World]:
    """Data imported and built in containers, under the hardening of the jobs."""
    data = Path(tempfile.mkdtemp(prefix="corkboard-image"))
    made = World(image, f"cork{uuid.uuid4().hex[:8]}", manifests("single-node"), data)
    load().write(data / "incoming")
    (data / "live" / "profile").mkdir(parents=True)
    subprocess.run(["chown", "-R", "10001:10001", data], check=True)
    podman("network", "create", made.mark)
    try:
        job = made.options("build-catalogue")
        podman("run", "--rm", *job, image, "corkboard", "import", "/data/incoming")
        podman("run", "--rm", *job, image, "corkboard", "build", "--no-train")
        yield made
    finally:
        for container in podman("ps", "-aq", f"--filter=name={made.mark}").split():
            podman("rm", "-f", "-t", "1", container, check=False)
        podman("network", "rm", "-f", made.mark, check=False)
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(scope="module")
def addresses(world: World) -> dict[str, str]:
    """The three services, each SERVING; their addresses by name."""
    found = {}
    for name, port in PORTS.items():
        networks = state(world.start(name))["NetworkSettings"]["Networks"]
        found[name] = f"{networks[world.mark]['IPAddress']}:{port}"
    deadline = time.monotonic() + 300
    for name, target in found.items():
        while check_health(target) != SERVING:
            assert time.monotonic() < deadline, podman("logs", f"{name}-{world.mark}")
            time.sleep(0.2)
    return found


@needs_image
def test_services_answer_together(addresses: dict[str, str]) -> None:
    """An action is recorded and the home feed answers, nothing degraded but what was not built."""
    with Client(
        profile=addresses["profile-service"],
        candidate=addresses["candidate-service"],
        ranking=addresses["ranking-service"],
        deadline_s=30,
    ) as client:
        pin = load().pins[0].pin_id
        assert client.record("ana", pin, "save").action_id
        answer = client.recommend("ana", limit=10)
        deadline = time.monotonic() + 120
        while _is_hasty(answer) and time.monotonic() < deadline:
            answer = client.recommend("ana", limit=10)

    assert len(answer.pins) == 10
    assert {one.part for one in answer.degradations} <= {"source:visual"}


def _is_hasty(answer: Recommendations) -> bool:
    """Whether somebody was too late for it, as happens on a machine with other work."""
    return any(one.part != "source:visual" for one in answer.degradations)


_LOOK = """
import os
told = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
try:
    open("/opt/corkboard/x", "w")
    writable = "writable"
except OSError as error:
    writable = error.strerror
print(os.getuid(), told["CapEff"].strip(), told["CapBnd"].strip(), told["NoNewPrivs"].strip(),
      told["Seccomp"].strip(), writable, sep=";")
"""


@needs_image
@pytest.mark.parametrize("name", PORTS)
def test_hardening_has_its_effect(world: World, addresses: dict[str, str], name: str) -> None:
    """Seen from inside: our user, no capability, no way to gain one, a root that is read-only."""
    assert addresses
    container = f"{name}-{world.mark}"
    told = podman("exec", container, "python", "-c", _LOOK).strip()

    none = "0" * 16
    assert told == f"10001;{none};{none};1;2;Read-only file system"


@needs_image
def test_image_is_small_and_carries_no_installer(image: str) -> None:
    """No pip, no compiler, no package lists; within its size."""
    size = int(podman("image", "inspect", "--format={{.Size}}", image))
    tools = "import shutil; print([t for t in ('pip', 'cc', 'strip') if shutil.which(t)])"

    assert size < IMAGE_BYTES_MAX
    assert podman("run", "--rm", "--entrypoint=python", image, "-c", tools).strip() == "[]"


@needs_image
def test_kernels_are_compiled_already(image: str) -> None:
    """All jobs, services and questions of the small demo, able to write: no kernel is added."""
    container = f"kernels-{uuid.uuid4().hex[:8]}"
    demo = ("corkboard", "demo", "--tiny", "--data-root", "/tmp/demo", "--cache", "/tmp/cache")  # noqa: S108
    try:
        podman("run", "--user=0", f"--name={container}", image, *demo)
        changed = podman("diff", container).splitlines()
    finally:
        podman("rm", "-f", container, check=False)

    assert changed
    assert [line for line in changed if "/opt/corkboard/kernels" in line] == []


@needs_image
def test_sigterm_while_importing_is_heard(world: World) -> None:
    """As the first process of a container, at once after its start: ended by it, not by SIGKILL."""
    container = f"early-{world.mark}"
    options = world.options("ranking-service")
    service = world.arguments("ranking-service")
    podman("run", "-d", f"--name={container}", *options, world.image, *service)
    podman("stop", "-t", "120", container)

    assert podman("logs", container) == ""  # nothing was logged yet: it was importing
    assert state(container)["State"]["ExitCode"] == 128 + 15


@needs_image
@pytest.mark.parametrize("name", PORTS)
def test_sigterm_while_serving_drains(world: World, addresses: dict[str, str], name: str) -> None:
    """Kubernetes' way to end a pod; last, as it ends the services of the tests above."""
    assert addresses
    container = f"{name}-{world.mark}"
    podman("stop", "-t", "40", container)

    assert state(container)["State"]["ExitCode"] == 0
    assert "server.stopped" in podman("logs", container)
