"""Plots as SVG text that stands inside an HTML page: no files, no scripts, text as text."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

WIDTH_INCHES = 7.6
INK = "#333333"
COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f6000", "#8c1d18",
    "#4b3f72", "#5c8001",
)  # fmt: skip
"""Wong 2011, then four more: to be told apart by most readers."""


def line_plot(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x: str,
    y: str,
    dashed: Sequence[str] = (),
    is_log_x: bool = False,
) -> str:
    """Lines by name, each its points (x, y), as SVG text.

    Args:
        lines: NaN leaves a point out.
        x: Label of the axis.
        y: Label of the axis.
        dashed: Names of the lines to draw thin and dashed.
        is_log_x: Whether the x axis is logarithmic.
    """
    figure, axes = _figure(height=3.6)
    for at, (name, points) in enumerate(lines.items()):
        is_dashed = name in dashed
        axes.plot(
            [point[0] for point in points],
            [point[1] for point in points],
            label=name,
            color=COLOURS[at % len(COLOURS)],
            linestyle="--" if is_dashed else "-",
            linewidth=1.0 if is_dashed else 1.8,
        )
    if is_log_x:
        axes.set_xscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return to_svg(figure, salt=f"lines {x} {y}")


def bar_plot(
    bars: Mapping[str, float],
    *,
    y: str,
    errors: Mapping[str, tuple[float, float]] | None = None,
    pale: Sequence[str] = (),
) -> str:
    """One bar a name, as SVG text.

    Args:
        bars: Heights; NaN draws none.
        y: Label of the axis.
        errors: Lower and upper end of an interval by name.
        pale: Names of the bars to draw in grey.
    """
    figure, axes = _figure(height=2.8)
    names = list(bars)
    heights = [bars[name] for name in names]
    colours = ["#b8b8b8" if name in pale else COLOURS[0] for name in names]
    axes.bar(range(len(names)), heights, color=colours)
    for at, name in enumerate(names):
        low, high = (errors or {}).get(name, (float("nan"), float("nan")))
        axes.plot([at, at], [low, high], color=INK, linewidth=1.2)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    axes.set_ylabel(y)
    return to_svg(figure, salt=f"bars {y}")


def scatter_plot(
    points: Mapping[str, tuple[float, float]], *, x: str, y: str, pale: Sequence[str] = ()
) -> str:
    """One named point each, as SVG text; NaN leaves it out."""
    figure, axes = _figure(height=3.4)
    for name, (across, up) in points.items():
        axes.plot(across, up, "o", color="#909090" if name in pale else COLOURS[0])
        if across == across and up == up:  # noqa: PLR0124  not NaN
            axes.annotate(name, (across, up), xytext=(5, 3), textcoords="offset points", fontsize=8)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.margins(0.12)
    return to_svg(figure, salt=f"points {x} {y}")


def to_svg(figure: Figure, *, salt: str) -> str:
    """A figure as one `<svg>` element; the same figure and salt give the same text.

    Args:
        figure: To draw.
        salt: Keeps the ids of several plots on one page apart.
    """
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": salt}
    file = io.StringIO()
    with mpl.rc_context(settings):
        FigureCanvasSVG(figure)
        figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    return _own_ids(text, salt)


def _own_ids(text: str, salt: str) -> str:
    """Ids that no other plot of the page has."""
    prefix = re.sub(r"\W+", "-", salt)
    text = re.sub(r'id="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    return re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)


def _figure(*, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(WIDTH_INCHES, height))
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8)
    return figure, axes
