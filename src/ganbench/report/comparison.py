"""The whole comparison: what was asked, the tables that answer it, and what could not be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ganbench.errors import UserError
from ganbench.metrics.protocol import JUDGE_SIZE
from ganbench.report.aggregate import build_table, group, sort_rows
from ganbench.report.collect import Collection, Run, Skipped, collect
from ganbench.report.columns import COLUMNS, Column, find_column, unknown_column
from ganbench.report.floors import attach_floors
from ganbench.report.judging import add_verdicts
from ganbench.report.protocol import SIZE, Budget, Pick, Protocol, at_budget, first_score, order, reported
from ganbench.report.published import Source, load_published
from ganbench.report.remarks import remark_other_judge, remark_protocols
from ganbench.report.table import Stat, Table
from ganbench.report.text import clean, listed, setting
from ganbench.report.where import select

Picks = dict[Run, dict[Protocol, Pick]]


@dataclass(frozen=True)
class Options:
    """What to compare and how; the flags of ``ganbench compare``."""

    roots: Sequence[str | Path] = ("outputs",)
    where: Sequence[str] = ()
    by: str = "fid"
    stat: Stat = "median"
    weights: Literal["last", "best", "ema"] = "last"
    extractor: str | None = None
    split: str | None = None
    at: Budget | None = None
    test: bool = False
    baseline: str | None = None
    unpaired: bool = False
    published: bool = False

    @property
    def tests(self) -> bool:
        """Whether verdicts are asked for."""
        return self.test or self.unpaired or self.baseline is not None


@dataclass
class Report:
    """The tables with everything that has to stand beside them."""

    options: Options
    tables: list[Table]
    skipped: list[Skipped]
    notes: list[str] = field(default_factory=list)
    published: list[Source] = field(default_factory=list)

    @property
    def runs(self) -> list[Run]:
        """Every run of every table, once."""
        return list(dict.fromkeys(run for table in self.tables for run in table.runs))

    @property
    def left_out(self) -> list[Skipped]:
        """What could not be used, damage in a file that was read only for a figure included."""
        later = [Skipped(run.path, run.damage, in_part=True) for run in self.runs if run.damage]
        return self.skipped + later


def compare(options: Options) -> Report:
    """Collect runs and build the tables.

    Raises:
        UserError: no runs, unknown column or key, a filter that matches nothing.
    """
    if options.at and options.weights != "last":
        raise UserError(
            f"--at with --weights {options.weights}: scores during training are of the weights of that moment"
        )
    collection = collect(options.roots)
    runs = select(collection.runs, options.where)
    column = _check_by(options.by, runs)
    picks: Picks = {
        run: at_budget(run, options.at) if options.at else reported(run, options.weights) for run in runs
    }
    _check_picks(options, picks)
    everything = _tables(options, picks, column)
    shown, hidden = _shown(options, everything)
    report = Report(options, [*shown, *_unscored(options, picks, shown)], collection.skipped)
    report.notes += _hidden_notes(hidden)
    by = column.name if column else options.by
    for table in report.tables:
        table.by = column if column and column.better else COLUMNS["fid"]
        sort_rows(table, by)
        if column and table.protocol and not any(column.name in row.cells for row in table.rows):
            table.notes.append(f"--by {options.by}: no score of this table has it")
    for table in everything:
        remark_other_judge(table, everything)
    remark_protocols(shown)
    attach_floors(shown, _floor_folders(collection, runs))
    if options.tests:
        add_verdicts(report.tables, options.by, options.baseline, options.unpaired)
    if options.published:
        report.published = load_published()
    return report


# --- which runs -------------------------------------------------------------------------------------


def _check_by(by: str, runs: Sequence[Run]) -> Column | None:
    column = find_column(by)
    others = ["n", "steps", "images", "critic steps", "dataset", "model", "loss"]
    if column is None and by not in others and all(run.lookup(by) is None for run in runs):
        raise unknown_column(by, others)
    return column


def _check_picks(options: Options, picks: Picks) -> None:
    if options.at and not any(picks.values()):
        firsts = [first for run in picks if (first := first_score(run, options.at.axis)) is not None]
        if not firsts:
            raise UserError(
                f"--at {options.at}: no run has scores taken during training; train with eval.every=N"
            )
        if options.at.limit < min(firsts):
            raise UserError(
                f"--at {options.at}: the first score was taken at {options.at.axis}={setting(min(firsts))}; "
                "choose a larger budget, or train with a smaller eval.every"
            )
        raise UserError(f"--at {options.at}: no run reached it with a score; choose a smaller budget")


# --- which tables -----------------------------------------------------------------------------------


def _tables(options: Options, picks: Picks, column: Column | None) -> list[Table]:
    """One table a protocol, of the recipes it scored and those of its dataset that have no score at all."""
    groups = group(picks)
    tables = []
    for protocol in order(protocol for found in picks.values() for protocol in found):
        members = [
            runs
            for runs in groups
            if any(protocol in picks[run] for run in runs)
            or (_could_have(protocol, runs[0]) and not any(picks[run] for run in runs))
        ]
        tables.append(
            build_table(protocol, members, picks, options.stat, options.weights, options.at, column)
        )
    return tables


def _could_have(protocol: Protocol, run: Run) -> bool:
    """Whether a run without scores would have had them by such a protocol: its dataset and image size."""
    size = run.lookup("dataset.image_size") or str(JUDGE_SIZE)
    return run.names["dataset"] == protocol.dataset and size == protocol.get(SIZE, str(JUDGE_SIZE))


def _shown(options: Options, tables: list[Table]) -> tuple[list[Table], list[Table]]:
    """The tables asked for; unasked, those whose runs all stand in a better one are left out.

    The second judge is there to check the first, and scores against the train split to choose
    checkpoints.
    """
    if options.extractor or options.split:
        kept = [
            table
            for table in tables
            if table.protocol
            and options.extractor in (None, "all", table.protocol.extractor)
            and options.split in (None, table.protocol.split)
        ]
        if tables and not kept:
            there = sorted({f"{t.protocol.extractor}/{t.protocol.split}" for t in tables if t.protocol})
            flags = {"--extractor": options.extractor, "--split": options.split}
            asked = " ".join(f"{flag} {clean(value)}" for flag, value in flags.items() if value)
            raise UserError(f"{asked}: no run was scored so; there is {listed(there)}")
        return kept, []
    hidden = [table for table in tables if _is_covered(table, tables)]
    return [table for table in tables if table not in hidden], hidden


def _is_covered(table: Table, tables: Sequence[Table]) -> bool:
    own, runs = {pick.run for row in table.rows for pick in row.picks.values()}, set(table.runs)
    for other in tables:
        if other is table or not (table.protocol and other.protocol) or table.dataset != other.dataset:
            continue
        here, there = table.protocol, other.protocol
        checks = here.extractor == "judge_b" and there.extractor == "judge" and here.split == there.split
        chooses = here.split == "train" and there.split == "test" and here.extractor == there.extractor
        scored = {pick.run for row in other.rows for pick in row.picks.values()}
        # Also those without a usable score: a recipe that failed stays visible.
        if (checks or chooses) and own <= scored and runs <= set(other.runs):
            return True
    return False


def _unscored(options: Options, picks: Picks, shown: Sequence[Table]) -> list[Table]:
    """Tables without scores, one a dataset, for the recipes that no other table shows."""
    seen = {run for table in shown for run in table.runs}
    left: dict[str, list[list[Run]]] = {}
    for runs in group(picks):
        # With --extractor or --split the rest was left out on purpose; runs without scores stay visible.
        if not any(run in seen for run in runs) and not any(picks[run] for run in runs):
            left.setdefault(runs[0].names["dataset"], []).append(runs)
    return [
        build_table(None, groups, picks, options.stat, options.weights, options.at)
        for _, groups in sorted(left.items())
    ]


def _hidden_notes(hidden: Sequence[Table]) -> list[str]:
    return [
        f"not shown: {table.dataset} by {table.protocol.extractor} against the {table.protocol.split} split "
        f"(the same runs; --extractor {table.protocol.extractor} --split {table.protocol.split})"
        for table in hidden
        if table.protocol
    ]


# --- floors -----------------------------------------------------------------------------------------


def _floor_folders(collection: Collection, runs: Sequence[Run]) -> list[Path]:
    """Where ``floors/`` may lie: the outputs root is at or a few levels above what was compared."""
    places = [place for root in collection.roots for place in (root, *root.absolute().parents[:4])]
    places += [run.path.absolute().parents[3] for run in runs[:1] if len(run.path.absolute().parents) > 3]
    return [place / "floors" for place in dict.fromkeys(places) if (place / "floors").is_dir()]
