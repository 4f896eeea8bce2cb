"""Commands that change and search the catalogue: pins, saves, search, boards, sources."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from corkboard.cli.options import AsJson, ExitCode, Limit, Seed, connected
from corkboard.cli.output import notes, out, print_json, since
from corkboard.cli.records import parse_moment, parse_pairs, read_records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corkboard.answers import WrittenItem

SHOWN_MAX = 20
FAULTS = ("invalid", "unknown")

pins = typer.Typer(help="Add, change, remove and show single pins, live.", no_args_is_help=True)
saves = typer.Typer(help="Add saves and take them back, live.", no_args_is_help=True)

Language = Annotated[str, typer.Option(help="Reader's language, for example ja.")]
Country = Annotated[str, typer.Option(help="Reader's country, for example JP.")]
RecordFile = Annotated[
    Path | None,
    typer.Option("--file", "-f", help="One JSON object a line instead of options; - = stdin."),
]
Partial = Annotated[
    bool,
    typer.Option("--skip-bad", help="Take the good ones where some are wrong."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only check, change nothing.")]
Filter = Annotated[
    str,
    typer.Option("--filter", help="Which pins, for example 'language = \"ja\"'; docs/filters.md."),
]


@pins.command("upsert")
def upsert_pin(
    context: typer.Context,
    pin_id: Annotated[str, typer.Argument(metavar="PIN", help="Id; none with --file.")] = "",
    title: Annotated[str | None, typer.Option()] = None,
    description: Annotated[str | None, typer.Option()] = None,
    topics: Annotated[list[str] | None, typer.Option("--topic", help="May be repeated.")] = None,
    language: Annotated[str | None, typer.Option(help="For example ja.")] = None,
    country: Annotated[str | None, typer.Option(help="For example JP.")] = None,
    owner_id: Annotated[str | None, typer.Option("--owner")] = None,
    image_url: Annotated[str | None, typer.Option()] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="Its picture; hashed for near-duplicates, not kept.", exists=True),
    ] = None,
    attributes: Annotated[
        list[str] | None,
        typer.Option("--attribute", help="key=value, for filters; may be repeated."),
    ] = None,
    quality: Annotated[float | None, typer.Option(min=0, max=1)] = None,
    is_hidden: Annotated[bool | None, typer.Option("--hidden/--shown")] = None,
    expires: Annotated[str | None, typer.Option(help="From when on it is not shown.")] = None,
    is_replaced: Annotated[
        bool, typer.Option("--replace", help="Empty the fields that are not named.")
    ] = False,
    file: RecordFile = None,
    skip_bad: Partial = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Add a pin, or change the named fields of one; it can be in answers a second later.

    Examples:
      corkboard pins upsert cake-1 --title "Lemon cake" --topic baking --language en

      corkboard pins upsert cake-1 --hidden

      corkboard pins upsert --file new-pins.jsonl --skip-bad
    """
    from corkboard.questions import PinRecord

    given = {
        "title": title,
        "description": description,
        "topics": topics,
        "language": language,
        "country": country,
        "owner_id": owner_id,
        "image_url": image_url,
        "image_bytes": image.read_bytes() if image else None,
        "attributes": parse_pairs(attributes, option="--attribute") or None,
        "quality": quality,
        "is_hidden": is_hidden,
        "expiration_time": parse_moment(expires or "", option="--expires"),
    }
    named = {name: value for name, value in given.items() if value is not None}
    _check_one_source(pin_id, file, argument="PIN")
    if not named and not file and not is_replaced:
        raise typer.BadParameter("name a field to change, or --replace to empty them all")
    batches = read_records(file, PinRecord) if file else [[PinRecord(pin_id, **named)]]  # type: ignore[arg-type]
    fields = [] if file or is_replaced else list(named)
    written: list[WrittenItem] = []
    with connected(context) as client:
        for batch in batches:
            written += client.upsert_pins(
                batch, fields=fields, allow_partial=skip_bad, validate_only=dry_run
            )
    _print_written(written, "pin", as_json=as_json, is_dry=dry_run)


@pins.command("delete")
def delete_pins(
    context: typer.Context,
    pin_ids: Annotated[list[str], typer.Argument(metavar="PIN…")],
    as_json: AsJson = False,
) -> None:
    """Remove pins: they vanish from every answer at once; their saves still teach.

    Example:
      corkboard pins delete cake-1 cake-2
    """
    with connected(context) as client:
        _print_written(client.delete_pins(pin_ids), "pin", as_json=as_json)


