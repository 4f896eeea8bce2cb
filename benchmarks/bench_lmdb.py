"""
The live log's group commit against one durable transaction an action, and reading a profile.

    python benchmarks/bench_lmdb.py [--quick]

Group commit is measured with 4 ms added to every commit, which stands in for a disk that really
syncs, and without. Each writer records one action a call and waits until it is durable.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import lmdb
import numpy as np

from profile_service import codec
from profile_service.actions import Action, ActionType
from profile_service.generation_store import ProfileStore
from profile_service.profile import Clusters
from profile_service.store import ActionLog

INJECTED_SECONDS = 0.004


def make_action(name: str) -> Action:
    """An action of about 120 bytes."""
    return Action(
        f"action-{name}", f"user-{name}", "pin-0123456789", ActionType.SAVE, 1_700_000_000
    )


def direct_rate(folder: Path, delay: float, seconds: float) -> float:
    """Actions a second when each has its own transaction: the same rows, one writer."""
    environment = lmdb.open(str(folder), map_size=1 << 30, max_dbs=3)
    log, rows, seen = (environment.open_db(name) for name in (b"log", b"actions", b"seen"))
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        action = make_action(f"{count}")
        key, user = count.to_bytes(8), action.user_id.encode()
        with environment.begin(write=True) as transaction:
            transaction.put(action.action_id.encode(), key, db=seen)
            transaction.put(key, user, db=log)
            transaction.put(user + b"\0" + key, codec.encode_action(action), db=rows)
        if delay:
            time.sleep(delay)
        count += 1
    rate = count / (time.perf_counter() - begin)
    environment.close()
    return rate


def grouped_rate(
    folder: Path, writers: int, delay: float, seconds: float
) -> tuple[float, float, float]:
    """Acknowledged actions a second, actions a commit, and the p99 of a call in milliseconds."""
    log = ActionLog(folder, map_bytes=1 << 30, sync_delay_s=delay)
    end = time.perf_counter() + seconds
    waits: list[list[float]] = [[] for _ in range(writers)]

    def write(writer: int) -> None:
        call = 0
        while (start := time.perf_counter()) < end:
            log.append([make_action(f"{writer}-{call}")])
            waits[writer].append(time.perf_counter() - start)
            call += 1

    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken, commits = time.perf_counter() - begin, log.commit_count
    log.close()
    spent = np.concatenate(waits)
    return len(spent) / taken, len(spent) / max(1, commits), float(np.percentile(spent, 99) * 1e3)


def measure_writes(folder: Path, *, quick: bool) -> None:
    """Group commit against one transaction an action."""
    print("| added to a commit | writers | one by one /s | group /s | ratio | a commit | p99 ms |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    rounds, seconds = (1, 0.2) if quick else (5, 0.6)
    for delay in (INJECTED_SECONDS, 0.0):
        for writers in (4, 16) if quick else (1, 16, 64, 256):
            found = []
            for turn in range(rounds):
                name = f"{delay}-{writers}-{turn}"
                alone = direct_rate(folder / f"direct-{name}", delay, seconds / 2)
                found.append(
                    (alone, *grouped_rate(folder / f"group-{name}", writers, delay, seconds))
                )
            alone, rate, batch, p99 = np.median(np.array(found), axis=0)
            print(
                f"| {delay * 1e3:g} ms | {writers} | {alone:.0f} | {rate:.0f} | {rate / alone:.1f} "
                f"| {batch:.1f} | {p99:.1f} |"
            )


def measure_reads(folder: Path, *, quick: bool) -> None:
    """A profile's get and decode against a raw get of the same bytes."""
    count, rounds = (200, 3) if quick else (5000, 9)
    rng = np.random.default_rng(3)
    records = []
    for user in range(count):
        size = 100
        clusters = Clusters(
            [f"pin-{rng.integers(1 << 40)}" for _ in range(size)],
            rng.random(size),
            rng.integers(1, 50, size),
            rng.integers(1 << 50, size=size),
        )
        records.append((f"user-{user:08d}", codec.encode_clusters(clusters), b"history"))
    path = folder / "profiles.lmdb"
    ProfileStore.write(path, iter(records), map_bytes=1 << 30)
    names = [f"user-{user:08d}" for user in rng.permutation(count)]
    raw, decoded = [], []
    for _ in range(rounds):
        environment = lmdb.open(str(path), subdir=False, readonly=True, lock=False, max_dbs=2)
        profiles = environment.open_db(b"profiles", create=False)
        begin = time.process_time()
        for name in names:
            with environment.begin(db=profiles) as transaction:
                transaction.get(name.encode())
        raw.append((time.process_time() - begin) / count * 1e6)
        environment.close()
        store = ProfileStore(path)
        begin = time.process_time()
        for name in names:
            store.clusters_of(name)
        decoded.append((time.process_time() - begin) / count * 1e6)
        store.close()
    a, b = float(np.median(raw)), float(np.median(decoded))
    print()
    print("| profile record | raw get us | get and decode us | ratio |")
    print("| --- | --- | --- | --- |")
    print(f"| {len(records[0][1])} bytes, 100 clusters | {a:.2f} | {b:.2f} | {b / a:.1f} |")


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    quick = parser.parse_args().quick
    print("## Live action log and profile store (LMDB)")
    print()
    with tempfile.TemporaryDirectory() as name:
        measure_writes(Path(name), quick=quick)
        measure_reads(Path(name), quick=quick)


if __name__ == "__main__":
    main()
