"""Options that several commands share, each written once, and the exit codes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from corkboard.client import Client
    from service_runtime.tls import TlsFiles

DEFAULT_DATA_ROOT = Path("corkboard-data")


class ExitCode(IntEnum):
    """What a command's exit code means; `corkboard --help` says the same."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNREACHABLE = 4


EXIT_CODES = (
    "Exit codes: 0 done · 1 a job or service failed · 2 wrong usage, settings or data · "
    "3 what was named does not exist · 4 a service cannot be reached or was too slow"
)

DataRoot = Annotated[
    Path,
    typer.Option(
        "--data-root",
        envvar="CORKBOARD_DATA_ROOT",
        help="Folder of logs, catalogue, live state and generations.",
        file_okay=False,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print JSON for machines instead of a table."),
]
Limit = Annotated[
    int,
    typer.Option("--limit", "-n", min=1, max=500, help="How many pins at the most."),
]
Seed = Annotated[
    int,
    typer.Option(min=0, help="The same seed, data and generations give the same answer; 0 = any."),
]
CacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        envvar="CORKBOARD_CACHE_FOLDER",
        help="Where downloaded data sets are kept; default ~/.cache/corkboard.",
        file_okay=False,
    ),
]
ArchiveFolder = Annotated[
    Path | None,
    typer.Option(
        "--archive",
        help="An unpacked ml-100k folder of GroupLens, instead of downloading.",
        file_okay=False,
        exists=True,
    ),
]


def _letting_in(name: str, text: str) -> Any:
    """An option of `corkboard` that names a file which a service asks to see."""
    variable = f"CORKBOARD_CLIENT_{name.upper().replace('-', '_')}"
    return typer.Option(f"--{name}", envvar=variable, help=text, dir_okay=False, exists=True)


CaFile = Annotated[
    Path | None, _letting_in("ca-file", "Who signed the services' certificates; given: use TLS.")
]
CertificateFile = Annotated[
    Path | None, _letting_in("certificate-file", "Our certificate, for mutual TLS.")
]
KeyFile = Annotated[Path | None, _letting_in("key-file", "Its private key.")]
TokenFile = Annotated[Path | None, _letting_in("token-file", "A token to show with every call.")]


@dataclass(frozen=True, slots=True)
class Targets:
    """Where the services are, and what they ask to see; set by options of `corkboard` itself."""

    profile: str
    candidate: str
    ranking: str
    deadline_s: float
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    token_file: Path | None = None

    def tls(self) -> "TlsFiles | None":
        """Certificates of our channels; None = plain."""
        from service_runtime.tls import TlsFiles

        if self.ca_file is None:
            return None
        return TlsFiles(self.certificate_file, self.key_file, self.ca_file)


@contextmanager
def connected(context: typer.Context) -> Iterator["Client"]:
    """A client of the services that the command line names."""
    from corkboard.client import Client

    targets: Targets = context.obj
    with Client(
        profile=targets.profile,
        candidate=targets.candidate,
        ranking=targets.ranking,
        deadline_s=targets.deadline_s,
        tls=targets.tls(),
        token_file=targets.token_file,
    ) as client:
        yield client


def cache_folder(given: Path | None) -> Path:
    """The cache folder: the one given, or the user's."""
    return given or Path.home() / ".cache" / "corkboard"
