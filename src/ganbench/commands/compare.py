"""`ganbench compare`: tables, verdicts and figures from past runs."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ganbench.commands import Parser
from ganbench.errors import UserError

if TYPE_CHECKING:
    from ganbench.report.comparison import Report

FORMATS = ("table", "markdown", "csv", "latex", "json", "html")

EPILOG = """examples:
  ganbench compare outputs/mnist --where loss=bce,lsgan --by kid
  ganbench compare --test --baseline bce
  ganbench compare --at images=200000 --stat mean
  ganbench compare --out report --published"""


def main(argv: list[str]) -> int:
    """Print the comparison, write it with --out; 0, whatever the runs' own fate was.

    Raises:
        UserError: bad usage, no runs, or a folder that cannot be written.
    """
    flags = vars(parser().parse_args(argv))
    for flag, value in flags.items():
        given = value if isinstance(value, list) else [value]
        if any(isinstance(text, str) and not text.strip() for text in given):
            named = "ROOT" if flag == "roots" else f"--{flag}"
            raise UserError(f"{named} '': is empty; give it a value, or leave it out")
    out, form, at = flags.pop("out"), flags.pop("format"), flags.pop("at")
    from ganbench.report.bundle import render, write_bundle
    from ganbench.report.comparison import Options, compare
    from ganbench.report.protocol import Budget

    report = compare(Options(**flags, at=Budget.parse(at) if at else None))
    if out:
        written = write_bundle(report, out)
        print(f"wrote {len(written)} files to {out}, first {written[0]}", file=sys.stderr)
    if form == "csv":
        _tell_what_csv_lacks(report)
    print(render(report, form), end="")
    return 0


def _tell_what_csv_lacks(report: Report) -> None:
    """Say on stderr what the other formats say below their tables."""
    from ganbench.report.tidy import told_skipped

    if report.left_out:
        print(f"ganbench: {told_skipped(report.left_out)}", file=sys.stderr)
    if report.options.tests:
        print("ganbench: CSV has no verdicts; --format json has, and --out writes both", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """The flags; those that say what to compare have the names of `report.comparison.Options`."""
    made = Parser(
        prog="ganbench compare",
        description="Tables, verdicts and figures from past runs. Loads no torch.",
        epilog=EPILOG,
    )
    add = made.add_argument
    add(
        "roots",
        nargs="*",
        default=["outputs"],
        metavar="ROOT",
        help="folders that hold run directories (default: outputs)",
    )
    add(
        "--by",
        default="fid",
        metavar="COLUMN",
        help="sort by this column, and test it with --test (default: fid)",
    )
    add("--where", action="append", default=[], metavar="KEY=A,B", help="only these runs; may be repeated")
    add("--stat", choices=("median", "mean"), default="median", help="median [quartiles] or mean ± std")
    add("--weights", choices=("last", "best", "ema"), default="last", help="score of which weights")
    add("--extractor", metavar="NAME", help="judge, judge_b, inception, or all")
    add("--split", choices=("test", "train"), help="only scores against this reference split")
    add("--at", metavar="AXIS=N", help="equal budget: images=N, seconds=S or steps=N of training")
    add("--test", action="store_true", help="say which recipe is better, with intervals and p-values")
    add(
        "--baseline",
        metavar="ROW",
        help="test against this row only: its label, or key=value (implies --test)",
    )
    add("--unpaired", action="store_true", help="do not pair the runs by seed (implies --test)")
    add("--published", action="store_true", help="add figures from the literature, apart and never ranked")
    add("--format", choices=FORMATS, default="table", help="what to print (default: table)")
    add("--out", metavar="DIR", help="write every format and the figures there")
    return made