@pins.command("get")
def get_pins(
    context: typer.Context,
    pin_ids: Annotated[list[str], typer.Argument(metavar="PIN…")],
    as_json: AsJson = False,
) -> None:
    """What the catalogue knows of pins, live changes included.

    Example:
      corkboard pins get cake-1
    """
    from corkboard.cli.tables import make_table

    with connected(context) as client:
        found = client.pins(pin_ids)
    if as_json:
        print_json(found)
    for pin in () if as_json else found:
        table = make_table(pin.name, "field", "value")
        facts = {
            "id": pin.pin_id,
            "description": pin.description,
            "topics": ", ".join(pin.topics),
            "locale": " ".join(filter(None, (pin.language, pin.country))),
            "owner": pin.owner_id,
            "picture": pin.image_url,
            "made": since(pin.creation_time),
            "attributes": ", ".join(f"{key}={value}" for key, value in pin.attributes.items()),
            "quality": "" if pin.quality is None else f"{pin.quality:.2f}",
            "picture hash": "" if pin.image_hash is None else f"{pin.image_hash:016x}",
            "state": _state_in_words(pin.is_known, is_hidden=pin.is_hidden, is_live=pin.is_live),
        }
        for name, value in facts.items():
            if value:
                table.add_row(name, Text(value))
        out.print(table)
    if not all(pin.is_known for pin in found):
        raise typer.Exit(ExitCode.NOT_FOUND)


