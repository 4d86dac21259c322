"""KID of every seed with its spread over subsets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganbench.report.columns import COLUMNS, finite
from ganbench.report.figures import style
from ganbench.report.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION = "Dots: KID of each seed; lines: ± its standard deviation over the subsets of one evaluation."


def kid(table: Table) -> Figure | None:
    """Dots with error bars, recipes from top to bottom."""
    rows = style.drawn_rows(table)
    column = COLUMNS["kid"]
    if not any("kid" in row.cells for row in rows):
        return None
    figure = style.new_figure(6.4 + style.wider(rows), 0.28 * len(rows) + 1.1)
    axes = figure.subplots()
    style.recipe_axis(axes, rows)
    for place, row in enumerate(rows):
        picks = [pick for _, pick in sorted(row.picks.items()) if pick.value(column) is not None]
        if not picks:
            style.nothing(axes, place)
        offsets = style.spread(len(picks), 0.6)
        for pick, offset in zip(picks, offsets, strict=True):
            value = (pick.value(column) or 0.0) * column.scale
            deviation = finite(pick.record["values"].get("kid_std"))
            axes.errorbar(
                value, place + offset, xerr=None if deviation is None else deviation * column.scale, fmt="o",
                color=style.BLUE, ecolor=style.PALE, elinewidth=1.6, markersize=3, zorder=3,
            )  # fmt: skip
    axes.axvline(0, color=style.GREY, linewidth=0.8)
    axes.set_xlabel(column.title)
    style.set_title(figure, style.headline(table, "KID with its spread"))
    return figure
