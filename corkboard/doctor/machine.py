"""Looks at the machine: disk, memory, limits of processes, versions."""

import os
import platform
import resource
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from corkboard.doctor.finding import Finding, Level, graded
from service_runtime.config import core_count

AREA: Final = "machine"
OPEN_FILES_MIN: Final = 1024
"""Soft limit below which a service under load runs out: sockets, mapped files. Guess."""
FREE_BYTES_MIN: Final = 1_000_000_000
FREE_SHARE_MIN: Final = 0.05
"""Of space and of inodes; below it file systems slow down and nightly jobs fail. Guess."""
NETWORK_FILE_SYSTEMS: Final = ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "fuse.")
LIBRARIES: Final = ("corkboard", "grpcio", "protobuf", "numpy", "numba", "lmdb", "pyarrow")


def look_at_machine(data_root: Path) -> Iterator[Finding]:
    """Everything about this machine that the services and jobs on *data_root* depend on."""
    place = _nearest_existing(data_root)
    yield _versions()
    yield _cores()
    yield _open_files()
    yield _address_space()
    yield from _disk(place, _current_bytes(data_root))
    yield _memory(_current_bytes(data_root))
    yield _file_system(place)


def _versions() -> Finding:
    found = {name: _version(name) for name in LIBRARIES}
    told = ", ".join(f"{name} {at or 'missing'}" for name, at in found.items())
    return graded(
        AREA,
        "versions",
        f"Python {platform.python_version()}, {told}",
        problem=not all(found.values()),
        remedy="install Corkboard with all it depends on: make setup, or pip install corkboard",
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _cores() -> Finding:
    all_cores, usable = os.cpu_count() or 1, core_count()
    return Finding(AREA, "cores", Level.OK, f"{usable} of {all_cores} cores may be used")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return graded(
        AREA,
        "open files",
        f"a process may open {_limit(soft)} files (at most {_limit(hard)})",
        warning=soft != resource.RLIM_INFINITY and soft < OPEN_FILES_MIN,
        remedy=f"ulimit -n {OPEN_FILES_MIN * 16}, or LimitNOFILE= of the unit that starts them",
    )


def _address_space() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return graded(
        AREA,
        "address space",
        f"a process may map {_limit(soft, gigabytes=True)}",
        problem=soft != resource.RLIM_INFINITY,
        remedy="ulimit -v unlimited: files are mapped, the live log in all its possible size",
    )


def _disk(place: Path, current_bytes: int) -> Iterator[Finding]:
    space = shutil.disk_usage(place)
    needed = max(FREE_BYTES_MIN, current_bytes)
    yield graded(
        AREA,
        "disk",
        f"{space.free / 1e9:.1f} of {space.total / 1e9:.1f} GB are free; a night needs about "
        f"{current_bytes / 1e9:.1f} GB for new generations beside the old",
        problem=space.free < current_bytes or space.free < FREE_BYTES_MIN / 10,
        warning=space.free < needed or space.free < FREE_SHARE_MIN * space.total,
        remedy=f"make room on the file system of {place}, or give it a larger one",
    )
    nodes = os.statvfs(place)
    yield graded(
        AREA,
        "inodes",
        f"{nodes.f_favail:,} of {nodes.f_files:,} are free" if nodes.f_files else "not counted",
        warning=bool(nodes.f_files) and nodes.f_favail < FREE_SHARE_MIN * nodes.f_files,
        remedy=f"remove small files from the file system of {place}",
    )


def _memory(current_bytes: int) -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = min(total, _container_bytes() or total)
    return graded(
        AREA,
        "memory",
        f"{limit / 1e9:.1f} GB, and the current generations have {current_bytes / 1e9:.1f} GB",
        warning=current_bytes > 0.8 * limit,
        remedy="give it more memory: generations are mapped; what does not fit is read from disk",
    )


def _container_bytes() -> int:
    """The memory limit of this container; 0 = none."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return int(Path(path).read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return 0


def _file_system(place: Path) -> Finding:
    """The live action log is an LMDB, which needs mmap and locks as only local disks have them."""
    at, kind = _mount_of(place)
    return graded(
        AREA,
        "file system",
        f"{place} lies on {kind or 'an unknown file system'} ({at})",
        warning=kind.startswith(NETWORK_FILE_SYSTEMS),
        remedy="keep profile_service's live log (live/profile) on a local disk; the rest may stay",
    )


def _mount_of(place: Path) -> tuple[str, str]:
    """Mount point and kind of the file system of a path."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "/", ""
    resolved = place.resolve()
    holding = [(at, kind) for _, at, kind, *_ in mounts if resolved.is_relative_to(at)]
    return max(holding, key=lambda mount: len(mount[0]), default=("/", ""))


def _current_bytes(data_root: Path) -> int:
    """Size of all current generations on disk, whatever state they are in."""
    total = 0
    for pointer in (data_root / "generations").glob("*/CURRENT"):
        try:
            folder = pointer.parent / pointer.read_text().strip()
            total += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        except OSError:
            continue  # it was pruned just now
    return total


def _nearest_existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _limit(value: int, *, gigabytes: bool = False) -> str:
    if value == resource.RLIM_INFINITY:
        return "any number of" if not gigabytes else "any amount"
    return f"{value / 1e9:.1f} GB" if gigabytes else f"{value:,}"
