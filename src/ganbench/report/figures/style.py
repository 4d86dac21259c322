"""What all figures share: colours for every eye, markers for print without colour, sizes, headlines.

Figures are made without pyplot: no global state, no display.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ganbench.report.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008, "Color universal design", in the order that keeps neighbours apart; no yellow,
# which vanishes on white paper.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#8C6D31")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))

BLUE, ORANGE, GREY, PALE = PALETTE[0], PALETTE[3], "#888888", "#A9CCE3"

CHARACTERS_AN_INCH = 13
LINE_INCHES = 0.17
"""Of headlines: 10 points high, the widest of sans-serif letters left aside."""

TITLE_LINES = 3
TITLE_INCHES = 0.14
"""Of the title of a panel, 8.5 points high."""

LABEL_LIMITS = (34, 50, 80)
LABEL_INCHES = 0.055
"""Of a letter of a label, 7.5 points high."""

MAX_ROWS = 36
"""Recipes in one figure; of more, the first in the table's order are drawn."""


@contextmanager
def house_style() -> Iterator[None]:
    """Fonts and lines of every figure; text stays text in PDF, and files are reproducible."""
    import warnings

    import matplotlib

    settings: dict[Any, Any] = {
        "font.size": 8, "axes.titlesize": 8.5, "axes.labelsize": 8, "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5, "legend.fontsize": 7.5, "figure.titlesize": 10, "axes.spines.top": False,
        "axes.spines.right": False, "axes.axisbelow": True, "axes.grid": False, "grid.color": "#DDDDDD",
        "grid.linewidth": 0.6, "lines.linewidth": 1.4, "pdf.fonttype": 42, "svg.hashsalt": "ganbench",
        "figure.facecolor": "white", "savefig.facecolor": "white",
    }  # fmt: skip
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # A name in a script that the font lacks shows as boxes; that is no reason to warn per letter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(width: float, height: float, solve: bool = True) -> Figure:
    """An empty figure in inches; `solve`: it makes room for its labels by itself."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained" if solve else None)


def set_title(figure: Figure, text: str) -> None:
    """The headline, in as many lines as the figure's width asks for.

    Where the layout does not make room by itself, the figure grows upwards by the lines after the first.
    """
    lines = textwrap.wrap(text, max(20, int(figure.get_figwidth() * CHARACTERS_AN_INCH)))
    wrapped = "\n".join(lines)
    if figure.get_layout_engine() is not None:
        figure.suptitle(wrapped)
        return
    before = figure.get_figheight()
    after = before + LINE_INCHES * (len(lines) - 1)
    figure.set_figheight(after)
    room = figure.subplotpars
    figure.subplots_adjust(top=room.top * before / after, bottom=room.bottom * before / after)
    figure.suptitle(wrapped, y=1 - 0.08 / after, va="top")


def safe(text: str, limit: int = 34) -> str:
    """Untrusted text as a label: never mathematics, never long; what is cut is cut from the middle."""
    if len(text) > limit:
        text = f"{text[: limit // 2]}…{text[len(text) - (limit - 1 - limit // 2) :]}"
    return text.replace("$", r"\$")


def distinct(texts: Sequence[str]) -> list[str]:
    """Untrusted texts as labels, cut so little that different ones stay different."""
    for limit in LABEL_LIMITS:
        labels = [safe(text, limit) for text in texts]
        if len(set(labels)) == len(set(texts)):
            break
    return labels


def wider(rows: Sequence[Row]) -> float:
    """Inches that the labels of rows need beyond those of usual length."""
    longest = max(map(len, distinct([row.short for row in rows])), default=0)
    return LABEL_INCHES * max(0, longest - LABEL_LIMITS[0])


def drawn_rows(table: Table) -> list[Row]:
    """The rows a figure has room for."""
    return table.rows[:MAX_ROWS]


def headline(table: Table, what: str, scored: bool = True) -> str:
    """Title of a figure: what, dataset, number of seeds; of scores also extractor, split and weights."""
    sizes = sorted({len(row.picks) for row in drawn_rows(table) if row.picks})
    parts = [what, table.dataset]
    if table.protocol and scored:
        parts.append(f"{table.protocol.extractor}, {table.protocol.split} split")
        parts.append(f"at {table.at}" if table.at else f"{table.weights} weights")
    if sizes:
        span = f"{sizes[0]}" + (f" to {sizes[-1]}" if len(sizes) > 1 else "")
        parts.append(f"n = {span} seed{'s' * (sizes != [1])}")
    else:
        parts.append("no scores")
    if len(table.rows) > MAX_ROWS:
        parts.append(f"first {MAX_ROWS} of {len(table.rows)} recipes")
    return safe(" · ".join(parts), 160)


def grid_shape(count: int) -> tuple[int, int]:
    """Rows and columns for `count` panels, wider than tall, at most six columns."""
    columns = min(count, {4: 2}.get(count, 3) if count <= 9 else 4 if count <= 16 else 6)
    return math.ceil(count / columns), columns


@dataclass(frozen=True)
class Margins:
    """Room in inches: around the panels of a figure, and between two of them for their own labels."""

    left: float = 0.5
    right: float = 0.15
    top: float = 0.6
    bottom: float = 0.45
    across: float = 0.5
    down: float = 0.5


def panels(
    titles: Sequence[str],
    width: float,
    height: float,
    margins: Margins = Margins(),
    pad: float | None = None,
    **options: object,
) -> tuple[Figure, list[Axes]]:
    """A figure of equal panels of the given size in inches, one a title; spare places stay empty.

    The layout is plain arithmetic: solving constraints for 36 panels takes ten seconds.
    """
    rows, columns = grid_shape(len(titles))
    letters = int(CHARACTERS_AN_INCH * 1.1 * (width + margins.across))
    wrapped = [textwrap.wrap(safe(title, TITLE_LINES * letters), letters) for title in titles]
    more = TITLE_INCHES * (max([1, *map(len, wrapped)]) - 1)
    margins = replace(margins, top=margins.top + more, down=margins.down + more)
    total = (
        margins.left + margins.right + columns * width + (columns - 1) * margins.across,
        margins.top + margins.bottom + rows * height + (rows - 1) * margins.down,
    )
    figure = new_figure(max(5.0, total[0]), total[1], solve=False)
    grid = {
        "left": margins.left / total[0], "right": 1 - margins.right / total[0],
        "bottom": margins.bottom / total[1], "top": 1 - margins.top / total[1],
        "wspace": margins.across / width, "hspace": margins.down / height,
    }  # fmt: skip
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=grid, **options)  # type: ignore[call-overload]
    flat = list(axes.flat)
    for spare in flat[len(titles) :]:
        spare.set_axis_off()
    for panel, lines in zip(flat, wrapped, strict=False):
        panel.set_title("\n".join(lines), pad=pad)
    return figure, flat[: len(titles)]


def recipe_axis(axes: Axes, rows: Sequence[Row], labels: bool = True) -> None:
    """Recipes from top to bottom on the y axis."""
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), distinct([row.short for row in rows]) if labels else [""] * len(rows))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def nothing(axes: Axes, place: int) -> None:
    """A dash where a recipe has no value: an empty place could be read as zero."""
    axes.text(0.02, place, "–", transform=axes.get_yaxis_transform(), va="center", color=GREY)


def spread(count: int, height: float = 0.5) -> list[float]:
    """Offsets that keep `count` dots of one recipe apart."""
    if count == 1:
        return [0.0]
    return [height * (index / (count - 1) - 0.5) for index in range(count)]


def plain_log(axes: Axes, axis: str) -> None:
    """A logarithmic axis whose ticks read 5, 10, 20, not powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    getattr(axes, f"set_{axis}scale")("log")
    scale = getattr(axes, f"{axis}axis")
    scale.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    scale.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    scale.set_minor_formatter(NullFormatter())
