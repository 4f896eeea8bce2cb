"""Copy the live action log as it is at one moment, while the service goes on; for backups."""

import argparse
import json
import sys
from pathlib import Path

from profile_service.live_copy import copy_live
from service_runtime.errors import CorkboardError


def main() -> None:
    """Run the job as a process; its last word is a JSON report on stdout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the live log")
    parser.add_argument("--to", type=Path, required=True, help="empty folder for the copy")
    options = parser.parse_args()
    try:
        is_copied = copy_live(options.data_root, options.to)
    except CorkboardError as error:
        print(f"copy_live: {error}", file=sys.stderr)
        sys.exit(1)
    print(json.dumps({"job": "copy_live", "is_copied": is_copied}))


if __name__ == "__main__":
    main()
