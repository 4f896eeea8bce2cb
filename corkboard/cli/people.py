"""Commands about one user: adjust an interest, describe, merge, check an erasure."""

from enum import StrEnum
from typing import Annotated

import typer

from corkboard.cli.options import AsJson, ExitCode, connected
from corkboard.cli.output import out, print_json, since

UserId = Annotated[str, typer.Argument(metavar="USER", help="Id of a user.")]


class Adjustment(StrEnum):
    """What can be done to an interest."""

    MUTE = "mute"
    BOOST = "boost"
    FORGET = "forget"
    RESET = "reset"


def adjust(
    context: typer.Context,
    user_id: UserId,
    medoid_pin_id: Annotated[str, typer.Argument(metavar="PIN", help="The interest's medoid.")],
    adjustment: Annotated[Adjustment, typer.Argument(help="reset takes it back.")],
    as_json: AsJson = False,
) -> None:
    """Mute, boost or forget one interest of USER; the next answer knows it.

    Example:
      corkboard adjust u1 m50 mute
    """
    with connected(context) as client:
        client.adjust_interest(user_id, medoid_pin_id, adjustment.value)
    if as_json:
        print_json({"user_id": user_id, "medoid": medoid_pin_id, "adjustment": adjustment})
    else:
        out.print(f"{adjustment.value}: {medoid_pin_id} of {user_id}", markup=False)


def describe(
    context: typer.Context,
    user_id: UserId,
    language: Annotated[str, typer.Option(help="For example ja.")] = "",
    country: Annotated[str, typer.Option(help="For example JP.")] = "",
    segment: Annotated[str, typer.Option(help="A segment of your configuration.")] = "",
    as_json: AsJson = False,
) -> None:
    """Store what is known of USER beside their actions; what is not named is emptied.

    Example:
      corkboard describe u1 --language ja --country JP
    """
    with connected(context) as client:
        client.update_user(user_id, language=language, country=country, segment=segment)
    stored = {"user_id": user_id, "language": language, "country": country, "segment": segment}
    if as_json:
        print_json(stored)
    else:
        out.print(f"{user_id}: " + (" ".join(filter(None, list(stored.values())[1:])) or "nothing"))


def merge(
    context: typer.Context,
    source_user_id: Annotated[str, typer.Argument(metavar="FROM", help="Who ends.")],
    target_user_id: Annotated[str, typer.Argument(metavar="INTO", help="Who goes on.")],
    as_json: AsJson = False,
) -> None:
    """Move everything of one user to another, for example of a visitor who signs in.

    Example:
      corkboard merge visitor-77 ana
    """
    with connected(context) as client:
        moved = client.merge_users(source_user_id, target_user_id)
    if as_json:
        print_json(moved)
    else:
        words = f"{moved.action_count:,} actions and {moved.declared_pin_count} picks"
        out.print(f"{words} of {source_user_id} are {target_user_id}'s now", markup=False)


def erasure(context: typer.Context, user_id: UserId, as_json: AsJson = False) -> None:
    """Check that an erasure of USER holds: every store is asked anew; code 1 if one knows them.

    Example:
      corkboard erasure u1
    """
    from corkboard.cli.tables import make_table

    with connected(context) as client:
        found = client.erasure(user_id)
    if as_json:
        print_json(found)
    else:
        title = f"erased {since(found.erase_time)}" if found.is_erased else "not erased everywhere"
        table = make_table(title, "store", "state", "#records", "detail")
        for store in found.stores:
            table.add_row(store.store, store.state, f"{store.record_count:,}", store.detail)
        out.print(table)
    if not found.is_erased:
        raise typer.Exit(ExitCode.FAILED)
