"""A report for other programs: CSV of the tables and of the runs behind them, and JSON of everything."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from ganbench.report.columns import COLUMNS
from ganbench.report.comparison import Report
from ganbench.report.table import Row, Summary, Table
from ganbench.report.text import DASH
from ganbench.report.tidy import TidyRow, tidy_row, to_csv
from ganbench.runs import without_nan


def tables_csv(report: Report) -> str:
    """One line a recipe and table: centre, spread and n of every column, protocol and budget.

    The spread is ``_low`` and ``_high``: quartiles, or mean ∓ standard deviation.
    """
    rows: list[TidyRow] = []
    for index, table in enumerate(report.tables, start=1):
        rows += [_table_line(index, table, row) for row in table.rows]
        for floor in table.floors:
            rows.append({"table": index, "kind": "floor", "recipe": floor.name, **floor.values})
    return to_csv(rows, _table_header(rows))


def runs_csv(report: Report) -> str:
    """One line a run and table: the raw values behind every number, the runs not counted and those skipped.

    ``counted`` is 1 where the run is one of its row's n seeds.
    """
    rows = []
    for index, table in enumerate(report.tables, start=1):
        for row in table.rows:
            used = {pick.run: pick for pick in row.picks.values()}
            for run in row.runs:
                place = {"table": index, "recipe": row.label, "counted": int(run in used)}
                rows.append({**place, **tidy_row(run, used.get(run))})
    for skipped in report.left_out:
        if not skipped.in_part:  # else its run has a line
            rows.append(
                {"counted": 0, "path": str(skipped.path), "status": "skipped", "reason": skipped.reason}
            )
    return to_csv(rows)


def to_json(report: Report) -> str:
    """Everything as JSON; a value that is not a number is null."""
    content = {
        "question": {
            "roots": [str(root) for root in report.options.roots],
            "where": list(report.options.where),
            "by": report.options.by,
            "stat": report.options.stat,
            "weights": report.options.weights,
            "extractor": report.options.extractor,
            "split": report.options.split,
            "test": report.options.tests,
            "baseline": report.options.baseline,
            "unpaired": report.options.unpaired,
            "at": str(report.options.at) if report.options.at else None,
        },
        "tables": [_table(table) for table in report.tables],
        "notes": report.notes,
        "skipped": [{"path": str(skipped.path), "reason": skipped.reason} for skipped in report.left_out],
        "published": [asdict(source) for source in report.published],
    }
    return json.dumps(without_nan(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _table_line(index: int, table: Table, row: Row) -> TidyRow:
    line: TidyRow = {"table": index, "kind": "recipe", "recipe": row.label, "n": len(row.picks)}
    line |= {f"recipe.{key}": "" if value == DASH else value for key, value in row.recipe.items()}
    for name, cell in row.cells.items():
        line |= {name: cell.centre, f"{name}_low": cell.low, f"{name}_high": cell.high, f"{name}_n": cell.n}
        line[f"{name}_mark"] = cell.mark
    line |= {"stat": table.stat, "weights": table.weights, "at": str(table.at or ""), **row.budget}
    line |= {"not_counted": row.trouble, "diagnosis": row.diagnosis}
    line["reasons"] = "; ".join(f"seed {p.run.seed} {p.kind}: {p.reason}" for p in row.problems)
    if table.protocol:
        line |= {f"protocol.{key}": value for key, value in table.protocol.settings}
    return line


def _table_header(rows: list[TidyRow]) -> list[str]:
    """Recipe columns first, then each metric with its spread in the order of COLUMNS, then the rest."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    places = {
        f"{column}{suffix}": index
        for index, column in enumerate(COLUMNS)
        for suffix in ("", "_low", "_high", "_n", "_mark")
    }
    first = [name for name in names if name in ("table", "kind", "recipe", "n") or name.startswith("recipe.")]
    metrics = sorted((name for name in names if name in places), key=lambda name: places[name])
    return first + metrics + [name for name in names if name not in {*first, *metrics}]


def _table(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "protocol": table.protocol.as_dict if table.protocol else None,
        "stat": table.stat,
        "weights": table.weights,
        "at": str(table.at) if table.at else None,
        "shared": table.shared,
        "rows": [_row(row) for row in table.rows],
        "floors": [asdict(floor) for floor in table.floors],
        "notes": table.notes,
        "verdicts": [asdict(verdict) for verdict in table.verdicts],
        "verdict_notes": table.verdict_notes,
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "label": row.label,
        "recipe": row.recipe,
        "n": len(row.picks),
        "values": {name: _summary(cell) for name, cell in row.cells.items()},
        "budget": row.budget,
        "diagnosis": row.diagnosis,
        "not_counted": [
            {"path": str(p.run.path), "seed": p.run.seed, "kind": p.kind, "reason": p.reason}
            for p in row.problems
        ],
        "runs": [str(pick.run.path) for _, pick in sorted(row.picks.items())],
    }


def _summary(cell: Summary) -> dict[str, Any]:
    seeds = {str(seed): value for seed, value in sorted(cell.values.items())}
    return {"centre": cell.centre, "low": cell.low, "high": cell.high, "mark": cell.mark, "seeds": seeds}
