"""A damaged generation is refused at start and at swap, and the old one goes on serving."""

import time
from pathlib import Path

import pytest

from corkboard.client import Client
from service_runtime.errors import NotReady
from tests.integration.world import build, copy_of_root, make_stack

SWAP_SECONDS_MAX = 20.0


def damage(root: Path, artifact: str) -> str:
    """Flip a byte in the largest file of an artifact's current generation; return its id."""
    folder = root / "generations" / artifact
    current = (folder / "CURRENT").read_text().strip()
    files = [path for path in (folder / current).rglob("*") if path.is_file()]
    victim = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0xFF
    victim.write_bytes(bytes(content))
    return current


def generation_of(client: Client, artifact: str) -> str:
    """The generation of an artifact that answers are made from."""
    return client.recommend("ana", seed=1).generations.get(artifact, "")


@pytest.mark.parametrize("artifact", ["profiles", "catalogue"])
def test_damaged_newest_generation_is_passed_over_at_start(tmp_path: Path, artifact: str) -> None:
    """The one before it serves."""
    root = copy_of_root(tmp_path)
    good = (root / "generations" / artifact / "CURRENT").read_text().strip()
    build(root, artifact)
    bad = damage(root, artifact)

    with make_stack(root) as stack, stack.client() as client:
        answer = client.recommend("ana", limit=10)
        said = [line for name in stack.children for line in stack.last_lines(name)]

    assert bad != good
    assert answer.pins
    assert answer.generations[artifact] == good
    assert any("generation.refused" in line and bad in line for line in said)


def test_without_any_good_catalogue_nothing_is_answered_and_the_remedy_is_said(
    tmp_path: Path,
) -> None:
    """The damaged one is never served; what cannot be answered says what to do."""
    root = copy_of_root(tmp_path)
    bad = damage(root, "catalogue")

    with make_stack(root) as stack, stack.client() as client:
        for ask in (lambda: client.recommend("ana"), lambda: client.pins(["cooking-1"])):
            with pytest.raises(NotReady, match="corkboard build"):
                ask()
        said = [line for name in stack.children for line in stack.last_lines(name)]

    assert any("generation.refused" in line and bad in line for line in said)


def test_damaged_generation_published_while_serving_is_refused_and_the_old_one_serves(
    tmp_path: Path,
) -> None:
    """CURRENT names a broken one; answers go on from the old one; a good one is taken over."""
    root = copy_of_root(tmp_path)
    with make_stack(root) as stack, stack.client() as client:
        before = generation_of(client, "profiles")
        build_damaged(root)
        wait_for_line(stack, "generation.refused")
        during = generation_of(client, "profiles")
        answer = client.recommend("ana", limit=10)
        build(root, "profiles")
        newest = (root / "generations" / "profiles" / "CURRENT").read_text().strip()
        deadline = time.monotonic() + SWAP_SECONDS_MAX
        while generation_of(client, "profiles") != newest and time.monotonic() < deadline:
            time.sleep(0.1)
        after = generation_of(client, "profiles")

    assert during == before
    assert not answer.is_cold_start
    assert after == newest != before


def build_damaged(root: Path) -> None:
    """Publish a generation of profiles that is broken from the moment it is current."""
    import shutil

    folder = root / "generations" / "profiles"
    current = (folder / "CURRENT").read_text().strip()
    stamp, _, tail = current.partition("-")
    newer = f"{stamp[:-6]}{int(stamp[-6:]) + 1:06d}-{tail}"
    shutil.copytree(folder / current, folder / newer)
    (folder / "CURRENT.new").write_text(newer + "\n")
    (folder / "CURRENT.new").rename(folder / "CURRENT")


def wait_for_line(stack: object, words: str) -> None:
    """Wait until a service has written a line that holds *words*."""
    from corkboard.stack import Stack

    assert isinstance(stack, Stack)
    deadline = time.monotonic() + SWAP_SECONDS_MAX
    while time.monotonic() < deadline:
        if any(words in line for name in stack.children for line in stack.last_lines(name)):
            return
        time.sleep(0.05)
    pytest.fail(f"no service wrote {words!r} within {SWAP_SECONDS_MAX} s")
