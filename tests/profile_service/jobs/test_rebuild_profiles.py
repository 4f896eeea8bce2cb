"""The batch run: what it reads, what it leaves out, what it publishes."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corkboard.profile.v1 import profile_service_pb2 as pb
from profile_service.action_export import SCHEMA, actions_folder
from profile_service.actions import Action
from profile_service.adjustments import Adjustment, AdjustmentKind
from profile_service.config import ProfileConfig
from profile_service.jobs import rebuild_profiles
from profile_service.store import live_folder
from service_runtime.job import execute_job
from tests.profile_service.worlds import (
    DAY,
    NOW,
    action,
    live_profiles,
    message,
    open_log,
    publish_pins,
    rebuild,
    serving,
)


def import_actions(root: Path, *actions: Action, name: str = "import-1") -> Path:
    """Put actions where an import puts them, without the columns that imports may lack."""
    columns = ("action_id", "user_id", "pin_id", "action_type", "action_time_us")
    rows = [
        {
            "action_id": one.action_id,
            "user_id": one.user_id,
            "pin_id": one.pin_id,
            "action_type": one.action_type.label,
            "action_time_us": one.time_us,
        }
        for one in actions
    ]
    schema = pa.schema([SCHEMA.field(column) for column in columns])
    path = actions_folder(root) / "day=2025-12-31" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def record(root: Path, *actions: Action) -> None:
    """Record actions in the live log, then close it."""
    log = open_log(live_folder(root))
    log.append(actions)
    log.close()


def test_imported_and_live_actions_make_one_profile(tmp_path: Path) -> None:
    """Both logs count, an action in both counts once, and the report tells how many."""
    publish_pins(tmp_path)
    import_actions(tmp_path, action("1", "tea"), action("2", "pot"), action("5", user_id="bert"))
    record(tmp_path, action("2", "pot"), action("3", "car"))

    report = rebuild(tmp_path)

    assert report["user_count"] == 2
    assert report["action_count"] == 4
    assert report["watermark"] == 2
    store = live_profiles(tmp_path).get()
    clusters = store.clusters_of("anna")
    assert clusters is not None
    assert clusters.action_counts.tolist() == [2, 1]
    history = store.history_of("anna")
    assert history is not None
    assert sorted(history.action_ids) == ["1", "2", "3"]
    assert store.clusters_of("nobody") is None


def test_an_empty_root_gives_an_empty_generation(tmp_path: Path) -> None:
    """The first run of all, before any data, is no error."""
    report = rebuild(tmp_path)

    assert report["user_count"] == 0
    assert live_profiles(tmp_path).get().user_count() == 0


def test_nothing_from_as_of_on_is_read(tmp_path: Path) -> None:
    """Built as of a past moment, a generation knows only what was known then."""
    publish_pins(tmp_path)
    import_actions(tmp_path, action("1", "tea", age_days=20), action("2", "car", age_days=5))
    record(
        tmp_path,
        action("3", "oak", age_days=20),
        action("4", "bus", age_days=5),
        action("5", "cup", age_days=20),
    )

    report = rebuild(tmp_path, as_of=NOW - 10 * DAY)

    live = live_profiles(tmp_path)
    clusters = live.get().clusters_of("anna")
    assert clusters is not None
    # "cup" happened before as_of but was recorded after "bus": it is past the watermark.
    assert sorted(clusters.medoid_pin_ids) == ["oak", "tea"]
    assert report["watermark"] == 1
    assert live.generation.manifest.as_of_us == round((NOW - 10 * DAY) * 1e6)


def test_exported_actions_outlive_their_log(tmp_path: Path) -> None:
    """If live/ is lost, or events/ is read from another root, exported actions still count."""
    record(tmp_path, action("1", "tea"), action("2", "car"))
    rebuild(tmp_path)
    shutil.rmtree(tmp_path / "live")

    assert rebuild(tmp_path)["action_count"] == 2
    with serving(tmp_path) as stub:
        new = message("3", "oak", action_time={"seconds": round(NOW - DAY)})
        stub.RecordActions(pb.RecordActionsRequest(actions=[new]))
        profile = stub.GetProfile(pb.GetProfileRequest(user_id="anna")).profile
    report = rebuild(tmp_path)

    assert sorted(c.medoid_pin_id for c in profile.clusters) == ["car", "oak", "tea"]
    assert profile.online_action_count == 1
    assert report["action_count"] == 3
    assert report["watermark"] == 3


def test_window_bounds_interests_but_not_histories(tmp_path: Path) -> None:
    """Old actions form no interest, yet the pins stay known as acted on."""
    publish_pins(tmp_path)
    import_actions(tmp_path, action("1", "tea", age_days=61), action("2", "car", age_days=59))

    rebuild(tmp_path, window_days=60)

    store = live_profiles(tmp_path).get()
    clusters, history = store.clusters_of("anna"), store.history_of("anna")
    assert clusters is not None
    assert history is not None
    assert list(clusters.medoid_pin_ids) == ["car"]
    assert list(history.pin_ids) == ["tea", "car"]


def test_histories_keep_the_newest_actions(tmp_path: Path) -> None:
    """A long history is cut at the old end."""
    import_actions(tmp_path, *(action(f"{n}", f"p{n}", age_days=300 - n) for n in range(150)))

    rebuild(tmp_path, history_action_count_max=100)

    history = live_profiles(tmp_path).get().history_of("anna")
    assert history is not None
    assert list(history.pin_ids) == [f"p{n}" for n in range(50, 150)]


def test_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    """Two runs as of one moment publish files that are equal to the bit."""
    publish_pins(tmp_path)
    made = [
        action(
            f"{n}", ("tea", "car", "oak", "pot")[n % 4], user_id=f"u{n % 7}", age_days=n % 50 + 1
        )
        for n in range(200)
    ]
    import_actions(tmp_path, *made)

    rebuild(tmp_path)
    first = live_profiles(tmp_path).generation.manifest.files
    import_actions(tmp_path, *reversed(made))
    rebuild(tmp_path)

    assert live_profiles(tmp_path).generation.manifest.files == first


def test_forgotten_users_are_left_out_and_their_files_rewritten(tmp_path: Path) -> None:
    """After an erasure nothing older of the user is in the generation or in any event file."""
    publish_pins(tmp_path)
    imported = import_actions(tmp_path, action("1", "tea"), action("2", user_id="bert"))
    record(tmp_path, action("3", "car"), action("4", "car", user_id="bert"))
    rebuild(tmp_path)
    log = open_log(live_folder(tmp_path))
    log.erase("anna", time_us=round((NOW - 0.5 * DAY) * 1e6), receipt_id="r")
    log.append([action("5", "oak", age_days=0.1)])
    log.close()

    report = rebuild(tmp_path)

    assert report["erased_event_count"] == 2
    store = live_profiles(tmp_path).get()
    clusters, history = store.clusters_of("anna"), store.history_of("anna")
    assert clusters is not None
    assert history is not None
    assert list(clusters.medoid_pin_ids) == ["oak"]
    assert list(history.pin_ids) == ["oak"]
    assert pq.read_table(imported, partitioning=None).column("user_id").to_pylist() == ["bert"]
    files = [pq.read_table(path, partitioning=None) for path in tmp_path.rglob("live-*.parquet")]
    left = [name for file in files for name in file.column("action_id").to_pylist()]
    assert sorted(left) == ["4", "5"]
    assert rebuild(tmp_path)["erased_event_count"] == 0


def test_an_import_cannot_bring_a_forgotten_user_back(tmp_path: Path) -> None:
    """Old events that are imported again after the erasure are left out again."""
    record(tmp_path, action("x", user_id="bert"))
    log = open_log(live_folder(tmp_path))
    log.erase("anna", time_us=round(NOW * 1e6) - 1, receipt_id="r")
    log.close()
    import_actions(tmp_path, action("1", "tea"))

    report = rebuild(tmp_path)

    assert report["user_count"] == 1
    assert report["erased_event_count"] == 1


def test_main_prints_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command works from arguments to exit code, and its last line is the report."""
    import_actions(tmp_path, action("1"))

    code = execute_job(
        "rebuild_profiles",
        rebuild_profiles.run,
        ProfileConfig,
        arguments=["--data-root", str(tmp_path), "--as-of", str(NOW), "--quiet"],
    )

    assert code == 0
    assert '"user_count":1' in capsys.readouterr().out.splitlines()[-1]


def test_forgotten_interests_are_left_out_of_clusters_and_kept_in_history(tmp_path: Path) -> None:
    """What was forgotten before as-of forms no cluster; excluding what was acted on still works."""
    publish_pins(tmp_path)
    import_actions(tmp_path, action("1", "tea"), action("2", "pot"), action("3", "car"))
    log = open_log(live_folder(tmp_path))
    log.adjust("anna", Adjustment("cup", AdjustmentKind.FORGET, round((NOW - 60) * 1e6)))
    log.adjust("anna", Adjustment("car", AdjustmentKind.FORGET, round((NOW + 60) * 1e6)))
    log.close()

    rebuild(tmp_path)

    store = live_profiles(tmp_path).get()
    clusters, history = store.clusters_of("anna"), store.history_of("anna")
    assert clusters is not None
    assert list(clusters.medoid_pin_ids) == ["car"]
    assert history is not None
    assert len(history) == 3
