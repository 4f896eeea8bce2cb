"""Answers as tables that are pleasant to read."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.style import StyleType
from rich.table import Table
from rich.text import Text

from corkboard import answers
from corkboard.cli.output import age_in_words, out, since
from corkboard.reasons import evidence_in_words, reason_in_words

BAR_WIDTH = 16
WIDE = 100


class DataTable(Table):
    """A table whose strings are data: what looks like markup in them is shown as it is."""

    def add_row(
        self,
        *cells: RenderableType | None,
        style: StyleType | None = None,
        end_section: bool = False,
    ) -> None:
        """Add a row; styled cells are handed over as `Text`."""
        shown = [Text(cell) if isinstance(cell, str) else cell for cell in cells]
        super().add_row(*shown, style=style, end_section=end_section)


def make_table(title: str, *columns: str, caption: str = "") -> DataTable:
    """An empty table in our look; a column named `#…` is right-aligned without the sign."""
    table = DataTable(
        title=Text(title) if title else None,
        title_justify="left",
        title_style="bold",
        caption=Text(caption) if caption else None,
        caption_justify="left",
        caption_style="dim",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        header_style="dim",
    )
    for column in columns:
        if column.startswith("#"):
            table.add_column(column[1:], justify="right", no_wrap=True)
        else:
            table.add_column(column, overflow="fold")
    return table


def recommendation_table(
    answer: answers.Recommendations,
    *,
    title: str,
    deeds: Mapping[str, str] | None = None,
    query_pin_id: str = "",
) -> RenderableType:
    """Pins with their reasons, then what else is to be known of the answer.

    Args:
        answer: As the client gave it.
        title: Stands above.
        deeds: What the user did to the pins behind answers (`reasons.strongest_deeds`).
        query_pin_id: The pin that the answer should go with; "" for the home feed.
    """
    table = pin_table(
        answer.pins,
        title=title,
        deeds=deeds,
        query_pin_id=query_pin_id,
    )
    return Group(table, *answer_notes(answer, is_related=bool(query_pin_id)))


def pin_table(
    pins: Sequence[answers.RecommendedPin],
    *,
    title: str,
    deeds: Mapping[str, str] | None = None,
    query_pin_id: str = "",
    page: int = 0,
) -> DataTable:
    """Pins with their reasons; a narrow terminal has no room for the sources' ranks.

    Args:
        pins: Best first.
        title: Stands above.
        deeds: As of `recommendation_table`.
        query_pin_id: As of `recommendation_table`.
        page: A line is left free after each so many pins; 0 = never.
    """
    is_wide = out.width >= WIDE
    evidence = ["proposed by, at rank"] if is_wide else []
    table = make_table(title, "#", "pin", "why", *evidence, "#score")
    for pin in pins:
        table.add_row(
            str(pin.position + 1),
            Text(pin.name, style="bold"),
            reason_in_words(pin, deeds=deeds, query_pin_id=query_pin_id),
            *([Text(evidence_in_words(pin), style="dim")] if is_wide else []),
            f"{pin.score:.3f}",
            end_section=bool(page) and (pin.position + 1) % page == 0,
        )
    return table


def answer_notes(answer: answers.Recommendations, *, is_related: bool = False) -> list[Text]:
    """What a reader should know of an answer: cold start, degraded parts, model, ages."""
    lines = []
    if not answer.pins:
        lines.append(Text("nothing to recommend", style="yellow"))
    if answer.is_cold_start and not is_related:
        lines.append(Text("cold start: made without anything known of a user", "yellow"))
    lines += [
        Text(f"degraded: {part.part}: {part.reason}", style="yellow")
        for part in answer.degradations
    ]
    facts = [f"model {answer.model}"] if answer.model else []
    facts.append(f"{answer.candidate_count:,} candidates")
    if answer.profile_age is not None:
        facts.append(f"profile {age_in_words(answer.profile_age)} old")
    facts.append(f"list {answer.list_id}")
    return [*lines, Text(" · ".join(facts), style="dim")]


def ranked_table(
    answer: answers.RankedPins,
    deeds: Mapping[str, str] | None = None,
) -> DataTable:
    """Given pins in order."""
    unknown = ", ".join(answer.unknown_pin_ids)
    caption = f"not in the catalogue: {unknown}" if unknown else ""
    table = make_table("", "#", "pin", "why", "#score", caption=caption)
    for pin in answer.pins:
        why = reason_in_words(pin, deeds=deeds)
        table.add_row(str(pin.position + 1), pin.name, why, f"{pin.score:.4f}")
    return table


def profile_table(
    profile: answers.Profile,
    *,
    limit: int = 0,
    beside: Mapping[str, Sequence[str]] | None = None,
) -> RenderableType:
    """The clusters of a user by title, with importance as a bar.

    Args:
        profile: As the client gave it.
        limit: How many clusters are shown; 0 = all.
        beside: For some medoids names of other pins of the user's that go with them.
    """
    total = sum(cluster.importance for cluster in profile.clusters) or 1.0
    largest = max((cluster.importance for cluster in profile.clusters), default=1.0) or 1.0
    shown = profile.clusters[: limit or None]
    width = BAR_WIDTH if out.width >= WIDE else BAR_WIDTH // 2
    table = make_table(
        f"{profile.user_id}: {len(profile.clusters)} interests",
        "#",
        "interest (medoid)",
        "importance",
        "#share",
        "#actions",
        "newest",
        "from",
    )
    for number, cluster in enumerate(shown, start=1):
        bar = "█" * max(1, round(width * cluster.importance / largest))
        table.add_row(
            str(number),
            Text(cluster.name, style="bold").append(
                "".join(f"\n{name}" for name in (beside or {}).get(cluster.medoid_pin_id, ())),
                style="not bold dim",
            ),
            Text(bar, style="cyan"),
            f"{cluster.importance / total:.0%}",
            str(cluster.action_count),
            since(cluster.newest_action_time),
            cluster.origin,
        )
    notes = _profile_notes(profile, len(shown))
    return Group(table, *notes) if shown else Group(*notes)


def _profile_notes(profile: answers.Profile, shown_count: int) -> list[Text]:
    lines = []
    if profile.is_cold_start:
        words = f"{profile.user_id}: cold start, nothing is known but, perhaps, declared pins"
        lines.append(Text(words, "yellow"))
    if shown_count < len(profile.clusters):
        rest = profile.clusters[shown_count:]
        lines.append(Text(f"and {len(rest)} smaller ones", style="dim"))
    facts = []
    if profile.batch_time is not None:
        facts.append(f"batch part knows actions up to {since(profile.batch_time)}")
    facts.append(f"{profile.online_action_count} actions since then")
    return [*lines, Text(" · ".join(facts), style="dim")]
