"""The figures of a report. Matplotlib is imported only when one is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from ganbench.report.comparison import Report
from ganbench.report.figures import bars, classes, kid, losses, quality, radar, samples, style
from ganbench.report.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# name: title, what draws it (None without data for it), caption
FIGURES: dict[str, tuple[str, Callable[[Table], Figure | None], str]] = {
    "scores": ("Scores", bars.scores, bars.CAPTION_SCORES),
    "kid": ("KID with its spread", kid.kid, kid.CAPTION),
    "classes": ("Classes", classes.classes, classes.CAPTION),
    "quality": ("Quality against training time", quality.quality, quality.CAPTION),
    "radar": ("Quality, consistency and speed", radar.radar, radar.CAPTION),
    "time": ("Training time", bars.time, bars.CAPTION_TIME),
    "losses": ("Losses", losses.losses, losses.CAPTION),
    "samples": ("Final samples", samples.samples, samples.CAPTION),
    "fixed_z": ("The classes of fixed latents", samples.fixed_z, samples.CAPTION_FIXED_Z),
}

DPI = 130
FORMATS = ("png", "pdf", "svg")


@dataclass(frozen=True)
class Drawing:
    """One figure of one table in the formats asked for, as the bytes of a file each."""

    table: int
    name: str
    title: str
    caption: str
    files: dict[str, bytes]


def draw_all(report: Report, formats: Iterable[str] = FORMATS) -> list[Drawing]:
    """Every figure that the tables have data for."""
    chosen = tuple(formats)
    with style.house_style():
        return [
            drawing
            for index, table in enumerate(report.tables, start=1)
            for name in FIGURES
            if (drawing := _draw(table, index, name, chosen))
        ]


def _draw(table: Table, index: int, name: str, formats: tuple[str, ...]) -> Drawing | None:
    title, draw, caption = FIGURES[name]
    figure = draw(table)
    if figure is None:
        return None
    files = {form: _save(figure, form) for form in formats}
    return Drawing(index, name, title, caption, files)


def _save(figure: Figure, form: str) -> bytes:
    """The figure as a file without a date, so that the same runs give the same bytes."""
    stream = BytesIO()
    dates = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    figure.savefig(stream, format=form, dpi=DPI, metadata=dates[form])
    # The layout is settled by the first drawing; solving it again for each format takes seconds.
    figure.set_layout_engine("none")
    return _indexed(stream) if form == "png" else stream.getvalue()


def _indexed(picture: BytesIO) -> bytes:
    """A PNG with a palette of 256 colours: a third of the bytes, so that a report can be mailed."""
    from PIL import Image

    stream = BytesIO()
    image = Image.open(picture).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()
