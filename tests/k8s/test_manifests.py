"""The manifests as they are rendered: schema, rules, settings, order of jobs, hardening."""

import copy
import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from candidate_service.config import CandidateConfig
from profile_service.config import ProfileConfig
from ranking_service.config import RankingConfig
from tests.k8s.broken_variants import BROKEN
from tests.k8s.broken_variants.making import find
from tests.k8s.manifest_rules import faults
from tests.k8s.manifest_rules.jobs import NOT_NIGHTLY, is_in_time, job_modules, minutes_of_day
from tests.k8s.manifest_rules.reading import arguments, environment, process
from tests.k8s.manifest_rules.settings import config_of
from tests.k8s.podman import arguments_of, run_arguments
from tests.k8s.rendered import OVERLAYS, manifests

VERSIONS = ("1.27", "1.37")
"""The oldest and the newest Kubernetes that is promised: gRPC probes are stable from 1.27 on."""


def test_newest_promised_is_the_newest_there_is() -> None:
    """Of those whose schema is known here."""
    major, minor, *_ = kubernetes_validate.latest_version().split(".")

    assert f"{major}.{minor}" == VERSIONS[1]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_schema_of_every_promised_version_holds(overlay: str, version: str, tmp_path: Path) -> None:
    """No unknown field, no wrong type, no removed API; the mesh's kinds have no schema here."""
    path = tmp_path / "rendered.yaml"
    path.write_text(
        yaml.safe_dump_all(
            one
            for one in manifests(overlay)
            if not re.search(r"istio\.io|linkerd\.io", one["apiVersion"])
        )
    )
    checked = subprocess.run(
        [
            str(Path(sys.executable).with_name("kubernetes-validate")),
            "--strict",
            "-k",
            version,
            path,
        ],
        check=False,
        capture_output=True,
        text=True,
    )

    told = checked.stdout + checked.stderr
    assert checked.returncode == 0, told
    assert "WARN" not in told
    assert "ERROR" not in told


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_leads_nowhere(overlay: str) -> None:
    """Selectors, names, ports, claims, limits and rollouts fit together."""
    assert faults(manifests(overlay)) == []


@pytest.mark.parametrize("name", BROKEN)
def test_each_mistake_is_found(name: str) -> None:
    """The rules are worth their name: one mistake, and the fault that tells of it."""
    found = copy.deepcopy(manifests("production"))
    BROKEN[name].breaks(found)

    told = faults(found)
    assert [one for one in told if BROKEN[name].told in one], told


@pytest.mark.parametrize("overlay", ["single-node", "production"])
def test_namespace_asks_for_what_the_rules_hold(overlay: str) -> None:
    """Pod Security refuses what `manifest_rules.hardening` would have missed."""
    (namespace,) = [one for one in manifests(overlay) if one["kind"] == "Namespace"]

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_production_scales_both_stateless_services() -> None:
    """By CPU, from more than one pod on; the third has one writer and one pod."""
    found = manifests("production")
    scalers = [one for one in found if one["kind"] == "HorizontalPodAutoscaler"]

    assert {one["spec"]["scaleTargetRef"]["name"] for one in scalers} == {
        "candidate-service",
        "ranking-service",
    }
    assert all(one["spec"]["minReplicas"] > 1 for one in scalers)
    assert find(found, "StatefulSet", "profile-service")["spec"]["replicas"] == 1


def test_processes_count_with_the_cores_that_they_asked_for() -> None:
    """Requests of CPU, rounded up, arrive as settings; who waits for others serves more at once."""
    for overlay, cores in (("single-node", 1), ("production", 2)):
        found = manifests(overlay)
        candidate = find(found, "Deployment", "candidate-service")
        config = config_of(candidate, found)
        assert config.worker_count == cores
        assert isinstance(config, CandidateConfig)
        assert config.source_thread_count == 4
        job = process(find(found, "CronJob", "train-ranker"))
        variables = environment(job, {}, pod="")
        assert arguments(job, variables)[1:] == [f"--threads={cores}"]

        ranking = config_of(find(found, "Deployment"), found)
        profile = config_of(find(found, "StatefulSet", "profile-service"), found)
        assert isinstance(ranking, RankingConfig)
        assert isinstance(profile, ProfileConfig)
        assert (ranking.worker_count, profile.worker_count) == (4, 8)


