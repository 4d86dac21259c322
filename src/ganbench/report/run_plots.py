"""Plots of a single run, from its run directory."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from ganbench.runs import RunRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#555555"  # Okabe and Ito 2008: told apart by everyone


def loss_curves(record: RunRecord) -> bytes:
    """PNG of both networks' losses over the steps, the penalty where the loss has one."""
    from matplotlib.figure import Figure

    rows = record.history
    steps = [row["step"] for row in rows]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    curves = {"d_loss": ("discriminator", BLUE, "-"), "g_loss": ("generator", ORANGE, "--")}
    if any(row["d_penalty"] for row in rows):
        curves["d_penalty"] = ("penalty", GREY, ":")
    point = "o" if len(rows) == 1 else None  # no line goes through one
    for column, (label, colour, dash) in curves.items():
        axes.plot(steps, [row[column] for row in rows], dash, color=colour, label=label, marker=point)
    axes.set_xlabel("step (generator updates)")
    axes.set_ylabel("loss (mean over the logging interval)")
    axes.set_title(title(record))
    axes.grid(alpha=0.3)
    axes.legend()
    return to_png(figure)


def scores_over_time(record: RunRecord) -> bytes:
    """PNG of FID over training seconds: scores on the way as a line, those of the end as points."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    values: list[float] = []
    for when, style in (("training", "o-"), ("final", "D"), ("evaluate", "s")):
        for label, points in _fid_points(record, when).items():
            axes.plot(*zip(*points, strict=True), style, label=label)
            values += [value for _, value in points]
    if values and min(values) > 0:  # it falls by orders of magnitude
        axes.set_yscale("log")
    axes.set_xlabel("training time (s, evaluation not counted)")
    axes.set_ylabel("FID (lower is better)")
    axes.set_title(title(record))
    axes.grid(alpha=0.3)
    if axes.has_data():
        axes.legend()
    else:
        axes.text(0.5, 0.5, "no score has a FID", transform=axes.transAxes, ha="center")
    return to_png(figure)


def _fid_points(record: RunRecord, when: str) -> dict[str, list[tuple[float, float]]]:
    """Points (training seconds, FID) by protocol in words."""
    found: dict[str, list[tuple[float, float]]] = {}
    for score in record.scores:
        value = score["values"].get("fid")
        if score["when"] != when or value is None:
            continue
        protocol = score["protocol"]
        label = (
            f"{score['weights']}, {protocol['extractor']}, {protocol['num_generated']} images "
            f"against {protocol['reference']['split']}"
        )
        found.setdefault(label, []).append((score["train_seconds"], value))
    return found


def title(record: RunRecord) -> str:
    """The recipe in words: dataset, model, loss, seed."""
    name = record.info["name"]
    return f"{name['model']} / {name['loss']} on {name['dataset']}, seed {record.info['seed']}"


def to_png(figure: Figure) -> bytes:
    """The figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
