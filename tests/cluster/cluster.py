"""A real Kubernetes of one node, in a network namespace that has no way out.

The binaries come from `build_kubernetes.sh`; containerd, runc, etcd, dnsmasq and the CNI plug-ins
from Debian.  Everything that it starts ends with it: processes by their ids, mounts, the namespace.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import yaml

from tests.k8s.manifest_rules import Manifest

SPACE = "corkboard-cluster"
BRIDGE = "cork0"
NODE_ADDRESS = "10.244.0.1"
NAMES_ADDRESS = "10.96.0.10"
NODE = "node1"
_TOKEN = "operator-of-a-test-cluster"  # noqa: S105 - opens nothing but this cluster
PROGRAMS = ("containerd", "etcd", "runc", "dnsmasq", "iptables", "ip", "nsenter", "conntrack")


def missing(binaries: Path) -> list[str]:
    """What a cluster needs and this machine lacks; empty = it can be tried."""
    found = [program for program in PROGRAMS if shutil.which(program) is None]
    found += [name for name in ("kube-apiserver", "kubelet") if not (binaries / name).exists()]
    if os.geteuid() != 0:
        found.append("root")
    if not Path("/usr/lib/cni/bridge").exists():
        found.append("containernetworking-plugins")
    return found


def wait_until(what: str, holds: Callable[[], bool], *, seconds: float = 180.0) -> None:
    """Ask again and again.

    Raises:
        TimeoutError: It never held.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(subprocess.CalledProcessError):
            if holds():
                return
        time.sleep(0.5)
    raise TimeoutError(f"{what}: not within {seconds:g} s")


