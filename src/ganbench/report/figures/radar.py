"""Radar charts of quality, consistency and speed, a small one a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ganbench.report.figures import style
from ganbench.report.remarks import machines
from ganbench.report.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AXES = {
    "quality": "lowest FID of the table divided by the recipe's FID",
    "precision": "as measured, 0 to 1",
    "recall": "as measured, 0 to 1",
    "consistency": "share of images recognised as the class asked for",
    "speed": "shortest training time of the table divided by the recipe's",
}

CAPTION = (
    "Every axis runs from 0 in the centre to 1 at the rim. "
    + "; ".join(f"{name}: {meaning}" for name, meaning in AXES.items())
    + ". A gap: not measured. The grey outline is the table's best on each axis."
)

_MARGINS = style.Margins(left=0.75, right=0.75, top=0.95, bottom=0.4, across=1.15, down=0.95)


def radar(table: Table) -> Figure | None:
    """One polygon a recipe against the outline of the best values."""
    scaled = [(row.short, _scaled(row, table)) for row in style.drawn_rows(table)]
    shown = [(label, values) for label, values in scaled if len(values) >= 3]
    names = [name for name in AXES if any(name in values for _, values in shown)]
    if not shown or len(names) < 3:
        return None
    titles = [label for label, _ in shown]
    figure, axes = style.panels(titles, 1.5, 1.5, _MARGINS, pad=18, subplot_kw={"projection": "polar"})
    best = {name: max(values.get(name, 0.0) for _, values in shown) for name in names}
    for panel, (_, values) in zip(axes, shown, strict=True):
        _panel(panel, names, values, best)
    style.set_title(figure, style.headline(table, f"Radar of {', '.join(names[:-1])} and {names[-1]}"))
    return figure


def _scaled(row: Row, table: Table) -> dict[str, float]:
    """The recipe's values on each axis, 0 to 1; an axis it has no value for is left out."""
    measured: list[str] = [name for name in ("precision", "recall", "consistency") if name in row.cells]
    values: dict[str, float] = {name: row.cells[name].centre for name in measured}
    speed = [("speed", "seconds")] if len(machines(table)) <= 1 else []  # of one machine only
    for axis, name in (("quality", "fid"), *speed):
        lowest = min((other.cells[name].centre for other in table.rows if name in other.cells), default=0.0)
        if name in row.cells and row.cells[name].centre > 0 and lowest > 0:
            values[axis] = lowest / row.cells[name].centre
    return {name: min(1.0, max(0.0, value)) for name, value in values.items()}


def _panel(axes: Any, names: list[str], values: Mapping[str, float], best: Mapping[str, float]) -> None:
    angles = [2 * math.pi * index / len(names) for index in range(len(names))]
    ring = [*angles, angles[0]]
    axes.set_theta_offset(math.pi / 2)
    axes.set_theta_direction(-1)
    axes.set_ylim(0, 1)
    axes.set_yticks([0.5, 1.0], ["", ""])
    axes.set_xticks(angles, names)
    axes.tick_params(axis="x", labelsize=6.5, pad=-4)
    for label, angle in zip(axes.get_xticklabels(), angles, strict=True):  # outside of the rim
        aside = round(math.sin(angle), 1)
        label.set_horizontalalignment("left" if aside > 0 else "right" if aside < 0 else "center")
    axes.spines["polar"].set_color("#CCCCCC")
    axes.plot(ring, [best[name] for name in [*names, names[0]]], color="#AAAAAA", linewidth=0.8)
    points = [values.get(name, math.nan) for name in [*names, names[0]]]
    axes.plot(ring, points, color=style.BLUE, marker="o", markersize=3)
    known = [(angle, values[name]) for angle, name in zip(angles, names, strict=True) if name in values]
    axes.fill([angle for angle, _ in known], [value for _, value in known], color=style.BLUE, alpha=0.15)
