"""What the demo asks and shows: a person, their feed, a pin's relatives, an action's effect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from corkboard.answers import Recommendations
from corkboard.cli.output import out
from corkboard.cli.tables import (
    answer_notes,
    make_table,
    pin_table,
    profile_table,
    recommendation_table,
)
from corkboard.client import Client
from corkboard.reasons import reason_in_words, shortened, strongest_deeds

PAGE = 10
PAGES = 3
SEED = 1
CLUSTERS_SHOWN = 10
RELATED_SHOWN = 10
RELATED_ASKED = 200
BESIDE_SHOWN = 2


@dataclass(frozen=True, slots=True)
class Story:
    """Whom and what the demo asks about.

    Attributes:
        user_id: Somebody with several distinct interests.
        query_pin_id: A pin that most people know, for related pins.
        saved_pin_id: What the user saves at the end: something new to them.
    """

    user_id: str
    query_pin_id: str
    saved_pin_id: str


STORIES = {
    "movielens": Story("u421", "m100", "m71"),
    "openmoji": Story("scripted-007", "1F63A", "1F370"),
    "tiny": Story("ana", "typography-2", "aquariums-4"),
}


def tell(client: Client, world_name: str) -> None:
    """Ask everything that the demo shows and print it."""
    story = STORIES[world_name]
    user_id = story.user_id
    deeds = strongest_deeds(client.actions(user_id, limit=10_000))
    profile = client.profile(user_id)
    beside = pins_beside(
        client, [c.medoid_pin_id for c in profile.clusters[:CLUSTERS_SHOWN]], deeds
    )
    out.print(profile_table(profile, limit=CLUSTERS_SHOWN, beside=beside))
    before = client.recommend(user_id, limit=PAGE * PAGES, seed=SEED)
    title = f"Home feed of {user_id}: {PAGES} pages of {PAGE}"
    out.print(pin_table(before.pins, title=title, deeds=deeds, page=PAGE))
    out.print(*answer_notes(before), sep="\n")
    _tell_related(client, story)
    _tell_change(client, story, before)


def pins_beside(
    client: Client,
    medoid_pin_ids: Sequence[str],
    deeds: Mapping[str, str],
) -> dict[str, list[str]]:
    """For each medoid names of other pins that the user acted on and that go with it.

    Asked as anybody can ask: the pins related to the medoid, nearest vectors first, as far as the
    user acted on them.  Each pin stands beside one medoid only.
    """
    found = []
    for medoid in medoid_pin_ids:
        for pin in client.related(medoid, limit=RELATED_ASKED).pins:
            near = [source.rank for source in pin.sources if source.source == "ann"]
            if near and pin.pin_id in deeds and pin.pin_id not in medoid_pin_ids:
                found.append((near[0], medoid, pin.pin_id, pin.name))
    beside: dict[str, list[str]] = {}
    taken: set[str] = set()
    for _, medoid, pin_id, name in sorted(found):
        if pin_id not in taken and len(beside.setdefault(medoid, [])) < BESIDE_SHOWN:
            beside[medoid].append(shortened(name))
            taken.add(pin_id)
    return beside


def _tell_related(client: Client, story: Story) -> None:
    answer = client.related(story.query_pin_id, limit=RELATED_SHOWN, seed=SEED)
    name = client.titles([story.query_pin_id]).get(story.query_pin_id, story.query_pin_id)
    out.print(
        recommendation_table(
            answer,
            title=f"What goes with {name}",
            query_pin_id=story.query_pin_id,
        ),
    )


def _tell_change(client: Client, story: Story, before: Recommendations) -> None:
    """Record one save and show what it changes, with the same seed."""
    name = client.titles([story.saved_pin_id]).get(story.saved_pin_id, story.saved_pin_id)
    recorded = client.record(story.user_id, story.saved_pin_id, "save", list_id=before.list_id)
    out.print(f"\n{story.user_id} now saves", Text(name, "bold"), f"({recorded.code})")
    after = client.recommend(story.user_id, limit=PAGE * PAGES, seed=SEED)
    deeds = strongest_deeds(client.actions(story.user_id, limit=10_000))
    out.print(change_table(before, after, deeds))
    new = set(after.pin_ids) - set(before.pin_ids)
    because = sum(pin.because_pin_id == story.saved_pin_id for pin in after.pins)
    out.print(
        f"{len(new)} of {len(after.pins)} pins are new, {because} of them because of {name} "
        "(same seed before and after: nothing but the action changed)",
        markup=False,
    )


def change_table(
    before: Recommendations,
    after: Recommendations,
    deeds: dict[str, str] | None = None,
) -> Table:
    """The first page after an action beside where its pins were before."""
    was = {pin.pin_id: pin.position for pin in before.pins}
    table = make_table("The next answer", "#", "#before", "pin", "why")
    for pin in after.pins[:PAGE]:
        position = was.get(pin.pin_id)
        is_new = position is None
        table.add_row(
            str(pin.position + 1),
            "new" if position is None else str(position + 1),
            Text(pin.name, style="bold green" if is_new else "bold"),
            reason_in_words(pin, deeds=deeds),
            style="green" if is_new else "",
        )
    return table
