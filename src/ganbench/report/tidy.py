"""One flat row a score, for pandas and for runs.csv."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ganbench.errors import UserError
from ganbench.report.collect import DATA, Run, Skipped, collect, flatten
from ganbench.report.columns import COLUMNS, finite
from ganbench.report.protocol import Pick, reported, training_picks
from ganbench.report.text import clean, csv_cell, listed

TidyRow = dict[str, Any]


def load_runs(
    root: str | Path | Sequence[str | Path] = "outputs",
    scores: Literal["reported", "training"] = "reported",
    as_frame: bool | None = None,
) -> Any:
    """The runs below `root` as a tidy table: one row for each run, weights and protocol.

    Columns: ``path dataset model loss experiment seed status reason diagnosis``, steps, images and seconds,
    what the run was made by (``dataset_sha256 ganbench torch commit dirty``), one for each metric,
    ``protocol.*`` and ``config.*``; docs/comparing.md lists them. With ``scores="training"`` the rows are the
    scores taken during training instead, one for each step. A run without such a score has one row without
    metrics; what cannot be used has none, and a warning names it.
    A value that is absent or not a number is None (NaN in a DataFrame), never 0. Select one protocol
    before comparing, e.g. ``runs[(runs.weights == "last") & (runs.extractor == "judge")]``.

    Args:
        root: a folder, or several.
        scores: the newest scores after training, or all taken during it.
        as_frame: a pandas DataFrame (True), a list of dicts (False), or whichever pandas allows (None).

    Raises:
        UserError: no folder, no usable run there, or a DataFrame asked for without pandas.
    """
    several = list(root) if isinstance(root, Iterable) and not isinstance(root, str) else []
    roots = [root] if isinstance(root, (str, Path)) else several
    if not roots:
        raise UserError(f"root={root!r}: must be a folder, or a list of some")
    collection = collect(roots)
    if collection.skipped:
        warnings.warn(told_skipped(collection.skipped), stacklevel=2)
    rows = [row for run in collection.runs for row in run_rows(run, scores)]
    if as_frame is False:
        return rows
    try:
        import pandas
    except ImportError as error:
        if as_frame:
            raise UserError("load_runs(as_frame=True): needs pandas; install it, or use False") from error
        return rows
    return pandas.DataFrame(rows, columns=header(rows))


def told_skipped(skipped: Sequence[Skipped]) -> str:
    """One line that names what could not be used."""
    return f"{len(skipped):,} skipped: {listed((f'{s.path}: {s.reason}' for s in skipped), 4)}"


def run_rows(run: Run, scores: str = "reported") -> list[TidyRow]:
    """The rows of one run; at least one.

    Raises:
        UserError: `scores` is neither ``reported`` nor ``training``.
    """
    if scores not in ("reported", "training"):
        raise UserError(f"scores={scores!r}: must be 'reported' or 'training'")
    if scores == "training":
        picks = training_picks(run)
    else:
        picks = [pick for weights in ("last", "best", "ema") for pick in reported(run, weights).values()]
    return [tidy_row(run, pick) for pick in picks] or [tidy_row(run, None)]


def tidy_row(run: Run, pick: Pick | None) -> TidyRow:
    """One run with one of its scores, or with none."""
    record = pick.record if pick else {}
    row: TidyRow = {
        "path": str(run.path),
        **run.names,
        "experiment": run.experiment,
        "seed": run.seed,
        "status": run.status,
        "reason": run.reason,
        "diagnosis": ", ".join(run.diagnosis),
        "steps_done": run.measured("steps_done"),
        "steps_total": run.measured("steps_total"),
        "images_seen": run.measured("images_seen"),
        "eval_seconds": run.measured("seconds.eval"),
        "peak_memory_bytes": run.measured("peak_memory_bytes"),
        "generator_parameters": run.measured("parameters.generator"),
        "discriminator_parameters": run.measured("parameters.discriminator"),
        "device": clean(run.info.get("device") or ""),
        DATA: run.said(DATA),
        "ganbench": run.said("versions.ganbench"),
        "torch": run.said("versions.torch"),
        "commit": run.said("git.commit"),
        "dirty": run.dirty,
        "when": clean(record.get("when", "")),
        "weights": clean(record.get("weights", "")),
        "step": finite(record.get("step")),
        "images": finite(record.get("images")),
        "extractor": None,
        "split": None,
    }
    for column in COLUMNS.values():
        own = pick or Pick(run, {"values": {}})
        row[column.name] = own.value(column)
    if pick:
        row["kid_std"] = finite(record["values"].get("kid_std"))
        row["is_std"] = finite(record["values"].get("is_std"))
        row |= _by_class(record.get("per_class"))
        flat = flatten(record["protocol"])
        row["extractor"], row["split"] = flat.get("extractor"), flat.get("reference.split")
        row |= {f"protocol.{key}": _scalar(value) for key, value in flat.items()}
    return row | {f"config.{key}": _scalar(value) for key, value in run.config.items()}


def header(rows: Iterable[TidyRow]) -> list[str]:
    """All columns in the order they first appear, those of classes, protocol and config last."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return sorted(
        names, key=lambda name: [name.startswith(part) for part in ("config.", "protocol.", "class.")]
    )


def to_csv(rows: Sequence[TidyRow], columns: Sequence[str] | None = None) -> str:
    """CSV text whose cells no spreadsheet runs as formulas; None is empty."""
    import csv
    import io

    names = list(columns or header(rows))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([csv_cell(name) for name in names])
    writer.writerows([csv_cell(row.get(name)) for name in names] for row in rows)
    return stream.getvalue()


def _by_class(figures: Any) -> TidyRow:
    """``class.<figure>.<class>``: the class consistency of the sevens is class.consistency.7."""
    if not isinstance(figures, Mapping):
        return {}
    lists = {clean(name): values for name, values in figures.items() if isinstance(values, list)}
    return {
        f"class.{name}.{label}": finite(value)
        for name, values in lists.items()
        for label, value in enumerate(values)
    }


def _scalar(value: Any) -> Any:
    return value if isinstance(value, (int, float, type(None))) else clean(value)
