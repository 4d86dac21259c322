"""The columns a table can show and sort by: what each means and which direction is good."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from ganbench.errors import UserError
from ganbench.report.text import decimals, number


@dataclass(frozen=True)
class Column:
    """A number each run has one of.

    `key` is its name in a score record, empty where the run itself knows it. Tables for readers show the
    value times `scale` and say so by `unit`; files for programs hold the value itself.
    """

    name: str
    heading: str
    better: Literal["lower", "higher"] | None
    meaning: str
    key: str = ""
    scale: float = 1.0
    unit: str = ""

    @property
    def title(self) -> str:
        """Heading, unit, and an arrow to where better values lie."""
        arrow = {"lower": " ↓", "higher": " ↑", None: ""}[self.better]
        return f"{self.heading}{self.unit and ' ' + self.unit}{arrow}"

    def text(self, value: float | None, like: float | None = None) -> str:
        """The value for a reader, with as many decimals as `like` (default: itself) needs."""
        if value is None:
            return number(None)
        if self.unit == "%":
            return number(value * self.scale, 1)
        return number(value * self.scale, decimals((value if like is None else like) * self.scale))


COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        Column("fid", "FID", "lower", "Fréchet distance of features, biased by the counts", "fid"),
        Column("kid", "KID", "lower", "kernel distance of features, unbiased", "kid_mean", 1000, "×10³"),
        Column("is", "IS", "higher", "inception score: confident and varied classes", "is_mean"),
        Column("precision", "precision", "higher", "share of images near real ones", "precision"),
        Column("recall", "recall", "higher", "share of real images near generated ones", "recall"),
        Column(
            "density", "density", "higher", "how densely real images lie around generated ones", "density"
        ),
        Column(
            "coverage", "coverage", "higher", "share of real images with a generated neighbour", "coverage"
        ),
        Column(
            "consistency",
            "consistency",
            "higher",
            "images asked for a class that are recognised as it",
            "class_consistency",
            100,
            "%",
        ),
        Column(
            "class_kl", "class KL", "lower", "KL divergence of the made classes from the real", "class_kl"
        ),
        Column("pixel_std", "pixel std", None, "diversity in pixels; near the floor is good", "pixel_std"),
        Column(
            "feature_distance",
            "feature distance",
            None,
            "mean distance of two images' features; near the floor is good",
            "feature_distance",
        ),
        Column(
            "train_closer",
            "train closer",
            None,
            "share of images closer to a training image than that one is to the rest; good is near the floor",
            "train_closer",
            100,
            "%",
        ),
        Column("seconds", "train s", "lower", "seconds of training, without evaluation and logging"),
        Column("images_per_second", "images/s", "higher", "real images shown to the discriminator a second"),
    )
}

DEFAULT = ("fid", "kid", "is", "precision", "recall", "consistency", "seconds", "images_per_second")

TIMING = ("seconds", "images_per_second")
"""Columns that depend on the machine."""

_ALIASES = (
    {column.heading.lower(): name for name, column in COLUMNS.items()}
    | {column.key: name for name, column in COLUMNS.items() if column.key}
    | {"train_seconds": "seconds"}
)


def find_column(name: str) -> Column | None:
    """The column of that name, its key in a score record, or its heading."""
    lowered = name.strip().lower()
    return COLUMNS.get(_ALIASES.get(lowered, lowered))


def unknown_column(name: str, others: Iterable[str]) -> UserError:
    """The error for a column nobody has; `others` are sortable too."""
    known = [*COLUMNS, *others]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return UserError(f"--by {name}: unknown column; {hint}known: {', '.join(dict.fromkeys(known))}")


def finite(value: Any) -> float | None:
    """The value as a float; None for anything that is no finite number. NaN is absent, never 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None
