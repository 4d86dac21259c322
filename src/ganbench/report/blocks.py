"""A report as plain blocks of headings, cells and lines, which every format renders in its own way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ganbench.report.columns import COLUMNS, Column
from ganbench.report.comparison import Report
from ganbench.report.published import Source
from ganbench.report.table import Floor, Mark, Row, Summary, Table
from ganbench.report.text import DASH, count, listed, p_value
from ganbench.report.verdicts import ALPHA, MIN_SEEDS, Verdict

Line = str | Mapping[Mark, str]
"""Text, or what each mark in a grid means: a format has signs of its own for them."""

_MEANINGS: dict[Mark, str] = {
    "best": "best",
    "tie": (
        "tie: within noise of the best (95 % Welch interval of the difference not all on the worse side)"
    ),
}


@dataclass(frozen=True)
class Cell:
    """One cell's text; `mark` says whether it is the best of its column."""

    text: str
    mark: Mark = ""


@dataclass
class Grid:
    """A table of texts. `left` is the number of leading columns that hold words, not numbers.

    `footer` rows stand below a rule and are not ranked.
    """

    headings: list[str]
    rows: list[list[Cell]]
    left: int
    footer: list[list[Cell]] = field(default_factory=list)


@dataclass
class Block:
    """A titled part of the report. `kind` lets a renderer choose its look; `table` is its table's number."""

    kind: str
    title: str
    grid: Grid | None = None
    lines: Sequence[Line] = ()
    table: int | None = None

    def said(self, signs: Mapping[Mark, str]) -> list[str]:
        """The lines as text, each mark by the sign that a format has for it."""
        return [
            line if isinstance(line, str) else "; ".join(f"{signs[mark]} {line[mark]}" for mark in line)
            for line in self.lines
        ]


def blocks(report: Report) -> list[Block]:
    """Everything a report says in words and numbers, in reading order."""
    out: list[Block] = []
    for index, table in enumerate(report.tables, start=1):
        for block in table_blocks(table, index):
            block.table = index
            out.append(block)
    if report.notes:
        out.append(Block("notes", "Notes", lines=report.notes))
    for title, in_part in (
        ("Skipped: {:,} that could not be used", False),
        ("Parts of runs left out: {:,}", True),
    ):
        lines = [f"{s.path}: {s.reason}" for s in report.left_out if s.in_part == in_part]
        if lines:
            out.append(Block("skipped", title.format(len(lines)), lines=lines))
    out += [_published(source) for source in report.published]
    return out


def table_blocks(table: Table, index: int) -> list[Block]:
    """A table, what its rows do not count, and its verdicts."""
    out = [Block("table", f"Table {index}. {table.title}", _grid(table), [*_legend(table), *table.notes])]
    lines = problem_lines(table)
    if lines:
        out.append(Block("problems", f"Not counted in table {index}", lines=lines))
    if table.verdicts or table.verdict_notes:
        out.append(_verdicts(table, index))
    return out


def summary_text(cell: Summary, column: Column, stat: str, n: int) -> str:
    """``9.81 [9.60, 10.1]``, ``9.81 ± 0.25``, or the value alone for one seed."""
    text = column.text(cell.centre)
    if cell.low is not None and cell.high is not None:
        if stat == "mean":
            text += f" ± {column.text((cell.high - cell.low) / 2, like=cell.centre)}"
        else:
            low, high = (column.text(end, like=cell.centre) for end in (cell.low, cell.high))
            text += f" [{low}, {high}]"
    return text if cell.n == n else f"{text} (n={cell.n})"


def problem_lines(table: Table) -> list[str]:
    """Why runs are missing from the rows, alike ones together."""
    alike: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for row in table.rows:
        for problem in row.problems:
            alike[row.label, problem.kind, problem.reason].append(problem.run.seed)
    return [
        f"{label}: seed{'s' * (len(seeds) > 1)} {listed(sorted(seeds), 8)} {kind}: {reason}"
        for (label, kind, reason), seeds in alike.items()
    ]


def _grid(table: Table) -> Grid:
    headings = [*table.keys, "n"]
    headings += [column.title for column in table.columns]
    extras = [name for name in ("diagnosis", "trouble") if any(getattr(row, name) for row in table.rows)]
    headings += table.budgets + ["not counted" if name == "trouble" else name for name in extras]
    rows = [_cells(row, table, extras) for row in table.rows]
    blank = [Cell("")] * (len(table.budgets) + len(extras))
    floors = table.floors if any(column.key for column in table.columns) else []
    footer = [_floor_cells(floor, table) + blank for floor in floors]
    return Grid(headings, rows, len(table.keys), footer)


