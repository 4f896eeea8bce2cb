"""Examples of settings, of who may do what, and of manifests are taken by the code as they are."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from candidate_service.config import CandidateConfig
from candidate_service.server import ROLES as CANDIDATE_ROLES
from corkboard.steps import STEPS
from profile_service.config import ProfileConfig
from profile_service.server import ROLES as PROFILE_ROLES
from ranking_service.config import RankingConfig
from ranking_service.server import ROLES as RANKING_ROLES
from service_runtime.access import Access, Role
from service_runtime.config import ServiceConfig, load_config
from service_runtime.credentials import Credentials
from service_runtime.errors import Exhausted, NotAuthenticated, PermissionDenied
from tests.docs.kubectl_words import KUBECTL, rendered_at
from tests.docs.pages import ROOT, Block, blocks, pages
from tests.docs.session import environment_of
from tests.docs.test_commands import command_tree

CONFIGS = (ProfileConfig, CandidateConfig, RankingConfig)
ROLES = {**PROFILE_ROLES, **CANDIDATE_ROLES, **RANKING_ROLES}
SECURITY = ROOT / "docs" / "security.md"
_NAME = re.compile(
    r"\b(?:CORKBOARD|PROFILE_SERVICE|CANDIDATE_SERVICE|RANKING_SERVICE)_[A-Z_]*[A-Z]\b"
)
_READ = re.compile(r'environ(?:\.get)?[\[(]"(CORKBOARD_[A-Z_]+)"')
_ALL = [block for page in pages() for block in blocks(page)]
WITH_A_FORM = [block for block in _ALL if block.language in {"toml", "yaml", "json"}]


@pytest.mark.parametrize("block", WITH_A_FORM, ids=lambda block: block.place)
def test_what_is_shown_as_toml_yaml_or_json_is(block: Block) -> None:
    """It parses, whole or, for JSON, an object a line; and it is not empty."""
    assert parsed(block)


def parsed(block: Block) -> Any:
    """What a block says."""
    if block.language == "toml":
        return tomllib.loads(block.text)
    if block.language == "yaml":
        return [one for one in yaml.safe_load_all(block.text) if one]
    try:
        return json.loads(block.text)
    except ValueError:
        return [json.loads(line) for line in block.text.splitlines()]


def test_there_are_such_blocks() -> None:
    """A test over none would pass."""
    assert len(WITH_A_FORM) >= 8


@cache
def variables() -> frozenset[str]:
    """Every variable that some code of ours reads."""
    found = {f"CORKBOARD_{name.upper()}" for name in ServiceConfig.model_fields}
    for config in CONFIGS:
        prefix = str(config.model_config["env_prefix"])
        found |= {f"{prefix}{name.upper()}" for name in (*config.model_fields, "config")}
    commands = [command_tree()]
    while commands:
        command = commands.pop()
        found |= {str(option.envvar) for option in command.params if option.envvar}
        commands += getattr(command, "commands", {}).values()
    for folder in ("tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            found |= {*_READ.findall(path.read_text(encoding="utf-8"))}
    return frozenset(found)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_variables_that_a_page_names_are_read(page: Path) -> None:
    """In blocks and in sentences."""
    assert {*_NAME.findall(page.read_text(encoding="utf-8"))} - variables() == set()


def assigned() -> Iterator[tuple[str, str, str]]:
    """Place, variable and value of each setting of a block that no test runs."""
    for block in _ALL:
        if block.words & {"run", "serve", "stop"}:
            continue
        for line in block.text.splitlines():
            try:
                words = shlex.split(line.removeprefix("export "), comments=True)
            except ValueError:
                continue
            for word in words:
                name, equals, value = word.partition("=")
                if equals and _NAME.fullmatch(name) and "$" not in value:
                    yield block.place, name, value


ASSIGNED = [*assigned()]


@pytest.mark.parametrize(
    ("place", "name", "value"), ASSIGNED, ids=[f"{p} {n}" for p, n, _ in ASSIGNED]
)
def test_values_of_settings_are_ones(place: str, name: str, value: str) -> None:
    """The services that read the variable take the value."""
    readers = [
        config
        for config in CONFIGS
        if name
        in {f"{config.model_config['env_prefix']}{one.upper()}" for one in config.model_fields}
        or name in {f"CORKBOARD_{one.upper()}" for one in ServiceConfig.model_fields}
    ]

    assert readers or name in variables(), place
    for config in readers:
        load_config(config, environment={name: without_own_sources(place, value)})


def without_own_sources(place: str, value: str) -> str:
    """The value without the sources that the page itself brings, by an entry point."""
    for block in blocks(ROOT / place.partition(":")[0]):
        if block.language == "toml" and "corkboard.candidate_sources" in block.text:
            own = parsed(block)["project"]["entry-points"]["corkboard.candidate_sources"]
            assert any(name in value for name in own), "the page never switches its source on"
            return json.dumps([name for name in json.loads(value) if name not in own])
    return value


def test_there_are_such_values() -> None:
    """As above."""
    assert len(ASSIGNED) >= 5


def block_of(page: Path, sign: str) -> Block:
    """The only TOML block of a page with a sign in it."""
    (found,) = [one for one in blocks(page) if one.language == "toml" and sign in one.text]
    return found


def test_settings_for_tls_are_taken_by_every_service(tmp_path: Path) -> None:
    """As upgrade.md checks them before the new version serves."""
    commands = [
        line
        for block in blocks(ROOT / "docs" / "upgrade.md")
        for line in block.text.splitlines()
        if line.endswith("--print-config")
    ]
    text = block_of(SECURITY, "tls_certificate_file").text
    (tmp_path / "my.toml").write_text(text)

    assert len(commands) == 3
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment_of({}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert tomllib.loads(text).items() <= tomllib.loads(done.stdout).items()


MEANT = {
    "recommendations": "RecommendPins",
    "candidates": "RetrieveCandidates",
    "profiles": "GetProfile",
    "search": "SearchPins",
    "actions": "RecordActions",
    "pins": "UpsertPins",
    "saves": "UpsertSaves",
    "impressions": "RecordImpressions",
    "interests": "DeclareInterests",
    "erase users": "EraseUser",
    "reset Memboost": "ResetMemboost",
}
"""The verbs that the words of the roles' table stand for."""


