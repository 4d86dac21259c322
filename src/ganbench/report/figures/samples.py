"""The final samples of all recipes side by side, and the classes that they make of the same latents."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ganbench.errors import RunError
from ganbench.report.collect import Run
from ganbench.report.figures import style
from ganbench.report.table import Row, Table
from ganbench.runs import confined

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

MAX_BYTES = 8 << 20
MAX_PIXELS = 1 << 24
SIDE = 320

_SAME = (
    "of one run a recipe, of the same seed where there is one. Every generator with the same latent size "
    "and eval.seed was given the same z."
)
CAPTION = f"samples/final.png {_SAME}"
CAPTION_FIXED_Z = f"samples/fixed_z.png, a latent a row and the classes side by side, {_SAME}"

_MARGINS = style.Margins(left=0.1, right=0.1, bottom=0.1, across=0.15, down=0.35)


def samples(table: Table) -> Figure | None:
    """One picture a recipe, all of the seed that most recipes have."""
    return _side_by_side(table, "samples/final.png", "Final samples")


def fixed_z(table: Table) -> Figure | None:
    """The same of conditional generators: a latent a row, the classes side by side."""
    return _side_by_side(table, "samples/fixed_z.png", "The classes of fixed latents")


def _side_by_side(table: Table, name: str, title: str) -> Figure | None:
    rows = style.drawn_rows(table)
    seeds = Counter(seed for row in rows for seed in row.picks)
    common = min(seeds, key=lambda seed: (-seeds[seed], seed)) if seeds else 0
    shown = [(row, *found) for row in rows if (found := _find(row, common, name))]
    if not shown:
        return None
    others = ["" if run.seed == common else f" (seed {run.seed})" for _, run, _ in shown]
    titles = [row.short + other for (row, _, _), other in zip(shown, others, strict=True)]
    figure, axes = style.panels(titles, 1.8, 1.8, _MARGINS)
    for panel, (_, _, image) in zip(axes, shown, strict=True):
        panel.imshow(image, cmap="gray", interpolation="nearest")
        panel.set_axis_off()
    style.set_title(figure, style.safe(f"{title} · {table.dataset} · seed {common}", 100))
    return figure


def _find(row: Row, seed: int, name: str) -> tuple[Run, Image] | None:
    """The picture of that seed's run, else of the first run that has one."""
    picks = sorted(row.picks.items(), key=lambda item: (item[0] != seed, item[0]))
    for _, pick in picks:
        image = _open(pick.run, name)
        if image:
            return pick.run, image
    return None


def _open(run: Run, name: str) -> Image | None:
    """The run's picture as grey or RGB, made smaller; None where missing, damaged or a bomb."""
    from PIL import Image

    try:
        path = confined(run.path, name)
        if path.stat().st_size > MAX_BYTES:
            return None
        with Image.open(path, formats=["PNG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            made = image.convert("L" if image.mode in ("1", "L") else "RGB")
    except (OSError, ValueError, SyntaxError, RunError, Image.DecompressionBombError):
        return None
    made.thumbnail((SIDE, SIDE))
    return made
