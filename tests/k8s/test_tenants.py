"""A tenant in a namespace of its own, by the overlay of docs/tenants.md: nothing leads out."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import blocks
from tests.k8s.rendered import ROOT, rendered_from

TENANT = "tenant-a"


@pytest.fixture
def found(tmp_path: Path) -> list[dict[str, Any]]:
    """The objects of the tenant."""
    (block,) = [one for one in blocks(ROOT / "docs" / "tenants.md") if one.language == "yaml"]
    kustomization = yaml.safe_load(block.text)
    production = os.path.relpath(ROOT / "k8s" / "overlays" / "production", tmp_path)
    kustomization["resources"] = [production]
    return rendered_from(tmp_path, kustomization)


def test_every_object_is_in_the_tenants_namespace(found: list[dict[str, Any]]) -> None:
    """And the namespace is made."""
    names = [one["metadata"]["name"] for one in found if one["kind"] == "Namespace"]
    others = {one["metadata"]["namespace"] for one in found if one["kind"] != "Namespace"}

    assert names == [TENANT]
    assert others == {TENANT}


def test_no_setting_names_another_namespace(found: list[dict[str, Any]]) -> None:
    """The addresses of the services above all; there is one map of settings, merged."""
    settings = [one["data"] for one in found if one["kind"] == "ConfigMap"]
    (merged,) = settings

    assert merged["CORKBOARD_DATA_ROOT"] == "/data"
    addresses = [value for value in merged.values() if value.startswith("dns:///")]
    assert len(addresses) == 2
    assert all(f"-service.{TENANT}:" in address for address in addresses)


def test_services_are_reached_from_their_own_namespace_only(found: list[dict[str, Any]]) -> None:
    """What the policies let in from elsewhere has a label of ours or is the monitoring."""
    policies = [one["spec"] for one in found if one["kind"] == "NetworkPolicy"]
    sources = [
        source
        for policy in policies
        for rule in policy.get("ingress", [])
        for source in rule["from"]
        if "namespaceSelector" in source
    ]

    assert sources
    for source in sources:
        labels = source.get("podSelector", {}).get("matchLabels", {})
        assert source["namespaceSelector"] or any(key.startswith("corkboard/") for key in labels)
