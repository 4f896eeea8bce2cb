"""What pip-audit found, in sentences and an exit code.

    python -m tests.k8s.audit_report REPORT

Exit code 0: nothing known; 1: something is; 3: not one package could be looked up.
"""

import json
import sys
from pathlib import Path
from typing import Any

NOTHING_LOOKED_UP = 3


def told(report: str) -> tuple[int, list[str]]:
    """Exit code and lines for a report in pip-audit's JSON; "" = there is none."""
    try:
        found: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        return NOTHING_LOOKED_UP, ["the package index could not be asked: nothing was audited"]
    audited = [one for one in found if "skip_reason" not in one]
    if not audited:
        reason = found[0]["skip_reason"] if found else "no packages"
        return NOTHING_LOOKED_UP, [f"nothing could be audited: {reason}"]
    lines = [
        f"{one['name']} {one['version']}: {vulnerability['id']}, "
        f"fixed in {', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for one in audited
        for vulnerability in one["vulns"]
    ]
    lines.append(f"{len(audited)} of {len(found)} packages audited, {len(lines)} findings")
    return (1 if len(lines) > 1 else 0), lines


def main(path: Path) -> int:
    """Print them."""
    code, lines = told(path.read_text() if path.exists() else "")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
