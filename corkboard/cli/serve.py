"""`corkboard up` and `corkboard status`: the three services as processes, and how they are."""

import json
import queue
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from corkboard.cli.options import DEFAULT_DATA_ROOT, AsJson, DataRoot, ExitCode, Targets, connected
from corkboard.cli.output import in_bytes, notes, out, print_json, since_us
from corkboard.simulate import SIMULATED, is_simulated
from service_runtime.errors import CorkboardError

if TYPE_CHECKING:
    from corkboard.client import Client

POLL_SECONDS = 0.2
COLOURS = {"profile_service": "cyan", "candidate_service": "green", "ranking_service": "magenta"}
LEVEL_STYLES = {"warning": "yellow", "error": "red", "critical": "red", "debug": "dim"}
FIGURES = ("ndcg_at_10", "hand_tuned_ndcg_at_10", "auc")
LOG_KEYS_FIRST = ("time", "level", "event")
LOG_KEYS_LEFT_OUT = ("service", "component")

ProfilePort = Annotated[int, typer.Option(min=0, max=65535, help="Of profile_service; 0 = free.")]
CandidatePort = Annotated[int, typer.Option(min=0, max=65535, help="Of candidate_service.")]
RankingPort = Annotated[int, typer.Option(min=0, max=65535, help="Of ranking_service.")]