class Cluster:
    """Start it with `with`; the block begins when the node is ready.

    Args:
        binaries: Folder of kube-apiserver and its siblings.
        folder: For state, logs and volumes; short, sockets are in it.
    """

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self.folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self._config = folder / "kubeconfig"
        self.socket = folder / "containerd.sock"
        self._namespaces_before = _pod_namespaces()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "logs").mkdir(exist_ok=True)
        try:
            self._network()
            self._control_plane()
            self._node()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            kinds = "deployments,statefulsets,jobs,pods"
            self.kubectl("delete", kinds, "--all", "--now", "--timeout=60s")
        for process in reversed(self._started):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)
        for pid in self._shims():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(2.0)
        self._clean()

    def _clean(self) -> None:
        """What outlives its processes: mounts, network namespaces, control groups."""
        mounts = Path("/proc/mounts").read_text().splitlines()
        for place in sorted((line.split()[1] for line in mounts), reverse=True):
            if place.startswith(str(self.folder)):
                subprocess.run(["umount", "-l", place], check=False)
        for name in {SPACE, *_pod_namespaces()} - self._namespaces_before:
            subprocess.run(["ip", "netns", "delete", name], check=False)
        for path in Path("/sys/fs/cgroup").glob("*/kubepods"):
            folders = [one for one in path.rglob("*") if one.is_dir()]
            for below in [*sorted(folders, key=lambda one: -len(one.parts)), path]:
                with contextlib.suppress(OSError):
                    below.rmdir()

    def run(self, *command: str | Path, text: str | None = None) -> str:
        """Run a command inside the cluster's network and return what it printed."""
        told = subprocess.run(
            ["nsenter", f"--net=/run/netns/{SPACE}", "--", *map(str, command)],
            check=False,
            capture_output=True,
            text=True,
            input=text,
        )
        if told.returncode != 0:
            raise subprocess.CalledProcessError(
                told.returncode, command, told.stdout, told.stderr + told.stdout
            )
        return told.stdout

    def kubectl(self, *arguments: str | Path, text: str | None = None) -> str:
        """`kubectl` of the lock, as the operator, in our namespace."""
        return self.run(
            _kubectl(), "--kubeconfig", self._config, "-n", "corkboard", *arguments, text=text
        )

    def apply(self, manifests: list[Manifest]) -> None:
        """Send manifests; the namespace goes first."""
        ordered = sorted(manifests, key=lambda one: one["kind"] != "Namespace")
        self.kubectl("apply", "--validate=false", "-f", "-", text=yaml.safe_dump_all(ordered))

    def get(self, *what: str) -> dict[str, Any]:
        """One object or list, as the server has it."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *what, "-o", "json"))
        return found

    def load_image(self, archive: Path) -> None:
        """Make an image of an archive known to the node."""
        self.run("ctr", "-a", self.socket, "-n", "k8s.io", "images", "import", archive)

    def pid_of(self, pod: str) -> int:
        """The process id, on this machine, of the first process of a pod's first container."""
        status = self.get("pod", pod)["status"]["containerStatuses"][0]
        container = status["containerID"].removeprefix("containerd://")
        tasks = self.run("ctr", "-a", self.socket, "-n", "k8s.io", "tasks", "list")
        for line in tasks.splitlines():
            if line.startswith(container):
                return int(line.split()[1])
        raise LookupError(f"{pod}: no running container {container}")

    def log(self, name: str) -> Path:
        """Where a part's output goes."""
        return self.folder / "logs" / f"{name}.log"

    def _start(self, name: str, *command: str | Path) -> None:
        process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{SPACE}", "--", *map(str, command)],
            stdout=self.log(name).open("wb"),
            stderr=subprocess.STDOUT,
            cwd=self.folder,
        )
        self._started.append(process)

    def _network(self) -> None:
        subprocess.run(["ip", "netns", "add", SPACE], check=True)
        for line in (
            "link set lo up",
            f"link add {BRIDGE} type bridge",
            f"addr add {NODE_ADDRESS}/24 dev {BRIDGE}",
            f"addr add {NAMES_ADDRESS}/32 dev lo",
            f"link set {BRIDGE} up",
            f"route add 10.96.0.0/24 dev {BRIDGE}",
        ):
            subprocess.run(["ip", "-n", SPACE, *line.split()], check=True)
        self.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        with contextlib.suppress(subprocess.CalledProcessError):  # a kernel without the setting
            self.run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1")

    def _control_plane(self) -> None:
        key = self.folder / "sa.key"
        subprocess.run(
            ["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True
        )
        (self.folder / "tokens.csv").write_text(f"{_TOKEN},operator,1,system:masters\n")
        self._config.write_text(yaml.safe_dump(_kubeconfig()))
        etcd = "http://127.0.0.1:2379"
        self._start(
            "etcd",
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            "--unsafe-no-fsync",
        )
        self._start("kube-apiserver", self._binaries / "kube-apiserver", *_api_server(etcd, key))
        wait_until("the API server", lambda: self.kubectl("get", "--raw", "/readyz") == "ok")
        for part in ("kube-controller-manager", "kube-scheduler"):
            more = [f"--service-account-private-key-file={key}"] if "manager" in part else []
            self._start(
                part,
                self._binaries / part,
                f"--kubeconfig={self._config}",
                "--bind-address=127.0.0.1",
                "--leader-elect=false",
                *more,
            )

    def _node(self) -> None:
        (self.folder / "containerd.toml").write_text(_containerd(self.folder, self.socket))
        networks = self.folder / "networks"
        networks.mkdir(exist_ok=True)
        (networks / "10-bridge.conflist").write_text(json.dumps(_NETWORK))
        self._start("containerd", "containerd", "--config", self.folder / "containerd.toml")
        wait_until("containerd", self.socket.exists)
        (self.folder / "kubelet.yaml").write_text(yaml.safe_dump(_KUBELET))
        self._start(
            "kubelet",
            self._binaries / "kubelet",
            f"--config={self.folder / 'kubelet.yaml'}",
            f"--kubeconfig={self._config}",
            "--container-runtime=remote",
            f"--container-runtime-endpoint=unix://{self.socket}",
            f"--root-dir={self.folder / 'kubelet'}",
            f"--cert-dir={self.folder / 'kubelet-certs'}",
            f"--node-ip={NODE_ADDRESS}",
            f"--hostname-override={NODE}",
            "--network-plugin=cni",
        )
        proxy = self.folder / "kube-proxy.yaml"
        proxy.write_text(yaml.safe_dump(_proxy(self._config)))
        self._start("kube-proxy", self._binaries / "kube-proxy", f"--config={proxy}")
        self._start(
            "names",
            sys.executable,
            Path(__file__).with_name("names.py"),
            _kubectl(),
            self._config,
            self.folder,
            NAMES_ADDRESS,
        )
        wait_until("the node", self._is_ready)

    def _is_ready(self) -> bool:
        conditions = self.get("node", NODE)["status"]["conditions"]
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def _shims(self) -> list[int]:
        """Processes that containerd leaves behind on purpose, so that it can be restarted."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                told = path.read_bytes()
                if b"containerd-shim" in told and str(self.socket).encode() in told:
                    found.append(int(path.parent.name))
        return found


def _pod_namespaces() -> set[str]:
    """Network namespaces that CNI plug-ins made."""
    return {path.name for path in Path("/run/netns").glob("cni-*")}


def _kubectl() -> Path:
    return Path(sys.executable).with_name("kubectl")


def _kubeconfig() -> dict[str, Any]:
    server = {"server": "https://127.0.0.1:6443", "insecure-skip-tls-verify": True}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": server}],
        "users": [{"name": "operator", "user": {"token": _TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "operator"}}],
    }


def _api_server(etcd: str, key: Path) -> list[str]:
    return [
        f"--etcd-servers={etcd}",
        "--bind-address=127.0.0.1",
        f"--advertise-address={NODE_ADDRESS}",
        "--secure-port=6443",
        f"--cert-dir={key.parent / 'certs'}",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.96.0.0/24",
        f"--token-auth-file={key.parent / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",
    ]


def _containerd(folder: Path, socket: Path) -> str:
    return f"""version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/networks"
"""


_NETWORK: dict[str, Any] = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": False,
            "ipMasq": False,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.244.0.0/24", "rangeStart": "10.244.0.10"}]],
                "routes": [{"dst": "0.0.0.0/0", "gw": NODE_ADDRESS}],
            },
        }
    ],
}

_KUBELET: dict[str, Any] = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "cgroupDriver": "cgroupfs",
    "oomScoreAdj": 0,
    "enforceNodeAllocatable": [],
    "address": NODE_ADDRESS,
    "failSwapOn": False,
    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
    "clusterDNS": [NAMES_ADDRESS],
    "clusterDomain": "cluster.local",
    "resolvConf": "/dev/null",
    # The machine's disk may well be nearly full of other things.
    "imageGCHighThresholdPercent": 100,
    "evictionHard": {"memory.available": "100Mi"},
}


def _proxy(config: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(config)},
        "hostnameOverride": NODE,
        "conntrack": {"maxPerCore": 0, "min": None},
    }
