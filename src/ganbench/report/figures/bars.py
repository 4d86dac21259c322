"""Bars of a summary with every seed as a dot: the scores, and the training time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ganbench.report.columns import TIMING, Column
from ganbench.report.figures import style
from ganbench.report.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOG_RATIO = 30
"""Above this ratio of largest to smallest value a linear axis shows one bar and hides the rest."""


def scores(table: Table) -> Figure | None:
    """One panel a metric but KID, which has a figure of its own."""
    return _bars(table, [c for c in table.columns if c.name not in (*TIMING, "kid")], "Scores")


def time(table: Table) -> Figure | None:
    """Seconds of training and images a second."""
    return _bars(table, [column for column in table.columns if column.name in TIMING], "Training time")


def _bars(table: Table, columns: Sequence[Column], what: str) -> Figure | None:
    rows = style.drawn_rows(table)
    if not columns or not rows:
        return None
    across = len(columns) if len(rows) > 12 else {4: 2}.get(len(columns), min(3, len(columns)))
    down = -(-len(columns) // across)
    size = 1.9 if across > 3 else 2.6
    figure = style.new_figure(
        1.6 + style.wider(rows) + size * across, (0.22 * len(rows) + 0.75) * down + 0.35
    )
    axes = figure.subplots(down, across, squeeze=False)
    for place, panel in enumerate(axes.flat):
        if place < len(columns):
            _panel(panel, table, rows, columns[place], labels=place % across == 0)
        else:
            panel.set_axis_off()
    style.set_title(figure, style.headline(table, what))
    return figure


def _panel(axes: Axes, table: Table, rows: Sequence[Row], column: Column, labels: bool) -> None:
    cells = [row.cells.get(column.name) for row in rows]
    values = [value * column.scale for cell in cells if cell for value in cell.values.values()]
    log = min(values, default=0) > 0 and max(values) / min(values) > LOG_RATIO
    style.recipe_axis(axes, rows, labels)
    for place, cell in enumerate(cells):
        if cell is None:
            style.nothing(axes, place)
            continue
        best = cell.mark == "best"
        axes.barh(
            place, cell.centre * column.scale, 0.7, color=style.PALE, edgecolor=style.BLUE,
            linewidth=1.4 if best else 0, hatch="///" if best else None,
        )  # fmt: skip
        dots = [value * column.scale for _, value in sorted(cell.values.items())]
        offsets = [place + offset for offset in style.spread(len(dots))]
        axes.plot(dots, offsets, "o", color=style.BLUE, markersize=2.6, markeredgewidth=0, zorder=3)
    for floor in table.floors[:1]:
        if column.name in floor.values:
            level = floor.values[column.name] * column.scale
            axes.axvline(level, color=style.ORANGE, dashes=(4, 2), linewidth=1)
    if log:
        style.plain_log(axes, "x")
    else:
        axes.set_xlim(left=min(0.0, min(values, default=0.0)))
    axes.set_title(column.title + (" (log)" if log else ""))


CAPTION_SCORES = (
    "Bars: the table's median or mean; dots: every seed; hatched: the best. Dashed line: the first floor, "
    "what real images score against real ones."
)
CAPTION_TIME = "Training alone, without evaluation and logging. Bars: median or mean; dots: every seed."
