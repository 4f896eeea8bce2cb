"""Commands that ask the running services: recommend, related, profile, record and the like."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from corkboard.cli.hints import closest_pins
from corkboard.cli.options import DEFAULT_DATA_ROOT, AsJson, DataRoot, Limit, Seed, connected
from corkboard.cli.output import notes, out, print_json
from service_runtime.errors import CorkboardError, NotFound

if TYPE_CHECKING:
    from corkboard.answers import Pin
    from corkboard.client import Client

ACTIONS_FOR_REASONS = 10_000

UserId = Annotated[str, typer.Argument(metavar="USER", help="Id of a user.")]
PinId = Annotated[str, typer.Argument(metavar="PIN", help="Id of a pin.")]
Language = Annotated[str, typer.Option(help="Reader's language, for example ja.")]
Country = Annotated[str, typer.Option(help="Reader's country, for example JP.")]


def recommend(
    context: typer.Context,
    user_id: UserId,
    limit: Limit = 25,
    seed: Seed = 0,
    language: Language = "",
    country: Country = "",
    include_acted: Annotated[
        bool,
        typer.Option("--include-acted", help="Pins the user has acted on may come back."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What USER should see now, with reasons.

    A user nobody has heard of gets what is popular, marked as a cold start.

    Examples:
      corkboard recommend u1

      corkboard recommend u1 --limit 10 --json | jq '.pins[].title'
    """
    from corkboard.cli.tables import recommendation_table

    with connected(context) as client:
        answer = client.recommend(
            user_id,
            limit=limit,
            seed=seed,
            language=language,
            country=country,
            include_acted_pins=include_acted,
        )
        if as_json:
            print_json(answer)
            return
        deeds = _deeds(client, user_id)
    out.print(recommendation_table(answer, title=f"For {user_id}", deeds=deeds))
    if answer.is_cold_start:
        notes.print(
            f"teach it: corkboard record {user_id} PIN --type save, "
            f"or corkboard declare {user_id} PIN PIN …",
            style="dim",
            markup=False,
        )


def related(
    context: typer.Context,
    pin_id: PinId,
    user_id: Annotated[str, typer.Option("--user", help="For this user; default: for all.")] = "",
    limit: Limit = 25,
    seed: Seed = 0,
    data_root: DataRoot = DEFAULT_DATA_ROOT,
    as_json: AsJson = False,
) -> None:
    """What goes with PIN, for everybody or for one user.

    Examples:
      corkboard related m100

      corkboard related m100 --user u1 --limit 10
    """
    from corkboard.cli.tables import recommendation_table

    with connected(context) as client:
        try:
            answer = client.related(pin_id, user_id=user_id, limit=limit, seed=seed)
        except NotFound as error:
            raise NotFound(error.message, hint=closest_pins(data_root, pin_id)) from error
        if as_json:
            print_json(answer)
            return
        deeds = _deeds(client, user_id) if user_id else {}
        name = client.titles([pin_id]).get(pin_id, pin_id)
    title = f"With {name}" + (f", for {user_id}" if user_id else "")
    out.print(recommendation_table(answer, title=title, deeds=deeds, query_pin_id=pin_id))


def rank(
    context: typer.Context,
    user_id: UserId,
    pin_ids: Annotated[list[str], typer.Argument(metavar="PIN", help="Pins to put in order.")],
    query_pin_id: Annotated[str, typer.Option("--with", help="A pin they should go with.")] = "",
    as_json: AsJson = False,
) -> None:
    """Put given PINs into the order that USER should see them in.

    Example:
      corkboard rank u1 m50 m100 m181
    """
    from corkboard.cli.tables import ranked_table

    with connected(context) as client:
        answer = client.rank(pin_ids, user_id=user_id, query_pin_id=query_pin_id)
        if as_json:
            print_json(answer)
            return
        deeds = _deeds(client, user_id)
    out.print(ranked_table(answer, deeds))


def profile(
    context: typer.Context,
    user_id: UserId,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 20,
    as_json: AsJson = False,
) -> None:
    """The interests of USER: clusters of their actions, most important first.

    Example:
      corkboard profile u1
    """
    from corkboard.cli.tables import profile_table

    with connected(context) as client:
        found = client.profile(user_id)
    if as_json:
        print_json(found)
        return
    out.print(profile_table(found, limit=limit))
    if found.is_cold_start:
        notes.print(
            "[dim]nobody of that id has acted within the window; ids are case-sensitive[/dim]",
        )


def record(
    context: typer.Context,
    user_id: UserId,
    pin_id: PinId,
    action_type: Annotated[
        str,
        typer.Option("--type", "-t", help="save, click, long_click, close_up, like, hide, …"),
    ] = "save",
    board_id: Annotated[str, typer.Option("--board", help="The board of a save.")] = "",
    list_id: Annotated[str, typer.Option("--list", help="The answer that showed the pin.")] = "",
    action_id: Annotated[
        str,
        typer.Option("--id", help="Id of the action; the same id is counted once."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Record that USER did something to PIN just now; durable when the command ends.

    Examples:
      corkboard record u1 m242

      corkboard record u1 m50 --type hide
    """
    with connected(context) as client:
        recorded = client.record(
            user_id,
            pin_id,
            action_type,
            action_id=action_id,
            board_id=board_id,
            list_id=list_id,
        )
        if as_json:
            print_json(recorded)
            return
        known = _pin_or_none(client, pin_id)
    name = known.name if known is not None else pin_id
    out.print(f"{recorded.code}: {user_id} {action_type}", Text(name, "bold"), markup=False)
    if known is not None and not known.is_known:
        notes.print(
            f"the catalogue does not know {pin_id}; the action is kept and counts once the pin is "
            "imported and built",
            style="yellow",
            markup=False,
        )


def declare(
    context: typer.Context,
    user_id: UserId,
    pin_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="PIN", help="Up to 100; none takes earlier picks back."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Store the interests that USER picked, for example at sign-up; replaces earlier picks.

    Example:
      corkboard declare new-user m50 m100 m172
    """
    chosen = pin_ids or []
    with connected(context) as client:
        client.declare(user_id, chosen)
    if as_json:
        print_json({"user_id": user_id, "pin_ids": chosen})
    elif chosen:
        out.print(f"{user_id} picked {len(chosen)}: corkboard profile {user_id}", markup=False)
    else:
        out.print(f"the picks of {user_id} are taken back", markup=False)


def erase(
    context: typer.Context,
    user_id: UserId,
    is_sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget USER and print the receipt, which names every store that may know them.

    Example:
      corkboard erase u1 --yes
    """
    from corkboard.cli.tables import make_table

    if not is_sure:
        typer.confirm(f"Forget everything about {user_id}?", abort=True, err=True)
    with connected(context) as client:
        receipt = client.erase(user_id)
    if as_json:
        print_json(receipt)
        return
    table = make_table(f"Receipt {receipt.receipt_id}", "store", "state", "#records", "detail")
    for store in receipt.stores:
        table.add_row(store.store, store.state, f"{store.record_count:,}", store.detail)
    out.print(table)


def _deeds(client: "Client", user_id: str) -> dict[str, str]:
    """What the user did, to word reasons by; {} if profile_service cannot be asked."""
    from corkboard.reasons import strongest_deeds

    try:
        return strongest_deeds(client.actions(user_id, limit=ACTIONS_FOR_REASONS))
    except CorkboardError:
        return {}


def _pin_or_none(client: "Client", pin_id: str) -> "Pin | None":
    """The catalogue's entry; None if candidate_service cannot be asked."""
    try:
        return client.pins([pin_id])[0]
    except CorkboardError:
        return None
