"""Alert rules and dashboard against a real Prometheus that scrapes real services."""

import http.client
import json
import os
import re
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.world import copy_of_root, make_stack
from tests.mesh.proxy import free_port

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "k8s" / "monitoring"
NOT_HERE = {
    "ranking_service_tls_certificate_expiry_seconds",  # with TLS: test_certificate_expiry.py
    "ranking_service_access_file_refusals_total",  # with an access file: test_access.py
    "ranking_service_process_restarts_total",  # with several processes: test_supervisor.py
}
"""Metrics of the alerts that these services have no reason to show; where they are proved."""
HAS_PROMETHEUS = shutil.which("prometheus") is not None and shutil.which("promtool") is not None

pytestmark = pytest.mark.skipif(
    not HAS_PROMETHEUS, reason="prometheus is not installed (Debian: apt-get install prometheus)"
)


def all_rules() -> list[dict[str, Any]]:
    """Every alert, of whatever group."""
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize(
    "command",
    [
        ["check", "rules", "alerts.yaml"],
        ["test", "rules", "alerts_test.yaml"],
        ["check", "config", "--syntax-only", "prometheus.yaml"],
    ],
    ids=" ".join,
)
def test_promtool_agrees(command: list[str]) -> None:
    """Rules are valid, each alert fires when it should, and none on a good day."""
    done = subprocess.run(
        ["promtool", *command], cwd=FOLDER, check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_proved_and_has_its_paragraph() -> None:
    """An alert without a test or without a runbook entry is half an alert."""
    rules = all_rules()
    proofs = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text())["tests"]
    fired = {
        test["alertname"]
        for proof in proofs
        for test in proof["alert_rule_test"]
        if test.get("exp_alerts")
    }
    runbook = (ROOT / "docs" / "runbook.md").read_text()

    assert {rule["alert"] for rule in rules} == fired
    assert set(re.findall(r"^## (\w+)$", runbook, re.MULTILINE)) == fired


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a Prometheus that has scraped three services under some calls."""
    folder = tmp_path_factory.mktemp("prometheus")
    ports = {name: free_port() for name in ("profile", "candidate", "ranking")}
    settings = {f"{name}_service": [f"metrics_port={port}"] for name, port in ports.items()}
    config = {
        "global": {"scrape_interval": "200ms"},
        "scrape_configs": [
            {
                "job_name": f"{name}-service",
                "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
            }
            for name, port in ports.items()
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    with make_stack(copy_of_root(folder), settings=settings) as stack, stack.client() as client:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "GOMAXPROCS": "1"},
        )
        try:
            for number in range(40):
                client.record(f"visitor-{number % 5}", "typography-1")
                client.recommend("ana", limit=5)
                time.sleep(0.05)
            wait_scraped(port)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def query(port: int, expression: str) -> dict[str, Any]:
    """Prometheus' answer to an instant query."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        answer: dict[str, Any] = json.load(connection.getresponse())
    return answer


def wait_scraped(port: int) -> None:
    """Return once every service was scraped a few times."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            counted = query(port, "count(count_over_time(up[1m]) > 5)")["data"]["result"]
        except OSError:
            counted = []
        if counted and counted[0]["value"][1] == "3":
            return
        time.sleep(0.2)
    raise TimeoutError("Prometheus did not scrape the services")


def panels() -> list[tuple[str, str]]:
    """Title and query of each line of the dashboard."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    found = [
        (panel["title"], target["expr"])
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]
    assert len(found) > 15
    return found


@pytest.mark.parametrize(("title", "expression"), panels())
def test_every_panel_shows_something(prometheus: int, title: str, expression: str) -> None:
    """Each query is valid, and names metrics that the services really have."""
    answer = query(prometheus, expression)

    assert answer["status"] == "success", answer
    assert answer["data"]["result"], title


def test_every_metric_of_the_alerts_exists(prometheus: int) -> None:
    """A rule over a metric that nobody has would never fire."""
    rules = all_rules()
    names = {
        name
        for rule in rules
        for name in re.findall(r"\b(?:profile|candidate|ranking)_service_\w+", rule["expr"])
    }
    names |= {
        f"ranking_service_{suffix}"
        for rule in rules
        for suffix in re.findall(r"\)_service_(\w+)\"", rule["expr"])
    }

    assert len(names) > 8
    assert names >= NOT_HERE, "no longer asked for"
    for name in sorted(names - NOT_HERE):
        assert query(prometheus, f"count({name})")["data"]["result"], name
