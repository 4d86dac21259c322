"""Heat maps of what each class gets: consistency and diversity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ganbench.report.columns import finite
from ganbench.report.figures import style
from ganbench.report.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAPS = {"consistency": "class consistency %", "feature_distance": "diversity (feature distance)"}
MAX_CLASSES = 100
MAX_LETTERED = 14

CAPTION = (
    "Median over seeds. Consistency: images asked for the class that are recognised as it. Diversity: mean "
    "distance of two images of the class in feature space; low means that the class has collapsed."
)


def classes(table: Table) -> Figure | None:
    """Recipes down, classes across, one map for consistency and one for diversity."""
    rows = style.drawn_rows(table)
    found = {key: _matrix(rows, key) for key in MAPS}
    maps = {key: matrix for key, matrix in found.items() if matrix is not None}
    if not maps:
        return None
    widest = max(matrix.shape[1] for matrix in maps.values())
    size = min(9.0, 0.34 * widest + 0.9)
    labels = style.distinct([row.short for row in rows])
    figure = style.new_figure(1.7 + style.wider(rows) + size * len(maps), 0.24 * len(rows) + 1.3)
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    for place, (key, matrix) in enumerate(maps.items()):
        _map(axes[place], matrix * (100 if key == "consistency" else 1), MAPS[key])
        axes[place].set_yticks(range(len(rows)), labels if place == 0 else [""] * len(rows))
    style.set_title(figure, style.headline(table, "Classes"))
    return figure


def _matrix(rows: Sequence[Row], key: str) -> NDArray[np.float64] | None:
    """Recipes × classes, the median over seeds, NaN where a recipe has no value; None without any."""
    lines = [_line(row, key) for row in rows]
    size = max((len(line) for line in lines), default=0)
    if not any(np.isfinite(value) for line in lines for value in line):
        return None
    return np.array([[*line, *[np.nan] * (size - len(line))] for line in lines])


def _line(row: Row, key: str) -> list[float]:
    seeds = []
    for pick in row.picks.values():
        per_class = pick.record.get("per_class")
        values = per_class.get(key) if isinstance(per_class, dict) else None
        if isinstance(values, list) and 0 < len(values) <= MAX_CLASSES:
            seeds.append([np.nan if (v := finite(value)) is None else v for value in values])
    if not seeds or len({len(values) for values in seeds}) > 1:
        return []
    columns = np.array(seeds).T
    return [float(np.median(c[np.isfinite(c)])) if np.isfinite(c).any() else np.nan for c in columns]


def _map(axes: Axes, matrix: NDArray[np.float64], title: str) -> None:
    image = axes.imshow(np.ma.masked_invalid(matrix), cmap="cividis", aspect="auto")
    axes.set_facecolor("#EEEEEE")
    axes.set_xticks(range(matrix.shape[1]))
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xlabel("class")
    axes.set_title(title)
    assert axes.figure is not None
    axes.figure.colorbar(image, ax=axes, fraction=0.046, pad=0.02)
    if matrix.shape[0] <= MAX_LETTERED and matrix.shape[1] <= 12:
        _letter(axes, matrix)


def _letter(axes: Axes, matrix: NDArray[np.float64]) -> None:
    """Write the values into the cells, dark on light and light on dark."""
    low, high = np.nanmin(matrix), np.nanmax(matrix)
    decimals = 0 if high >= 20 else 1 if high >= 2 else 2
    for (row, column), value in np.ndenumerate(matrix):
        if not np.isfinite(value):
            axes.text(column, row, "–", ha="center", va="center", fontsize=6, color=style.GREY)
            continue
        light = value > low + 0.55 * (high - low)
        text = f"{value:.{decimals}f}"
        axes.text(
            column, row, text, ha="center", va="center", fontsize=6, color="black" if light else "white"
        )
