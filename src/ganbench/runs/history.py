"""history.csv: its columns, written and read back exactly."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from ganbench.errors import RunError
from ganbench.runs.reading import exists, read_text

METRICS = ("d_loss", "g_loss", "d_penalty", "d_real", "d_fake", "d_accuracy", "d_grad_norm", "g_grad_norm")
"""What a training step reports: objectives (the penalty apart), mean logits, accuracy, gradient norms."""

HISTORY_COLUMNS = ("step", "images", "train_seconds", *METRICS, "diversity")

LATER_COLUMNS = ("diversity",)
"""Columns that histories written before them lack."""


def history_csv(rows: Iterable[Sequence[float]]) -> str:
    """The text of history.csv from rows in the order of `HISTORY_COLUMNS`."""
    lines = [",".join(HISTORY_COLUMNS)]
    for step, images, *rest in rows:
        lines.append(",".join([str(int(step)), str(int(images)), *map(repr, map(float, rest))]))
    return "\n".join(lines) + "\n"


def read_history(folder: Path) -> list[dict[str, float]]:
    """The rows of history.csv with all of `HISTORY_COLUMNS`, every value a float, a missing one NaN.

    Raises:
        RunError: damaged.
    """
    if not exists(folder / "history.csv"):
        return []
    text = read_text(folder, "history.csv")
    try:
        reader = csv.DictReader(io.StringIO(text), strict=True)
        known = (*(reader.fieldnames or ()), *LATER_COLUMNS)
        if lacking := [name for name in HISTORY_COLUMNS if name not in known]:
            raise ValueError(f"lacks the column {lacking[0]}")
        rows = [{**row, **{name: row.get(name) for name in LATER_COLUMNS}} for row in reader]
        return [{key: float(value) if value else math.nan for key, value in row.items()} for row in rows]
    except (csv.Error, ValueError, TypeError) as error:
        raise RunError(f"{folder / 'history.csv'}: damaged: {error}") from error