def _cells(row: Row, table: Table, extras: Sequence[str]) -> list[Cell]:
    cells = [Cell(row.recipe[key]) for key in table.keys] + [Cell(str(len(row.picks)))]
    for column in table.columns:
        held = row.cells.get(column.name)
        text = summary_text(held, column, table.stat, len(row.picks)) if held else DASH
        cells.append(Cell(text, held.mark if held else ""))
    cells += [Cell(count(row.budget[name])) for name in table.budgets]
    return cells + [Cell(getattr(row, name)) for name in extras]


def _floor_cells(floor: Floor, table: Table) -> list[Cell]:
    cells = [Cell(f"floor: {floor.name}")] + [Cell("")] * len(table.keys)
    for column in table.columns:
        cells.append(Cell(column.text(floor.values.get(column.name)) if column.key else ""))
    return cells


def _legend(table: Table) -> list[Line]:
    same = ", ".join(f"{key} {value}" for key, value in table.shared.items() if key not in table.keys)
    spread = "mean ± standard deviation" if table.stat == "mean" else "median [quartiles]"
    lines: list[Line] = [f"all rows: {same}"] if same else []
    lines.append(f"{spread} over n seeds; ↓ lower is better, ↑ higher is better")
    marks = {cell.mark for row in table.rows for cell in row.cells.values()}
    if meanings := {mark: meaning for mark, meaning in _MEANINGS.items() if mark in marks}:
        lines.append(meanings)
    return lines


def _verdicts(table: Table, index: int) -> Block:
    column = table.by or COLUMNS["fid"]
    lines = [
        "difference of means over seeds (not of medians), first minus second, with a 95 % bootstrap interval "
        "of each comparison alone",
        "p of a permutation test, and the smallest that so many seeds can give, after Holm's correction over "
        f"all comparisons of {MIN_SEEDS} seeds a side or more; better or worse where p <= {ALPHA}",
    ]
    if any(verdict.lost_first or verdict.lost_second for verdict in table.verdicts):
        lines.append(
            "survivors: runs that diverged or failed have no score; a verdict is on the others alone"
        )
    if any(not verdict.exact for verdict in table.verdicts):
        lines.append("with many seeds the rearrangements were drawn at random (20,000)")
    grid = None
    if table.verdicts:
        headings = ["first", "verdict", "second", "difference", "95 % interval", "p", "smallest p", "n"]
        grid = Grid(headings, [_verdict_cells(v, column) for v in table.verdicts], left=3)
    title = f"Verdicts on {column.title} of table {index}"
    return Block("verdicts", title, grid, [*(lines if grid else []), *table.verdict_notes])


def _verdict_cells(verdict: Verdict, column: Column) -> list[Cell]:
    like = max(abs(verdict.difference), abs(verdict.low or 0.0), abs(verdict.high or 0.0))
    interval = DASH
    if verdict.low is not None and verdict.high is not None:
        interval = f"[{column.text(verdict.low, like)}, {column.text(verdict.high, like)}]"
    sides = (verdict.n_first, verdict.lost_first), (verdict.n_second, verdict.lost_second)
    # "6" is 6 on both sides.
    sizes = " / ".join(dict.fromkeys(f"{n} ({lost})" if lost else str(n) for n, lost in sides))
    if min(verdict.n_first, verdict.n_second) >= MIN_SEEDS:
        sizes += " paired" if verdict.paired else " unpaired"
    texts = [
        verdict.first,
        _outcome(verdict),
        verdict.second,
        column.text(verdict.difference, like),
        interval,
        p_value(verdict.p_holm),
        p_value(verdict.smallest_p),
        sizes,
    ]
    return [Cell(text) for text in texts]


def _outcome(verdict: Verdict) -> str:
    """What stands between the two names; of a recipe that lost runs only the survivors are judged."""
    if verdict.outcome not in ("better", "worse"):
        return verdict.outcome
    survivors = "survivors " if verdict.lost_first else ""
    return f"{survivors}{verdict.outcome} than{' survivors of' if verdict.lost_second else ''}"


def _published(source: Source) -> Block:
    rows = [[Cell(text) for text in row] for row in source.rows]
    words = sum(name in ("dataset", "model", "loss") for name in source.columns)
    lines = [source.protocol, *([source.link] if source.link else [])]
    return Block("published", f"Not computed here: {source.title}", Grid(source.columns, rows, words), lines)
