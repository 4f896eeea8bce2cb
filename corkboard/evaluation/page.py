"""One HTML page that needs nothing else: tables, plots and the sentences that explain them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service_runtime.errors import InvalidRequest

TEMPLATE = "page.html.j2"


@dataclass(frozen=True, slots=True)
class Table:
    """A table; cells are text, numbers already written out.

    Attributes:
        columns: Heads; the first one names the rows.
        rows: One text a column each.
        strong: Names of the rows to stand out.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page.

    Attributes:
        title: Stands above it.
        text: A sentence or two that say how to read it.
        tables: One below the other.
        plots: SVG elements.
    """

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    plots: Sequence[str] = ()


def render(
    title: str, facts: dict[str, str], sections: Sequence[Section], *, notes: Sequence[str] = ()
) -> str:
    """A page as text.

    Args:
        title: Of the page.
        facts: What was measured, by name, for the head.
        sections: In their order.
        notes: What makes the figures less sure.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template(TEMPLATE)
    return template.render(title=title, facts=facts, sections=sections, notes=notes)


def write(path: Path, text: str) -> None:
    """Write a page.

    Raises:
        InvalidRequest: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be written: {error}") from error


def number(value: float, digits: int = 4) -> str:
    """A figure for a cell; a dash where there is none."""
    return "–" if value != value else f"{value:.{digits}f}"  # noqa: PLR0124  NaN
