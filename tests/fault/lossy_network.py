"""
A stack on a network that loses packets, in a network namespace of its own.

`unshare --net python -m tests.fault.lossy_network ROOT SHARE CALLS` makes the namespace's loopback
lose that share of all packets, asks for recommendations, and prints what
came back as one JSON line.  Needs root and iptables.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from service_runtime.errors import CorkboardError
from tests.fault.stacks import patient
from tests.integration.world import make_stack

DEADLINE_S = 20.0


def lose(share: float) -> None:
    """Drop this share of all packets from now on."""
    rule = f"-A INPUT -i lo -p tcp -m statistic --mode random --probability {share} -j DROP"
    subprocess.run(["iptables", *rule.split()], check=True)


def main() -> None:
    """Ask again and again, and print how it went."""
    root, share, calls = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    errors: list[str] = []
    seconds: list[float] = []
    pins: list[int] = []
    with make_stack(root, settings=patient()) as stack, stack.client() as client:
        lose(share)
        for _ in range(calls):
            begin = time.monotonic()
            try:
                pins.append(len(client.recommend("ana", limit=10, deadline_s=DEADLINE_S).pins))
            except CorkboardError as fault:
                errors.append(str(fault))
            seconds.append(time.monotonic() - begin)
        listed = subprocess.run(
            ["iptables", "-nvxL", "INPUT"], capture_output=True, text=True, check=True
        )
    lost = sum(int(line.split()[0]) for line in listed.stdout.splitlines() if "DROP" in line)
    told = {"errors": errors, "pins": pins, "seconds": seconds, "lost": lost}
    print(json.dumps(told))  # noqa: T201  what this is run for


if __name__ == "__main__":
    main()