def rows() -> dict[Role, str]:
    """What the table of roles says of each."""
    text = SECURITY.read_text(encoding="utf-8")
    found = re.findall(r"^\| `(\w+)` \| (.+) \|$", text, re.MULTILINE)
    return {Role(name): may for name, may in found}


@pytest.fixture
def access(tmp_path: Path) -> Access:
    """The access file of the page, at a time that stands still."""
    path = tmp_path / "access.toml"
    path.write_text(block_of(SECURITY, "[callers.").text)
    return Access(path, {f"/s/{name}": role for name, role in ROLES.items()}, clock=lambda: 0.0)


def test_the_table_of_roles_is_what_the_services_ask_for(access: Access) -> None:
    """Each verb stands in the row of its own role, and that role alone lets it through."""
    callers = {
        Role.READER: Credentials(token="test"),  # noqa: S106  its hash stands on the page
        Role.OPERATOR: Credentials(("cn:on-call",)),
    }
    assert {*rows()} == {*Role}
    for word, method in MEANT.items():
        assert [role for role, may in rows().items() if word in may] == [ROLES[method]], word
    for method, role in ROLES.items():
        for own, caller in callers.items():
            also = {own, Role.WRITER} if own is Role.READER else {own}
            if role in also:
                access.admit(f"/s/{method}", caller)
            else:
                with pytest.raises(PermissionDenied):
                    access.admit(f"/s/{method}", caller)


def test_callers_of_the_page_are_whom_it_says(access: Access) -> None:
    """By certificate or token; others are nobody; a forwarded name is not trusted."""
    uri = "spiffe://cluster.local/ns/corkboard/sa/ranking-service"
    ranking, shop = Credentials((uri,)), Credentials(token="test")  # noqa: S106
    hashes = tomllib.loads(block_of(SECURITY, "[callers.").text)["callers"]["shop"]["tokens_sha256"]

    assert hashes == [hashlib.sha256(b"test").hexdigest()]
    assert access.admit("/s/GetProfile", ranking) == "ranking-service"
    assert access.admit("/s/EraseUser", ranking) == "ranking-service"
    for _ in range(200):
        assert access.admit("/s/RecordActions", shop) == "shop"
    with pytest.raises(Exhausted) as refused:
        access.admit("/s/RecordActions", shop)
    assert refused.value.retry_after_s == pytest.approx(1 / 200)
    for stranger in (Credentials(), Credentials(forwarded=f"URI={uri}")):
        with pytest.raises(NotAuthenticated):
            access.admit("/s/GetProfile", stranger)


def kustomizations() -> list[Block]:
    """Blocks that an operator would write as an overlay."""
    found = [one for one in _ALL if one.language == "yaml" and "\nresources:" in f"\n{one.text}"]
    assert found
    return found


@pytest.mark.parametrize("block", kustomizations(), ids=lambda block: block.place)
def test_overlays_of_a_page_are_rendered(block: Block, tmp_path: Path) -> None:
    """Beside the others, below k8s/overlays."""
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s", symlinks=True)
    overlay = tmp_path / "k8s" / "overlays" / "of-a-page"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(block.text)

    assert rendered_at(overlay) == ""


def test_certificates_of_the_page_are_those_that_pods_mount(tmp_path: Path) -> None:
    """docs/tls.md: Secret, Service and common name as the component has them."""
    page = ROOT / "docs" / "tls.md"
    made = [
        one
        for block in blocks(page)
        if block.language == "yaml"
        for one in parsed(block)
        if one["kind"] == "Certificate"
    ]
    k8s = os.path.relpath(ROOT / "k8s", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [{k8s}/overlays/production]\ncomponents: [{k8s}/components/tls]\n"
    )
    text = subprocess.run(
        [str(KUBECTL), "kustomize", str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout

    assert made
    for one in made:
        spec, namespace = one["spec"], one["metadata"]["namespace"]
        services = {
            f"{found['metadata']['name']}.{namespace}"
            for found in yaml.load_all(text, Loader=yaml.CSafeLoader)
            if found and found["kind"] == "Service" and found["metadata"]["namespace"] == namespace
        }
        assert f"secretName: {spec['secretName']}\n" in text
        assert services & {*spec["dnsNames"]}
        assert f'"cn:{spec["commonName"]}"' in text


def test_artifacts_to_be_sized_are_those_that_are_made() -> None:
    """docs/size-it.md: each name in the first table is one, and every large one is there."""
    text = (ROOT / "docs" / "size-it.md").read_text(encoding="utf-8")
    _, _, table = text.partition("## Artifacts")
    cells = re.findall(r"^\| (`[^|]+`) \|", table.partition("\n## ")[0], re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    made = {artifact for step in STEPS for artifact in step.makes}

    assert len(named) > 8
    assert named - made == set()
