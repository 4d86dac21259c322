"""Quality against seconds of training: how soon a recipe gets how far."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ganbench.report.columns import COLUMNS, finite
from ganbench.report.figures import style
from ganbench.report.protocol import Protocol, training_picks
from ganbench.report.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PER_PANEL = 6

CAPTION = (
    "FID from the scores taken during training, whose images and split the title says; those after training "
    "are of another protocol. Lines: median over seeds; bands: lowest to highest seed."
)


@dataclass(frozen=True)
class Course:
    """One recipe over time: seconds, and the median, lowest and highest FID at each scored step."""

    label: str
    seconds: list[float]
    middle: list[float]
    low: list[float]
    high: list[float]


def quality(table: Table) -> Figure | None:
    """FID against training seconds, six recipes a panel and the others in grey."""
    protocol = _protocol(table)
    if protocol is None:
        return None
    found = [_course(row, protocol) for row in style.drawn_rows(table)]
    courses = [course for course in found if course]
    if not courses:
        return None
    labels = style.distinct([course.label for course in courses])
    courses = [replace(course, label=label) for course, label in zip(courses, labels, strict=True)]
    values = [value for course in courses for value in course.low + course.high]
    chunks = [courses[start : start + PER_PANEL] for start in range(0, len(courses), PER_PANEL)]
    width = 3.2 if len(chunks) > 1 else 5.5
    columns = 1 if max(len(course.label) for course in courses) > 18 else 2
    below = 0.6 + 0.16 * -(-max(len(chunk) for chunk in chunks) // columns)
    margins = style.Margins(left=0.6, top=0.45, bottom=below, across=0.65, down=below + 0.1)
    figure, axes = style.panels([""] * len(chunks), width, 2.6, margins, sharex=True, sharey=True)
    for panel, chunk in zip(axes, chunks, strict=True):
        _panel(panel, chunk, courses)
        panel.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=columns)
    if min(values) > 0 and max(values) > 5 * min(values):
        style.plain_log(axes[0], "y")
    made = f"{protocol.get('num_generated')} images against the {protocol.split} split"
    title = f"FID against training time · {table.dataset} · {protocol.extractor}, {made}"
    style.set_title(figure, style.safe(title, 120))
    return figure


def _protocol(table: Table) -> Protocol | None:
    """The training protocol most runs share, with the table's extractor."""
    wanted = table.protocol.extractor if table.protocol else "judge"
    counts: Counter[Protocol] = Counter()
    for row in table.rows:
        for run in row.runs:
            counts.update({Protocol.of(pick.record) for pick in training_picks(run)})
    fitting = [(number, p.settings, p) for p, number in counts.items() if p.extractor == wanted]
    return max(fitting, key=lambda item: item[:2])[2] if fitting else None


def _course(row: Row, protocol: Protocol) -> Course | None:
    points: dict[float, list[tuple[float, float]]] = defaultdict(list)
    for run in [pick.run for pick in row.picks.values()] or row.runs:
        for pick in training_picks(run, protocol):
            fid, seconds = pick.value(COLUMNS["fid"]), pick.seconds
            if fid is not None and seconds is not None:
                points[finite(pick.record.get("step")) or 0.0].append((seconds, fid))
    if not points:
        return None
    steps = [points[step] for step in sorted(points)]
    return Course(
        row.short,
        [statistics.median(seconds for seconds, _ in at) for at in steps],
        [statistics.median(fid for _, fid in at) for at in steps],
        [min(fid for _, fid in at) for at in steps],
        [max(fid for _, fid in at) for at in steps],
    )


def _panel(axes: Axes, chunk: Sequence[Course], others: Sequence[Course]) -> None:
    for course in others:
        if course not in chunk:
            axes.plot(course.seconds, course.middle, color="#D8D8D8", linewidth=0.8, zorder=1)
    for index, course in enumerate(chunk):
        colour = style.PALETTE[index]
        axes.fill_between(course.seconds, course.low, course.high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(
            course.seconds, course.middle, linestyle=style.DASHES[index], marker=style.MARKERS[index],
            color=colour, markersize=4, label=course.label, zorder=3,
        )  # fmt: skip
    axes.set_ylabel("FID ↓")
    axes.set_xlabel("seconds of training", labelpad=1)
    axes.tick_params(labelbottom=True, labelleft=True)
    axes.grid()
