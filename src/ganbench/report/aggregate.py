"""From runs to tables: recipes as rows, seeds summarised, best and ties marked, nothing hidden."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ganbench.report.collect import Run
from ganbench.report.columns import COLUMNS, DEFAULT, TIMING, Column
from ganbench.report.naming import name_rows
from ganbench.report.protocol import Budget, Pick, Protocol, progress, reached
from ganbench.report.remarks import machines, remark_budgets, remark_conditions
from ganbench.report.table import Problem, Row, Stat, Summary, Table, summarise
from ganbench.report.text import DASH, count, natural
from ganbench.report.verdicts import MIN_SEEDS, welch_interval


def group(runs: Iterable[Run]) -> list[list[Run]]:
    """Runs that differ only in seed and housekeeping, together."""
    groups: dict[frozenset[tuple[str, str]], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.recipe].append(run)
    return list(groups.values())


def build_table(
    protocol: Protocol | None,
    groups: Sequence[Sequence[Run]],
    picks: Mapping[Run, Mapping[Protocol, Pick]],
    stat: Stat,
    weights: str,
    at: Budget | None,
    extra: Column | None = None,
) -> Table:
    """A table of the given recipes under one protocol; `extra` is a column shown besides the default."""
    table = Table(protocol, [], stat, weights, at)
    for members in groups:
        table.rows.append(_row(members, protocol, picks, table))
    name_rows(table)
    _fill_cells(table, extra)
    _mark(table)
    remark_budgets(table)
    remark_conditions(table)
    return table


def sort_rows(table: Table, by: str) -> None:
    """Best first by a metric, ascending by anything else; rows without the value last."""
    column = COLUMNS.get(by)
    if column:
        sign = -1 if column.better == "higher" else 1
        table.rows.sort(
            key=lambda row: (by not in row.cells, sign * row.cells[by].centre if by in row.cells else 0.0)
        )
        return
    table.rows.sort(key=lambda row: natural(row_value(row, by)))


def row_value(row: Row, key: str) -> str:
    """What a row shows in a column that is no metric."""
    if key == "n":
        return str(len(row.picks))
    if key in row.budget:
        return count(row.budget[key]).replace(",", "")
    return row.recipe.get(key) or row.runs[0].lookup(key) or DASH


# --- rows -------------------------------------------------------------------------------------------


def _row(
    members: Sequence[Run],
    protocol: Protocol | None,
    picks: Mapping[Run, Mapping[Protocol, Pick]],
    table: Table,
) -> Row:
    row = Row(sorted(members, key=lambda run: (run.seed, str(run.path))), {}, [])
    for run in row.runs:
        pick = picks[run].get(protocol) if protocol else None
        trouble = _problem(run, pick, table)
        if trouble and pick and table.at:
            table.notes.append(f"{run.path} counts, though its status is {trouble.kind} ({trouble.reason})")
        elif trouble:
            row.problems.append(trouble)
            continue
        if pick is None:
            continue
        held = row.picks.get(run.seed)
        newer = held is None or _finished(run) >= _finished(held.run)
        if held is not None:
            table.notes.append(_same_seed(run, held.run, newer))
        if newer:
            row.picks[run.seed] = pick
    return row


def _problem(run: Run, pick: Pick | None, table: Table) -> Problem | None:
    if run.status != "completed":
        unsaid = "not ended yet" if run.status == "running" else "no reason given"
        return Problem(run, run.status, run.reason or unsaid)
    if pick is not None:
        return None
    if table.at and not reached(run, table.at):
        got = count(progress(run, table.at.axis))
        return Problem(run, "too short", f"ended at {got} {table.at.axis}, before {table.at}")
    if table.at:
        return Problem(run, "unscored", f"no score was taken at or before {table.at}")
    if not run.records:
        return Problem(run, "unscored", "no scores; `ganbench evaluate` makes them")
    return Problem(run, "unscored", f"no score of the {table.weights} weights under this protocol")


def _finished(run: Run) -> str:
    return str(run.info.get("finished_at") or run.info.get("started_at") or "")


def _same_seed(run: Run, other: Run, newer: bool) -> str:
    used, left = (run, other) if newer else (other, run)
    return f"seed {run.seed} was run twice with one recipe: {used.path} counts, {left.path} does not"


# --- cells ------------------------------------------------------------------------------------------


def _fill_cells(table: Table, extra: Column | None) -> None:
    for row in table.rows:
        for column in COLUMNS.values():
            values = {
                seed: value for seed, pick in row.picks.items() if (value := pick.value(column)) is not None
            }
            if values:
                row.cells[column.name] = summarise(values, table.stat)
    shown = [*DEFAULT, *([extra.name] if extra and extra.name not in DEFAULT else [])]
    table.columns = [COLUMNS[name] for name in shown if any(name in row.cells for row in table.rows)]


def _mark(table: Table) -> None:
    """Mark the best of each column, and what seeds cannot tell from it.

    A tie: the 95 % Welch interval of the difference of means does not lie on the worse side of 0. With
    fewer than `MIN_SEEDS` a side the noise is unknown and only the best value is marked, wherever it
    stands. Where all are equal nothing is.
    """
    one_machine = len(machines(table)) <= 1
    for column in COLUMNS.values():
        cells = [row.cells[column.name] for row in table.rows if column.name in row.cells]
        differ = len({cell.centre for cell in cells}) > 1  # recall 0 everywhere, say, is nobody's merit
        if column.better is None or not differ or (column.name in TIMING and not one_machine):
            continue
        best = (min if column.better == "lower" else max)(cells, key=lambda cell: cell.centre)
        for cell in cells:
            if _tied(cell, best, column.better == "lower"):
                cell.mark = "tie"
            elif cell.centre == best.centre:
                cell.mark = "best"
        best.mark = "best"


def _tied(cell: Summary, best: Summary, lower_is_better: bool) -> bool:
    if min(cell.n, best.n) < MIN_SEEDS:
        return False
    if cell.centre == best.centre:
        return True
    low, high = welch_interval(list(cell.values.values()), list(best.values.values()))
    # Not beyond noise worse; of medians the best may have the worse mean.
    return low <= 0 if lower_is_better else high >= 0
