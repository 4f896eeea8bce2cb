"""An artifact whose content is a number: published again and again, followed, killed in between.

`python -m tests.fault.numbered publish ROOT FIRST` publishes FIRST, FIRST + 1, ... and prints each
number once it is published; `... follow ROOT` prints every number that it comes to serve.
"""

import sys
import time
from itertools import count
from pathlib import Path

from service_runtime.generations import Generation, GenerationStore, Live

ARTIFACT = "numbered"
FORMAT_VERSION = 1
FILE_COUNT = 3
FILE_BYTES = 40_000


def content_of(number: int, file: int) -> bytes:
    """What a file of a generation holds."""
    return f"{number} {file};".encode().ljust(16, b".") * (FILE_BYTES // 16)


def publish(store: GenerationStore, number: int) -> None:
    """Publish a number."""
    with store.draft(ARTIFACT, format_version=FORMAT_VERSION) as draft:
        for file in range(FILE_COUNT):
            draft.path(f"part/{file}").write_bytes(content_of(number, file))
        draft.publish(as_of_us=number, details={"number": number})


def open_number(generation: Generation) -> int:
    """Return the number of a generation; every byte of its files must belong to it."""
    number = int(generation.manifest.details["number"])
    for file in range(FILE_COUNT):
        assert generation.file(f"part/{file}").read_bytes() == content_of(number, file)
    return number


def main() -> None:
    """Publish or follow until killed."""
    store = GenerationStore(Path(sys.argv[2]))
    if sys.argv[1] == "publish":
        for number in count(int(sys.argv[3])):
            publish(store, number)
            print(number, flush=True)  # noqa: T201  the acknowledgement
    live = Live(store, ARTIFACT, FORMAT_VERSION, open_number)
    print(live.get(), flush=True)  # noqa: T201
    while True:
        if live.poll():
            print(live.get(), flush=True)  # noqa: T201
        time.sleep(0.002)


if __name__ == "__main__":
    main()