def up(
    context: typer.Context,
    data_root: DataRoot = DEFAULT_DATA_ROOT,
    profile_port: ProfilePort = 50051,
    candidate_port: CandidatePort = 50052,
    ranking_port: RankingPort = 50053,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SERVICE.FIELD=VALUE",
            help="A setting of one service, e.g. ranking_service.worker_count=2; repeatable.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the three services in the foreground until Ctrl-C.

    Prints a line for each service that serves and one when all do.  Their logs follow, merged, with
    the service's name in front (with --json: as the services write them).  If a service ends by
    itself, that is said with its exit code, the others are stopped, and the exit code is 1.

    Examples:
      corkboard up

      corkboard up --data-root /srv/corkboard --set ranking_service.worker_count=4
    """
    from corkboard.stack import Stack, StackFailed

    printer = LogPrinter(as_json=as_json)
    stack = Stack(
        data_root=data_root,
        ports={
            "profile_service": profile_port,
            "candidate_service": candidate_port,
            "ranking_service": ranking_port,
        },
        settings=parse_settings(settings or []),
        tls=context.obj.tls(),
        on_line=printer.line,
    )
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: _ask_to_stop(asked, received))
    try:
        stack.start()
    except StackFailed as error:
        notes.print(Text(str(error), style="red"))
        raise typer.Exit(ExitCode.FAILED) from error
    except _StopAsked:
        raise typer.Exit(ExitCode.DONE) from None
    signal.signal(signal.SIGINT, lambda received, _: asked.put(received))
    signal.signal(signal.SIGTERM, lambda received, _: asked.put(received))
    printer.all_ready(stack.targets)
    dead = _wait(stack.dead, asked)
    for service, code in dead.items():
        notes.print(Text(f"{service} ended by itself: {exit_in_words(code)}", style="red"))
    codes = stack.stop()
    if not as_json:
        words = ", ".join(f"{name} {exit_in_words(code)}" for name, code in codes.items())
        notes.print(f"[dim]stopped: {words}[/dim]")
    if dead or any(codes.values()):
        raise typer.Exit(ExitCode.FAILED)


def status(
    context: typer.Context,
    data_root: DataRoot = DEFAULT_DATA_ROOT,
    as_json: AsJson = False,
) -> None:
    """How the services are, what they answer from and how old it is.

    Looks at the running services and, for the artifacts, at the data root on this machine.
    The exit code is 4 if a service cannot be reached.

    Example:
      corkboard status --json | jq '.services[] | select(.health != "SERVING")'
    """
    with connected(context) as client:
        services = service_states(context.obj)
        sources = _asked(client, "catalogue")
        models = _asked(client, "models")
    artifacts = artifact_states(data_root)
    found = {
        "services": services,
        "catalogue": sources,
        "models": models,
        "data_root": str(data_root),
        "artifacts": artifacts,
        "warning": SIMULATED if is_simulated(data_root) else "",
    }
    if as_json:
        print_json(found)
    else:
        if found["warning"]:
            out.print(str(found["warning"]), style="bold", markup=False)
        _print_status(found)
    if any(service["health"] != "SERVING" for service in services):
        raise typer.Exit(ExitCode.UNREACHABLE)


class LogPrinter:
    """Merges what the services write into one readable stream."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def line(self, service: str, text: str) -> None:
        """One line of one service."""
        if self._as_json:
            print(text, flush=True)
            return
        fields = _log_fields(text)
        if fields.get("event") == "ready":
            out.print(f"[bold]{service}[/bold] ready on 127.0.0.1:{fields.get('port')}")
            return
        line = Text(f"{service:<18}│ ", style=COLOURS.get(service, ""))
        out.print(line + (_log_text(fields) if fields else Text(text)), soft_wrap=True)

    def all_ready(self, targets: Mapping[str, str]) -> None:
        """Say that all serve, and where."""
        if self._as_json:
            print(json.dumps({"event": "all_ready", **targets}), flush=True)
            return
        where = ", ".join(f"{name.removesuffix('_service')} {at}" for name, at in targets.items())
        out.print(f"[bold green]corkboard is up[/bold green]: {where} (Ctrl-C stops)")


class _StopAsked(Exception):  # noqa: N818  not an error
    """A signal came while the services were starting."""


def _ask_to_stop(asked: "queue.SimpleQueue[int]", number: int) -> None:
    """Unwind the start; the stack stops what runs."""
    asked.put(number)
    raise _StopAsked


def _wait(dead: object, asked: "queue.SimpleQueue[int]") -> dict[str, int]:
    """Wait for a signal or a death; the dead with their exit codes, {} after a signal."""
    assert callable(dead)
    while True:
        try:
            asked.get(timeout=POLL_SECONDS)
        except queue.Empty:
            if codes := dead():
                return dict(codes)
        else:
            return {}


def parse_settings(settings: list[str]) -> dict[str, list[str]]:
    """`SERVICE.FIELD=VALUE` strings by service.

    Raises:
        ValueError: One has another form or names no service.
    """
    from corkboard.stack import SERVICES

    by_service: dict[str, list[str]] = {}
    for setting in settings:
        service, dot, assignment = setting.partition(".")
        if not dot or "=" not in assignment or service not in SERVICES:
            wanted = "SERVICE.FIELD=VALUE with SERVICE one of " + ", ".join(SERVICES)
            raise ValueError(f"--set {setting} must be {wanted}")
        by_service.setdefault(service, []).append(assignment)
    return by_service


def exit_in_words(code: int) -> str:
    """`exit code 1`, or `killed by SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def service_states(targets: Targets) -> list[dict[str, str]]:
    """Name, target and health of each service."""
    from corkboard.health import check_health

    tls = targets.tls()
    named = {
        "profile_service": targets.profile,
        "candidate_service": targets.candidate,
        "ranking_service": targets.ranking,
    }
    return [
        {"service": name, "target": target, "health": check_health(target, tls=tls)}
        for name, target in named.items()
    ]


def artifact_states(data_root: Path) -> list[dict[str, object]]:
    """The current generation of every artifact on this machine, from its manifest."""
    from service_runtime.generations import GenerationStore

    store = GenerationStore(data_root / "generations")
    folders = sorted(store.root.iterdir()) if store.root.is_dir() else []
    states: list[dict[str, object]] = []
    for folder in folders:
        if not folder.is_dir() or not store.generations(folder.name):
            continue
        states.append(_artifact_state(store, folder.name))
    return states


def _artifact_state(store: object, artifact: str) -> dict[str, object]:
    from service_runtime.generations import GenerationStore

    assert isinstance(store, GenerationStore)
    try:
        current = store.current(artifact)
    except CorkboardError as error:
        return {"artifact": artifact, "generation": store.current_id(artifact), "fault": str(error)}
    if current is None:
        return {"artifact": artifact, "generation": None, "fault": "nothing is current"}
    manifest = current.manifest
    return {
        "artifact": artifact,
        "generation": current.id,
        "creation_time_us": manifest.creation_time_us,
        "as_of_us": manifest.as_of_us,
        "counts": dict(manifest.counts),
        "quality": dict(manifest.quality),
        "bytes": sum(entry.bytes for entry in manifest.files.values()),
        "kept": len(store.generations(artifact)),
        "fault": "",
    }


def _asked(client: "Client", question: str) -> object:
    """The answer of a client method without arguments, or None if it cannot be had."""
    try:
        return getattr(client, question)()
    except CorkboardError:
        return None


def _print_status(found: Mapping[str, object]) -> None:
    from corkboard.answers import Catalogue
    from corkboard.cli.tables import make_table

    services = make_table("Services", "service", "target", "health")
    for state in found["services"]:  # type: ignore[attr-defined]
        style = "green" if state["health"] == "SERVING" else "red"
        services.add_row(state["service"], state["target"], Text(state["health"], style=style))
    out.print(services)
    catalogue = found["catalogue"]
    if isinstance(catalogue, Catalogue):
        sources = make_table(
            f"Sources ({catalogue.pin_count:,} pins)", "source", "state", "#asked for"
        )
        for source in catalogue.sources:
            state = Text("ready", "green") if source.is_ready else Text(source.reason, "yellow")
            sources.add_row(source.source, state, str(source.candidate_count))
        out.print(sources)
    for model in found["models"] or ():  # type: ignore[attr-defined]
        if model.is_serving:
            shown = {name: model.quality[name] for name in FIGURES if name in model.quality}
            figures = ", ".join(f"{name} {value:.3f}" for name, value in shown.items())
            out.print(f"ranking by [bold]{model.model}[/bold] [dim]{figures}[/dim]")
        elif model.is_staged:
            figures = ", ".join(f"{name} {value:.3g}" for name, value in model.shadow.items())
            out.print(f"staged beside it: [bold]{model.model}[/bold] [dim]{figures}[/dim]")
    artifacts = make_table(
        f"Artifacts in {found['data_root']}",
        "artifact",
        "built",
        "knows until",
        "holds",
        "#size",
        "#kept",
    )
    for state in found["artifacts"]:  # type: ignore[attr-defined]
        if state["fault"]:
            artifacts.add_row(state["artifact"], Text("damaged", "red"), "", state["fault"], "", "")
            continue
        holds = " · ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in state["counts"].items())
        artifacts.add_row(
            state["artifact"],
            since_us(state["creation_time_us"]),
            since_us(state["as_of_us"]),
            Text(holds, style="dim"),
            in_bytes(state["bytes"]),
            str(state["kept"]),
        )
    out.print(artifacts)
    if not found["artifacts"]:
        notes.print(
            "[yellow]nothing is built yet: corkboard import FOLDER, then corkboard build[/yellow]"
        )


def _log_fields(text: str) -> dict[str, object]:
    """A JSON log line's fields; {} if it is none."""
    if not text.startswith("{"):
        return {}
    try:
        fields = json.loads(text)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _log_text(fields: Mapping[str, object]) -> Text:
    """Time, event and the rest as `key=value`."""
    moment = str(fields.get("time", ""))[11:19]
    style = LEVEL_STYLES.get(str(fields.get("level", "")), "")
    text = Text(f"{moment} ", style="dim") + Text(str(fields.get("event", "")), style=style)
    for key, value in fields.items():
        if key not in LOG_KEYS_FIRST and key not in LOG_KEYS_LEFT_OUT:
            text.append(f" {key}={value}", style="dim")
    return text
