"""Steady calls from inside the cluster, as a client of ours makes them; runs in a pod of its own.

Each worker calls RecommendPins through the headless name, looks pins up and records clicks.  Every
line of output is a JSON object: one a second with the counts so far, so that whoever reads the log
knows what failed during a rollout.
"""

import json
import sys
import threading
import time
from collections import Counter

from corkboard import Client
from service_runtime.errors import CorkboardError

USERS = sys.argv[1].split(",")
PINS = sys.argv[2].split(",")
CALLS_A_SECOND = float(sys.argv[3])
WORKERS = 2
DEADLINE_S = 20.0
"""Whether every call is answered is asked here, not how fast: the machine has other work."""


def _work(number: int, counts: Counter[str], failures: list[str]) -> None:
    with Client(
        ranking="dns:///ranking-service.corkboard:50053",
        candidate="dns:///candidate-service.corkboard:50052",
        profile="dns:///profile-service.corkboard:50051",
        deadline_s=DEADLINE_S,
    ) as client:
        for turn in range(10**9):
            started = time.monotonic()
            user = USERS[(turn + number) % len(USERS)]
            try:
                if turn % 5 == 4:
                    action_id = f"load-{number}-{turn}"
                    kind = "record"
                    client.record(user, PINS[turn % len(PINS)], "click", action_id=action_id)
                elif turn % 5 == 3:
                    kind = "pins"
                    client.pins(PINS[:5])
                else:
                    kind = "recommend"
                    answer = client.recommend(user, limit=10, with_titles=False)
                    for part in {one.part for one in answer.degradations}:
                        counts[f"without {part}"] += 1
                    counts["empty"] += not answer.pins
                counts[kind] += 1
            except CorkboardError as error:
                counts[f"{kind} failed"] += 1
                failures.append(f"{kind}: {type(error).__name__}: {error}"[:300])
            time.sleep(max(0.0, WORKERS / CALLS_A_SECOND - (time.monotonic() - started)))


def main() -> None:
    """Start the workers and tell once a second."""
    counts: Counter[str] = Counter()
    failures: list[str] = []
    for number in range(WORKERS):
        threading.Thread(target=_work, args=(number, counts, failures), daemon=True).start()
    while True:
        time.sleep(1.0)
        sys.stdout.write(json.dumps({**counts, "failures": failures[-5:]}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
