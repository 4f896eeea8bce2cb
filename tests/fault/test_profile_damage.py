"""Damaged generations are refused, at the start and while serving; the good one goes on."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from corkboard.profile.v1 import profile_service_pb2 as pb
from service_runtime.manifest import MANIFEST_FILE, read_manifest, render_manifest
from tests.profile_service.worlds import NOW, message, publish_pins, rebuild, serving

ONE_SAVE = pb.RecordActionsRequest(actions=[message("1", "tea")])
ASK = pb.GetProfileRequest(user_id="anna")


def damage(root: Path, generation: str, how: str) -> None:
    """Spoil a published file."""
    path = root / "generations" / "profiles" / generation / "profiles.lmdb"
    data = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "missing":
        path.unlink()
    else:
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)


def copy_generation(root: Path, generation: str, copy: str) -> None:
    """Publish the same files under another id, without switching to them."""
    folder = root / "generations" / "profiles"
    shutil.copytree(folder / generation, folder / copy)
    manifest = replace(read_manifest("profiles", folder / generation), id=copy)
    (folder / copy / MANIFEST_FILE).write_bytes(render_manifest(manifest))


def point_to(root: Path, generation: str) -> None:
    """Switch to a generation as a publisher does."""
    folder = root / "generations" / "profiles"
    (folder / ".CURRENT.new").write_text(f"{generation}\n")
    (folder / ".CURRENT.new").replace(folder / "CURRENT")


@pytest.mark.parametrize("how", ["flipped", "cut", "missing"])
def test_damaged_generation_is_refused_at_the_start(tmp_path: Path, how: str) -> None:
    """The generation before it serves."""
    publish_pins(tmp_path)
    with serving(tmp_path) as stub:
        stub.RecordActions(ONE_SAVE)
    good = rebuild(tmp_path, as_of=NOW + 1)["generation"]
    bad = rebuild(tmp_path, as_of=NOW + 2)["generation"]
    damage(tmp_path, bad, how)

    with serving(tmp_path, fixed_time=NOW + 3) as stub:
        profile = stub.GetProfile(ASK).profile

    assert profile.generation == good
    assert [cluster.medoid_pin_id for cluster in profile.clusters] == ["tea"]


@pytest.mark.parametrize("how", ["flipped", "cut", "missing"])
def test_damaged_generation_is_refused_while_serving(tmp_path: Path, how: str) -> None:
    """A bad swap does not happen; the next good one does."""
    publish_pins(tmp_path)
    with serving(tmp_path) as stub:
        stub.RecordActions(ONE_SAVE)
    good = rebuild(tmp_path, as_of=NOW + 1)["generation"]
    bad, better = f"{good}-bad", f"{good}-better"
    for copy in (bad, better):
        copy_generation(tmp_path, good, copy)
    damage(tmp_path, bad, how)
    with serving(tmp_path, fixed_time=NOW + 3) as stub:
        point_to(tmp_path, bad)
        time.sleep(0.2)  # ten polls
        while_bad = stub.GetProfile(ASK).profile
        point_to(tmp_path, better)
        deadline = time.monotonic() + 20
        while (after := stub.GetProfile(ASK).profile).generation != better:
            assert time.monotonic() < deadline, "the good generation was never swapped in"
            time.sleep(0.02)

    assert while_bad.generation != bad
    assert list(while_bad.clusters) == list(after.clusters)


def test_everything_damaged_still_serves_the_live_log(tmp_path: Path) -> None:
    """Without any usable generation profiles are made of what was recorded."""
    publish_pins(tmp_path)
    with serving(tmp_path) as stub:
        stub.RecordActions(ONE_SAVE)
    damage(tmp_path, rebuild(tmp_path, as_of=NOW + 1)["generation"], "cut")

    with serving(tmp_path, fixed_time=NOW + 3) as stub:
        profile = stub.GetProfile(ASK).profile

    assert profile.generation == ""
    assert [cluster.medoid_pin_id for cluster in profile.clusters] == ["tea"]
