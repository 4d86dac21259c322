"""The columns a table can show and sort by, and which direction is good; docs/metrics.md explains each."""

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
        Column("fid", "FID", "lower", "fid"),
        Column("kid", "KID", "lower", "kid_mean", 1000, "×10³"),
        Column("is", "IS", "higher", "is_mean"),
        Column("precision", "precision", "higher", "precision"),
        Column("recall", "recall", "higher", "recall"),
        Column("density", "density", "higher", "density"),
        Column("coverage", "coverage", "higher", "coverage"),
        Column("consistency", "consistency", "higher", "class_consistency", 100, "%"),
        Column("class_kl", "class KL", "lower", "class_kl"),
        # Of these three, what is near the floor is good.
        Column("pixel_std", "pixel std", None, "pixel_std"),
        Column("feature_distance", "feature distance", None, "feature_distance"),
        Column("train_closer", "train closer", None, "train_closer", 100, "%"),
        # Of training alone, without evaluation and logging.
        Column("seconds", "train s", "lower"),
        Column("images_per_second", "images/s", "higher"),
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
