"""Loss curves, a panel a recipe, because losses of two strategies are not on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ganbench.report.collect import Run
from ganbench.report.figures import style
from ganbench.report.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = NDArray[np.float64]

MAX_SEEDS = 5
MAX_POINTS = 400
MANY = 10_000
"""From so large a loss on ticks are short (200k): the margins hold four digits."""
SCALE_RATIO = 4
"""When one loss ranges this much wider than the other, the generator gets an axis of its own."""

CAPTION = (
    "Discriminator solid blue, generator dashed orange, smoothed from 40 rows on, of at most five seeds; "
    "the raw curve of the first is faint. Every panel has its own scale: losses of different strategies "
    "cannot be compared. An orange right axis belongs to the generator alone."
)

_MARGINS = style.Margins(left=0.5, right=0.5, bottom=0.5, across=0.75, down=0.55)


def losses(table: Table) -> Figure | None:
    """One panel a recipe; a recipe whose runs all failed shows how they went."""
    shown = [(row, curves) for row in style.drawn_rows(table) if (curves := _curves(row))]
    if not shown:
        return None
    titles = [row.short + ("" if row.picks else f" ({row.trouble})") for row, _ in shown]
    figure, axes = style.panels(titles, 2.0, 1.2, _MARGINS)
    for panel, (_, curves) in zip(axes, shown, strict=True):
        _panel(panel, curves)
    figure.supxlabel("steps", fontsize=8, y=0.06 / figure.get_figheight(), va="bottom")
    what = "Losses (blue: discriminator, dashed orange: generator)"
    style.set_title(figure, style.headline(table, what, scored=False))
    return figure


def _curves(row: Row) -> list[tuple[Curve, Curve, Curve]]:
    """Steps, discriminator loss and generator loss of up to `MAX_SEEDS` runs."""
    runs = [pick.run for _, pick in sorted(row.picks.items())] or row.runs
    return [curve for run in runs[:MAX_SEEDS] if (curve := _read(run))]


def _read(run: Run) -> tuple[Curve, Curve, Curve] | None:
    rows = run.history
    columns = [np.array([row.get(name, np.nan) for row in rows]) for name in ("step", "d_loss", "g_loss")]
    if not rows or not np.isfinite(columns[1]).any():
        return None
    stride = -(-len(rows) // MAX_POINTS)
    odd = len(rows) % stride  # left out at the start: what ends a run is at its end
    step, d_loss, g_loss = (column[odd:].reshape(-1, stride) for column in columns)
    return step[:, -1], d_loss.mean(axis=1), g_loss.mean(axis=1)


def _panel(axes: Axes, curves: Sequence[tuple[Curve, Curve, Curve]]) -> None:
    from matplotlib.ticker import EngFormatter

    ranges = [_range([curve[which] for curve in curves]) for which in (1, 2)]
    other = axes
    if max(ranges) > SCALE_RATIO * max(min(ranges), 1e-9):
        other = axes.twinx()
        other.spines["right"].set_visible(True)
        other.tick_params(axis="y", colors=style.ORANGE)
        other.set_ylabel("generator", color=style.ORANGE, fontsize=7, labelpad=1)
        axes.tick_params(axis="y", colors=style.BLUE)
    for target, which, colour, dash in ((axes, 1, style.BLUE, "-"), (other, 2, style.ORANGE, "--")):
        for index, curve in enumerate(curves):
            if index == 0:
                target.plot(curve[0], curve[which], color=colour, alpha=0.25, linewidth=0.6)
            width = 1.5 if index == 0 else 0.7
            point = "o" if len(curve[0]) == 1 else None  # no line goes through one
            look: dict[str, Any] = {
                "color": colour,
                "linewidth": width,
                "linestyle": dash,
                "marker": point,
                "markersize": 3,
            }
            target.plot(curve[0], smooth(curve[which]), **look)
    axes.grid(axis="y")
    axes.margins(x=0.01)
    axes.locator_params(axis="x", nbins=4)
    axes.locator_params(axis="y", nbins=5)
    for axis in {axes.yaxis, other.yaxis}:
        if max(map(abs, axis.get_view_interval())) >= MANY:
            axis.set_major_formatter(EngFormatter(sep=""))


def smooth(values: Curve) -> Curve:
    """Mean over a window of a twentieth of the curve, shorter at the ends; NaN where nothing is finite.

    A curve of fewer than 40 points stays as it is.
    """
    half = len(values) // 40
    known = np.isfinite(values)
    kernel = np.ones(2 * half + 1)
    total = np.convolve(np.where(known, values, 0.0), kernel, "full")[half : half + len(values)]
    number = np.convolve(known.astype(float), kernel, "full")[half : half + len(values)]
    return np.divide(total, number, out=np.full(len(values), np.nan), where=number > 0)


def _range(curves: Sequence[Curve]) -> float:
    values = np.concatenate(curves)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0
    low, high = np.quantile(values, [0.02, 0.98])
    return float(high - low)
