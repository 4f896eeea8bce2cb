"""What is made of pip-audit's report."""

import json

from tests.k8s.audit_report import NOTHING_LOOKED_UP, told

CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
BAD = {
    "name": "pillow",
    "version": "9.0.0",
    "vulns": [{"id": "CVE-2022-22817", "fix_versions": ["9.0.1"]}],
}
UNKNOWN = {"name": "ours", "skip_reason": "not found"}


def _report(*found: dict[str, object]) -> str:
    return json.dumps({"dependencies": found, "fixes": []})


def test_nothing_known_is_good() -> None:
    """A package that the index does not know does not hide those that it does."""
    assert told(_report(CLEAN, UNKNOWN)) == (0, ["1 of 2 packages audited, 0 findings"])


def test_a_finding_fails() -> None:
    """Package, identifier and remedy are named."""
    code, lines = told(_report(CLEAN, BAD))

    assert code == 1
    assert lines[0] == "pillow 9.0.0: CVE-2022-22817, fixed in 9.0.1"


def test_silence_is_not_taken_for_health() -> None:
    """No report, or one in which nothing was looked up, is neither good nor bad."""
    assert told("")[0] == NOTHING_LOOKED_UP
    assert told("half {")[0] == NOTHING_LOOKED_UP
    assert told(_report(UNKNOWN))[0] == NOTHING_LOOKED_UP
