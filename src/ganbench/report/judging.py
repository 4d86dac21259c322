"""Verdicts on the rows of a table: which pairs are compared, and what the seeds there could decide."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from ganbench.errors import UserError
from ganbench.report.aggregate import row_value
from ganbench.report.columns import COLUMNS, TIMING, Column, find_column
from ganbench.report.remarks import machines
from ganbench.report.table import Row, Table
from ganbench.report.text import clean, listed
from ganbench.report.verdicts import ALPHA, judge_pairs, seeds_needed
from ganbench.report.where import matches
from ganbench.runs import DIVERGED, FAILED

MAX_PAIRS = 2_000
"""More pairs of one table than this are not tested unasked: nobody reads them."""


def add_verdicts(
    tables: Sequence[Table], by: str, baseline: str | None, unpaired: bool, asked: bool = True
) -> None:
    """Test the recipes of each table by a column against each other, or against the row `baseline`.

    Runs are paired by seed unless `unpaired`. Unless `asked`, a table with more than `MAX_PAIRS` pairs is
    left out.

    Raises:
        UserError: the column has no better direction, or the baseline is not one row of a table.
    """
    column = _column(by, asked)
    found = [_baseline(baseline, table) for table in tables]
    if baseline and not any(found):
        labels = dict.fromkeys(row.label for table in tables for row in table.rows)
        raise UserError(f"--baseline {clean(baseline)}: no such row; rows: {listed(labels, 20)}")
    for table, against in zip(tables, found, strict=True):
        table.by = column
        if column.name in TIMING and len(machines(table)) > 1:
            table.verdict_notes = ["times of different machines are not compared"]
            continue
        values: dict[str, Mapping[int, float]] = {
            row.label: row.cells[column.name].values for row in table.rows if column.name in row.cells
        }
        pairs = list(combinations(values, 2))
        if baseline:
            chosen = against.label if against else ""
            pairs = [(name, chosen) for name in values if name != chosen and chosen in values]
        if not pairs and asked and table.protocol:
            table.verdict_notes = [f"no verdicts: {_why_no_pairs(table, column, baseline, against, values)}"]
            continue
        if len(pairs) > MAX_PAIRS and not asked:
            table.verdict_notes = [
                f"{len(pairs):,} pairs were not tested; choose a --baseline or use --where"
            ]
            continue
        lost = {row.label: _lost(row, column) for row in table.rows}
        table.verdicts = [
            replace(verdict, lost_first=lost[verdict.first], lost_second=lost[verdict.second])
            for verdict in judge_pairs(pairs, values, column.better == "lower", not unpaired)
        ]
        table.verdict_notes = _out_of_reach(table, baseline)


def _why_no_pairs(
    table: Table, column: Column, baseline: str | None, against: Row | None, values: Mapping[str, object]
) -> str:
    """Why there is nothing to compare in a table."""
    if baseline and against is None:
        return f"the baseline {clean(baseline)} is not in this table"
    if against is not None and against.label not in values:
        trouble = f" ({against.trouble})" if against.trouble else ""
        return f"the baseline {against.label} has no {column.heading}{trouble}"
    return f"{len(values)} of {len(table.rows)} recipes has {column.heading}, and it takes two"


def _column(by: str, asked: bool) -> Column:
    column = find_column(by)
    if column and column.better:
        return column
    if column and asked:
        raise UserError(f"--by {clean(by)}: has no better or worse to test; use e.g. --by fid with --test")
    return COLUMNS["fid"]


def _baseline(text: str | None, table: Table) -> Row | None:
    """The row with that label, whole or short, that value in a column, or those ``key=value`` pairs."""
    if text is None:
        return None
    for row in sorted(table.rows, key=lambda row: row.label != text):  # the whole label before a short one
        if text in (row.label, row.short):
            return row
    if "=" in text:
        # At commas before a key alone: a value may be a list.
        pairs = [part.partition("=")[::2] for part in re.split(r",(?=[^,=\[\]]+=)", text)]
        found = [row for row in table.rows if all(matches(row_value(row, k), [v]) for k, v in pairs)]
    else:
        found = [row for row in table.rows if text in {*row.recipe.values(), *row.runs[0].names.values()}]
    if len(found) > 1:
        raise UserError(
            f"--baseline {clean(text)}: {len(found)} rows fit; name one: {listed(row.short for row in found)}"
        )
    return found[0] if found else None


def _lost(row: Row, column: Column) -> str:
    """Seeds without a value because their runs diverged or failed, counted: ``2 diverged, 1 failed``.

    Which seeds are lost so may depend on how good they would have been; of one interrupted or not ended
    yet that is not to be expected. A seed that was run again with success is not lost.
    """
    held = row.cells[column.name].values if column.name in row.cells else {}
    kinds = {p.run.seed: p.kind for p in row.problems if p.kind in (DIVERGED, FAILED)}
    found = Counter(kind for seed, kind in kinds.items() if seed not in held)
    return ", ".join(f"{number} {kind}" for kind, number in found.items())


def _out_of_reach(table: Table, baseline: str | None) -> list[str]:
    """Where no data could have given a verdict: say so, and what would help."""
    tested = [verdict for verdict in table.verdicts if verdict.smallest_p is not None]
    stuck = [verdict for verdict in tested if not verdict.could_decide]
    if not stuck:
        return []
    sizes = sorted({(v.n_first, v.n_second, v.paired, v.smallest_p) for v in stuck}, key=str)
    told = "; ".join(
        f"n={a}" + ("" if a == b else f"/{b}") + f" {'paired' if paired else 'unpaired'}: {least:.2g}"
        for a, b, paired, least in sizes[:4]
    )
    needs = {"paired": seeds_needed(len(tested), True), "unpaired": seeds_needed(len(tested), False)}
    needed = ", ".join(f"{least or 'no number is enough'} {how}" for how, least in needs.items())
    if not any(needs.values()):
        needed = "no number of them is enough"
    ways = [f"seeds a side for a verdict from {len(tested)} comparisons: {needed}"]
    if not baseline and len(tested) > 1:
        ways.append("--baseline makes fewer comparisons")
    if any(verdict.paired for verdict in stuck):
        ways.append("--unpaired gives up the pairing (decide before looking)")
    return [
        f"in {len(stuck)} of {len(tested)} comparisons no data could have reached p <= {ALPHA} "
        f"(smallest possible p after Holm's correction: {told})",
        "; ".join(ways),
    ]
