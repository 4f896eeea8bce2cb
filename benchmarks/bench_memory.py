"""Memory of each service per million pins, edges and users: from files and from running processes.

Artifacts are memory-mapped, so what a service needs is its own memory (heap) plus as much of the
mapped files as its traffic touches; the page cache shares the files between processes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench_recommend import describe, prepare, quiet, requests, resident_mib, sequential_ms
from synthetic_world import WORLDS

from corkboard.stack import SERVICES, Stack
from service_runtime.generations import GenerationStore

_ALL, _CANDIDATE = SERVICES, ("candidate_service",)
OPENED_BY = {
    "board_cooccurrence": _CANDIDATE,
    "vector_index": _CANDIDATE,
    "pin_vectors": _ALL,
    "pin2vec": _CANDIDATE,
    "catalogue": _ALL,
    "graph": ("candidate_service", "ranking_service"),
    "pin_statistics": ("ranking_service",),
    "save_index": _CANDIDATE,
    "text_index": _CANDIDATE,
    "duplicates": _CANDIDATE,
    "popular": _CANDIDATE,
    "fresh": _CANDIDATE,
    "audience": ("ranking_service",),
    "memboost": ("ranking_service",),
    "profiles": ("profile_service",),
}
PER = {"graph": "edges", "save_index": "edges", "profiles": "users"}


def artifact_rows(name: str, root: Path) -> list[str]:
    """Bytes on disk of each artifact, and what it grows with."""
    store = GenerationStore(root / "generations")
    sizes = describe(name)
    rows = []
    for artifact, services in OPENED_BY.items():
        generation = store.current(artifact)
        if generation is None:  # there was nothing to build it from
            continue
        size = sum(entry.bytes for entry in generation.manifest.files.values())
        unit = PER.get(artifact, "pins")
        per_million = size / sizes[unit]  # bytes a thing = MB a million things
        readers = ", ".join(service.removesuffix("_service") for service in services)
        rows.append(
            f"| {name} | {artifact} | {readers} | {size / 1e6:.0f} MB | "
            f"{per_million:.0f} MB per million {unit} |"
        )
    return rows


def process_rows(name: str, root: Path) -> list[str]:
    """Resident memory of each service after some hundred calls."""
    asked = requests(root)
    with Stack(data_root=root, settings=quiet()) as stack:
        sequential_ms(stack.targets["ranking_service"], asked)
        memory = {s: resident_mib(stack.children[s].process.pid) for s in SERVICES}
    return [
        f"| {name} | {service} | {own:.0f} MiB | {mapped:.0f} MiB |"
        for service, (own, mapped) in memory.items()
    ]


def main() -> None:
    """Measure the worlds that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the tiny world only")
    parser.add_argument("--world", action="append", choices=list(WORLDS))
    options = parser.parse_args()
    names: Sequence[str] = ["tiny"] if options.quick else options.world or ["small", "million"]
    roots = {name: prepare(name) for name in names}
    files = [row for name, root in roots.items() for row in artifact_rows(name, root)]
    running = [row for name, root in roots.items() for row in process_rows(name, root)]
    worlds = "; ".join(f"`{name}`: {describe(name)}" for name in names)
    print("\n".join(["## Memory", "", f"Worlds: {worlds}.", ""]))
    print("| world | artifact | mapped by | size | grows by |\n|---|---|---|---|---|")
    print("\n".join(files))
    print("\n| world | service after 400 calls | own | mapped files, touched |\n|---|---|---|---|")
    print("\n".join(running))


if __name__ == "__main__":
    main()
