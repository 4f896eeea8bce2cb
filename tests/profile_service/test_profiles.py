"""Reads while batch runs publish and writes go on: nothing counted twice, nothing lost."""

import threading
from contextlib import nullcontext
from pathlib import Path

from corkboard.profile.v1 import profile_service_pb2 as pb
from profile_service.profiles import Profiles
from profile_service.store import ActionLog, live_folder
from service_runtime.generations import GenerationWatcher
from tests.profile_service.worlds import (
    NOW,
    RULES,
    Space,
    action,
    live_profiles,
    message,
    open_log,
    publish_pins,
    rebuild,
    serving,
)


def test_publishing_during_reads_and_writes_counts_every_action_once(tmp_path: Path) -> None:
    """
    One thread records, three read, and generations are swapped in meanwhile.

    No read ever misses an action that was acknowledged before it began, nor counts one twice.
    """
    publish_pins(tmp_path)
    log = open_log(live_folder(tmp_path))
    live = live_profiles(tmp_path)
    profiles = Profiles(log, live, Space, RULES, online_action_count_max=10_000)
    acknowledged, stop = [0], threading.Event()
    faults: list[str] = []

    def write() -> None:
        for n in range(500):
            log.append([action(f"{n}", ("tea", "car", "oak")[n % 3], age_days=1)])
            acknowledged[0] = n + 1
            if stop.is_set():
                return

    def read() -> None:
        while not stop.is_set():
            low = acknowledged[0]
            profile = profiles.current("anna", now=NOW, cluster_limit=100)
            history, _ = profiles.history("anna", 10_000)
            high = acknowledged[0] + 1  # one may be committed and not yet noted
            total = int(profile.clusters.action_counts.sum())
            if not low <= total <= high:
                faults.append(f"counted {total}, recorded between {low} and {high}")
            if len(set(history.action_ids)) != len(history):
                faults.append("an action is listed twice")

    watcher = GenerationWatcher([live], 0.005)
    watcher.start()
    threads = [threading.Thread(target=read) for _ in range(3)] + [threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    # LMDB may be opened once a process: the job reads the log that is open already.
    generations = [_publish(tmp_path, log) for _ in range(3)]
    threads[-1].join()
    generations.append(_publish(tmp_path, log))
    live.poll()
    stop.set()
    for thread in threads:
        thread.join()
    watcher.stop()

    assert faults == []
    assert live.swap_count >= 2
    final = profiles.current("anna", now=NOW, cluster_limit=100)
    assert final.online_action_count == 0
    assert final.clusters.action_counts.sum() == 500
    assert final.generation == generations[-1]
    log.close()


def _publish(root: Path, log: ActionLog) -> str:
    """Run the batch job on the log that this process has open."""
    return str(rebuild(root, open_log=lambda *_: nullcontext(log))["generation"])


def test_batch_run_beside_the_service_moves_actions_to_the_batch_part(tmp_path: Path) -> None:
    """Before and after the swap the same actions are told, from another origin."""
    publish_pins(tmp_path)
    with serving(tmp_path) as stub:
        stub.RecordActions(
            pb.RecordActionsRequest(actions=[message("1", "tea"), message("2", "car")])
        )
    rebuild(tmp_path, as_of=NOW + 1)
    with serving(tmp_path, fixed_time=NOW + 2) as stub:
        stub.RecordActions(pb.RecordActionsRequest(actions=[message("3", "oak")]))
        profile = stub.GetProfile(
            pb.GetProfileRequest(user_id="anna", acted_pin_count_max=10)
        ).profile
        listed = stub.ListActions(pb.ListActionsRequest(user_id="anna")).actions

    origins = {cluster.medoid_pin_id: cluster.origin for cluster in profile.clusters}
    batch, online = pb.CLUSTER_ORIGIN_BATCH, pb.CLUSTER_ORIGIN_ONLINE
    assert origins == {"tea": batch, "car": batch, "oak": online}
    assert profile.batch_time.seconds == NOW + 1
    assert profile.online_action_count == 1
    assert sorted(profile.acted_pin_ids) == ["car", "oak", "tea"]
    assert listed[0].action_id == "3"
    assert len(listed) == 3


def test_erased_user_is_gone_at_once_and_may_come_back(tmp_path: Path) -> None:
    """Batch part, history and live rows are hidden or deleted; the receipt names every store."""
    publish_pins(tmp_path)
    with serving(tmp_path) as stub:
        stub.RecordActions(pb.RecordActionsRequest(actions=[message("1", "tea")]))
    rebuild(tmp_path, as_of=NOW + 1)
    with serving(tmp_path, fixed_time=NOW + 2) as stub:
        stub.RecordActions(pb.RecordActionsRequest(actions=[message("2", "car")]))
        receipt = stub.EraseUser(pb.EraseUserRequest(user_id="anna"))
        gone = stub.GetProfile(pb.GetProfileRequest(user_id="anna", acted_pin_count_max=9)).profile
        listed = stub.ListActions(pb.ListActionsRequest(user_id="anna")).actions
        old = stub.RecordActions(
            pb.RecordActionsRequest(
                actions=[message("1", action_time={"seconds": round(NOW)})], allow_partial=True
            )
        )
        back = message("3", "oak", action_time={"seconds": round(NOW) + 5})
        stub.RecordActions(pb.RecordActionsRequest(actions=[back]))
        returned = stub.GetProfile(pb.GetProfileRequest(user_id="anna")).profile

    states = {store.store: store.state for store in receipt.stores}
    erased, hidden = pb.ERASURE_STATE_ERASED, pb.ERASURE_STATE_HIDDEN
    assert states["live_actions"] == states["declared_interests"] == erased
    assert states["profiles"] == states["event_log"] == hidden
    assert states["impressions"] == states["catalogue_saves"] == pb.ERASURE_STATE_NOT_REACHED
    assert receipt.receipt_id
    assert gone.is_cold_start
    assert list(gone.acted_pin_ids) == []
    assert list(listed) == []
    assert list(old.codes) == [pb.ACTION_CODE_INVALID]
    assert [cluster.medoid_pin_id for cluster in returned.clusters] == ["oak"]


def test_hidden_pins_are_told_from_both_parts(tmp_path: Path) -> None:
    """A hide of last week and one of today both keep their pins out."""
    with serving(tmp_path) as stub:
        stub.RecordActions(
            pb.RecordActionsRequest(
                actions=[message("1", "tea", action_type=pb.ACTION_TYPE_HIDE), message("2", "car")]
            )
        )
    rebuild(tmp_path, as_of=NOW + 1)
    with serving(tmp_path, fixed_time=NOW + 2) as stub:
        stub.RecordActions(
            pb.RecordActionsRequest(
                actions=[message("3", "car", action_type=pb.ACTION_TYPE_REPORT)]
            )
        )
        profile = stub.GetProfile(
            pb.GetProfileRequest(user_id="anna", acted_pin_count_max=10)
        ).profile

    assert list(profile.acted_pin_ids) == ["car", "tea"]
    assert list(profile.hidden_pin_ids) == ["car", "tea"]
    assert list(profile.clusters) == []