def test_containers_tried_by_themselves_get_what_pods_get() -> None:
    """Numbers of cores and the pod's name, in variables and in arguments."""
    found = manifests("production")
    candidate = find(found, "Deployment", "candidate-service")
    options = run_arguments(candidate, {"A": "b"}, {"data": Path("/srv")}, name="pod-7")
    variables = {one.removeprefix("--env=") for one in options if one.startswith("--env=")}

    assert variables == {
        "A=b",
        "CORKBOARD_WORKER_COUNT=2",
        "OMP_NUM_THREADS=2",
        "CANDIDATE_SERVICE_LIVE_LOG_NAME=pod-7",
    }
    assert arguments_of(find(found, "CronJob", "build-graph")) == [
        "candidate_service.jobs.build_graph",
        "--threads=2",
    ]


def test_data_is_for_many_pods_unless_one_machine_has_all() -> None:
    """Pods on several nodes mount the shared volume; a single node needs no such storage."""
    for overlay in OVERLAYS:
        claim = find(manifests(overlay), "PersistentVolumeClaim", "corkboard-data")
        expected = "ReadWriteOnce" if overlay == "single-node" else "ReadWriteMany"

        assert claim["spec"]["accessModes"] == [expected]


_COUNT = """
import lightgbm, numpy, pyarrow, threadpoolctl
pools = threadpoolctl.threadpool_info()
print(pyarrow.cpu_count(), *sorted({(one["user_api"], one["num_threads"]) for one in pools}))
"""


def test_libraries_read_the_number_of_threads() -> None:
    """Arrow, OpenBLAS and LightGBM's OpenMP know the variable by the name that the pods have."""
    job = process(find(manifests("production"), "CronJob", "build-graph"))
    (name,) = [one["name"] for one in job["env"]]
    told = subprocess.run(
        [sys.executable, "-c", _COUNT], check=True, capture_output=True, text=True, env={name: "1"}
    )

    assert told.stdout.split(maxsplit=1) == ["1", "('blas', 1) ('openmp', 1)\n"]


def test_jobs_take_the_arguments_that_they_get() -> None:
    """`--threads` is an option of every job; what is no number is refused before any work."""
    for word, code in (("2", 0), ("$(OMP_NUM_THREADS)", 2)):
        command = [sys.executable, "-m", "candidate_service.jobs.build_fresh", f"--threads={word}"]
        done = subprocess.run([*command, "--help"], check=False, capture_output=True, text=True)

        assert done.returncode == code, done.stderr


def test_reasons_name_jobs_that_there_are() -> None:
    """Who runs without an hour of the night is written down, and nobody else."""
    assert NOT_NIGHTLY.keys() < job_modules()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("0 2 * * *", "0 3 * * *", True),
        ("0 3 * * *", "0 2 * * *", False),
        ("0 2 * * *", "0 2 * * *", False),
        ("0 23 * * *", "0 1 * * *", True),
        ("0 2 * * *", "0 9 * * *", False),
        ("0 2 * * *", "15 * * * *", True),
        ("0 2 * * *", "15 0,12 * * *", True),
        ("0 2 * * *", "15 0,1 * * *", False),
        ("15 * * * *", "0 3 * * *", True),
        ("0 */6 * * *", "30 5 * * *", True),
        ("0 3,4 * * *", "30 2 * * *", False),
    ],
)
def test_results_are_read_while_they_are_new(before: str, after: str, *, expected: bool) -> None:
    """A nightly job within the night, an hourly one within the hour."""
    assert is_in_time(minutes_of_day(before), minutes_of_day(after)) is expected
