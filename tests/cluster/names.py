"""Names in the cluster: a small server fed with the ready addresses of every Service.

It stands in for CoreDNS, which nobody packages.  Started inside the cluster's network namespace:

    python names.py KUBECTL KUBECONFIG FOLDER ADDRESS
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

DOMAIN = "cluster.local"


def hosts(endpoints: list[dict[str, Any]], services: list[dict[str, Any]]) -> str:
    """A hosts file: headless names lead to all ready pods, others to their cluster address."""
    lines = []
    fixed = {
        (one["metadata"]["namespace"], one["metadata"]["name"]): one["spec"].get("clusterIP")
        for one in services
    }
    for one in endpoints:
        space, name = one["metadata"]["namespace"], one["metadata"]["name"]
        full = f"{name}.{space}.svc.{DOMAIN}"
        cluster_ip = fixed.get((space, name))
        if cluster_ip and cluster_ip != "None":
            lines.append(f"{cluster_ip} {full}")
            continue
        for subset in one.get("subsets", []):
            for address in subset.get("addresses", []):
                lines.append(f"{address['ip']} {full}")
                if "hostname" in address:
                    lines.append(f"{address['ip']} {address['hostname']}.{full}")
    return "".join(f"{line}\n" for line in sorted(lines))


def _get(kubectl: str, config: str, kinds: str) -> list[dict[str, Any]]:
    told = subprocess.run(
        [kubectl, "--kubeconfig", config, "get", kinds, "-A", "-o", "json"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    items: list[dict[str, Any]] = json.loads(told)["items"]
    return items


def main(kubectl: str, config: str, folder: str, address: str) -> None:
    """Serve names until the process is ended; a change is known within a second."""
    path = Path(folder) / "hosts"
    path.write_text("")
    command = ["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts"]
    command += ["--conf-file=/dev/null", "--bind-interfaces", f"--listen-address={address}"]
    command += [f"--addn-hosts={path}", f"--local=/{DOMAIN}/", "--local-ttl=1"]
    command += ["--user=root", "--pid-file="]
    with subprocess.Popen(command) as server:
        try:
            while server.poll() is None:
                told = hosts(_get(kubectl, config, "endpoints"), _get(kubectl, config, "services"))
                if told != path.read_text():
                    path.write_text(told)
                    server.send_signal(1)  # SIGHUP: read it again
                time.sleep(0.3)
        finally:
            server.terminate()


if __name__ == "__main__":
    main(*sys.argv[1:5])