@saves.command("upsert")
def upsert_save(
    context: typer.Context,
    pin_id: Annotated[str, typer.Argument(metavar="PIN", help="Id; none with --file.")] = "",
    board_id: Annotated[str, typer.Option("--board", help="Default: the user's own.")] = "",
    user_id: Annotated[str, typer.Option("--user", help="May be left out with a board.")] = "",
    save_id: Annotated[str, typer.Option("--id", help="The same id is counted once.")] = "",
    board_title: Annotated[str, typer.Option(help="Title of the board.")] = "",
    time: Annotated[str, typer.Option(help="When; default: now.")] = "",
    file: RecordFile = None,
    skip_bad: Partial = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Put a pin onto a board; walks go over it a second later.

    What a user did is told by `corkboard record`; this is the catalogue's side of a save.

    Examples:
      corkboard saves upsert cake-1 --board baking --user ana

      corkboard saves upsert --file saves.jsonl
    """
    from corkboard.questions import SaveRecord

    _check_one_source(pin_id, file, argument="PIN")
    moment = parse_moment(time, option="--time")
    one = SaveRecord(pin_id, board_id, user_id, save_id, moment, board_title)
    written: list[WrittenItem] = []
    with connected(context) as client:
        for batch in read_records(file, SaveRecord) if file else [[one]]:
            written += client.upsert_saves(batch, allow_partial=skip_bad, validate_only=dry_run)
    _print_written(written, "save", as_json=as_json, is_dry=dry_run)


@saves.command("delete")
def delete_saves(
    context: typer.Context,
    save_ids: Annotated[list[str], typer.Argument(metavar="SAVE…", help="Ids of saves.")],
    as_json: AsJson = False,
) -> None:
    """Take saves back.

    Example:
      corkboard saves delete 5d1f0c7e
    """
    with connected(context) as client:
        _print_written(client.delete_saves(save_ids), "save", as_json=as_json)


def search(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="WORD…", help="What to look for.")],
    limit: Limit = 25,
    language: Language = "",
    country: Country = "",
    expression: Filter = "",
    as_json: AsJson = False,
) -> None:
    """Find pins by words of their title, description, topics and boards.

    Examples:
      corkboard search lemon cake

      corkboard search kuchen --filter 'language = "de"'
    """
    from corkboard.cli.tables import make_table
    from corkboard.questions import PinFilter

    with connected(context) as client:
        found = client.search(
            " ".join(words),
            limit=limit,
            language=language,
            country=country,
            pin_filter=PinFilter(expression),
        )
    if as_json:
        print_json(found)
        return
    table = make_table("", "#", "pin", "id", "#score")
    for number, pin in enumerate(found.pins, start=1):
        table.add_row(str(number), Text(pin.name, "bold"), pin.pin_id, f"{pin.score:.3f}")
    out.print(table)
    if not found.pins:
        notes.print("nothing found", style="yellow")


def boards(
    context: typer.Context,
    pin_ids: Annotated[list[str] | None, typer.Argument(metavar="PIN…")] = None,
    user_id: Annotated[str, typer.Option("--user", help="Start from this user's interests.")] = "",
    limit: Limit = 10,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Boards that go with pins, or with the interests of a user.

    Examples:
      corkboard boards m100 m172

      corkboard boards --user u1
    """
    from corkboard.cli.tables import make_table
    from corkboard.questions import QueryPin

    if not pin_ids and not user_id:
        raise typer.BadParameter("name a pin or --user")
    with connected(context) as client:
        clusters = client.profile(user_id, with_titles=False).clusters if user_id else ()
        medoids = [QueryPin(c.medoid_pin_id, c.importance) for c in clusters if c.importance > 0]
        found = client.boards(
            [QueryPin(pin_id) for pin_id in pin_ids or ()],
            medoids=medoids,
            limit=limit,
            seed=seed,
        )
        titles = client.titles(pin_id for board in found.boards for pin_id in board.pin_ids)
    if as_json:
        print_json(found)
        return
    table = make_table("", "#", "board", "#pins", "for example", "#score")
    for number, board in enumerate(found.boards, start=1):
        some = ", ".join(titles.get(pin_id, pin_id) for pin_id in board.pin_ids[:3])
        name = Text(board.name, "bold")
        table.add_row(str(number), name, f"{board.pin_count:,}", some, f"{board.score:.4f}")
    out.print(table)


def sources(context: typer.Context, as_json: AsJson = False) -> None:
    """The candidate sources: health, size, age, how often they were late, what they recall.

    Example:
      corkboard sources
    """
    from corkboard.cli.tables import make_table

    with connected(context) as client:
        found = client.catalogue()
    if as_json:
        print_json(found)
        return
    title = f"{found.pin_count:,} pins, {found.live_change_count:,} live changes since"
    columns = ("#asked for", "#pins", "knows until", "#answers", "#late", "#failed")
    table = make_table(title, "source", "state", *columns, "#cache", "#recall")
    for source in found.sources:
        table.add_row(
            source.source,
            Text("ready", "green") if source.is_ready else Text(source.reason, "yellow"),
            str(source.candidate_count),
            f"{source.pin_count:,}",
            since(source.as_of_time),
            f"{source.answer_count:,}",
            f"{source.late_count:,}",
            f"{source.failure_count:,}",
            f"{source.cache_hit_ratio:.0%}" if source.cache_hit_ratio else "",
            "" if source.sampled_recall is None else f"{source.sampled_recall:.3f}",
        )
    out.print(table)


def _check_one_source(argument_given: str, file: Path | None, *, argument: str) -> None:
    if bool(argument_given) == bool(file):
        raise typer.BadParameter(f"give either {argument} or --file")


def _state_in_words(is_known: bool, *, is_hidden: bool, is_live: bool) -> str:
    if not is_known:
        return "not in the catalogue"
    words = ["hidden"] if is_hidden else []
    words += ["younger than the catalogue's generation"] if is_live else []
    return ", ".join(words)


def _print_written(
    written: "Sequence[WrittenItem]", noun: str, *, as_json: bool, is_dry: bool = False
) -> None:
    """What became of items; exit code 2 if one was refused, 3 if one was unknown."""
    if as_json:
        print_json(written)
    else:
        counts: dict[str, int] = {}
        for item in written:
            counts[item.code] = counts.get(item.code, 0) + 1
        summary = ", ".join(f"{count:,} {code}" for code, count in counts.items())
        what = noun if len(written) == 1 else f"{noun}s"
        out.print(f"{len(written):,} {what}: {summary}" + (" (dry run)" if is_dry else ""))
        if noun == "save" and len(written) == 1:
            out.print(f"id {written[0].item_id}", style="dim", markup=False)
        for item in [item for item in written if item.code in FAULTS][:SHOWN_MAX]:
            why = f": {item.field} {item.reason}" if item.reason else ""
            notes.print(f"{item.code}: {item.item_id}{why}", style="yellow", markup=False)
    codes = {item.code for item in written}
    if "invalid" in codes:
        raise typer.Exit(ExitCode.USAGE)
    if "unknown" in codes:
        raise typer.Exit(ExitCode.NOT_FOUND)
