"""Each format says the same and lets no text of a run act."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest
import synthetic_runs as synthetic

from ganbench.report.blocks import Cell, Grid, blocks
from ganbench.report.comparison import Options, Report, compare
from ganbench.report.export import runs_csv, tables_csv, to_json
from ganbench.report.html import to_html
from ganbench.report.published import load_published
from ganbench.report.render import to_latex, to_markdown, to_text
from ganbench.report.text import (
    clean,
    csv_cell,
    decimals,
    latex,
    listed,
    markdown,
    number,
    p_value,
    setting,
    width,
)

HOSTILE = "<script>alert(1)</script>|`x`$\\end{tabular}&%_#~^=cmd"


@pytest.fixture
def report(root: Path) -> Report:
    for seed in range(3):
        for loss in ("bce", "hinge"):
            synthetic.completed(root, loss=loss, seed=seed, fid=10.0 + seed + 40 * (loss == "bce"))
    synthetic.failed(root, "diverged", "d_loss is nan at step 120")
    return compare(Options(roots=[root], test=True, published=True))


@pytest.fixture
def hostile(root: Path) -> Report:
    synthetic.completed(root, loss="bce")
    folder = synthetic.completed(root, loss="hinge", loss__critic_norm=HOSTILE)
    synthetic.completed(root, loss="hinge")
    config = (folder / "config.yaml").read_text()
    assert HOSTILE in config or "script" in config
    synthetic.failed(root, "failed", HOSTILE, loss="lsgan")
    return compare(Options(roots=[root]))


# --- numbers and words ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"), (1234.5, "1,234"), (143.59, "143.6"), (12.345, "12.35"), (9.814, "9.81"),
        (0.9123, "0.912"), (0.00341, "0.00341"), (-0.00341, "-0.00341"), (0.00001, "1.0e-05"),
        (None, "–"), (math.nan, "–"),
    ],
)  # fmt: skip
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


def test_small_helpers() -> None:
    assert decimals(math.inf) == 0
    assert p_value(0.0004) == "<0.001"
    assert p_value(0.25) == "0.250"
    assert p_value(None) == "–"
    assert listed(range(4), 2) == "0, 1 and 2 more"
    assert setting(10.0) == "10" and setting(0.0002) == "0.0002" and setting(True) == "true"
    assert setting(None) == "null" and setting([0.5, 0.999]) == "[0.5, 0.999]"
    assert width("对x\u0301") == 3
    assert clean("a\tb\n c") == "a b c"
    assert len(clean("x" * 1000)) == 300


@pytest.mark.parametrize("text", ["=1+1", "+1", "-cmd|'/c calc'!A0", "@SUM(A1)", "\tx", "\rx"])
def test_csv_cells_are_no_formulas(text: str) -> None:
    expected = text if text == "+1" else "'" + text
    assert csv_cell(text) == expected


def test_csv_keeps_numbers() -> None:
    assert [csv_cell(value) for value in (-1.5, "-1.5", 3, None, math.nan)] == [-1.5, "-1.5", 3, "", ""]


def test_escapes() -> None:
    assert markdown("a|b*c_<i>[x]`") == r"a\|b\*c\_&lt;i&gt;\[x]\`"
    assert latex(r"50% & {x} \y $1_2^3 ~ # é 对") == (
        r"50\% \& \{x\} \textbackslash{}y \$1\_2\textasciicircum{}3 \textasciitilde{} \# é [U+5BF9]"
    )


# --- formats ----------------------------------------------------------------------------------------


def test_text_columns_stand_under_each_other(report: Report) -> None:
    lines = to_text(blocks(report)).splitlines()
    head = next(line for line in lines if line.startswith("loss"))
    rows = [line for line in lines if line.startswith(("hinge ", "bce "))][:2]
    end = head.index("FID ↓") + len("FID ↓")
    assert [row[:end].split()[-1].rstrip("*~") for row in rows] == ["11.50]", "51.50]"]


def test_markdown_tables_have_equal_columns(hostile: Report) -> None:
    text = to_markdown(blocks(hostile))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert "<script" not in text


def test_latex_structure(report: Report) -> None:
    text = to_latex(blocks(report))
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) >= 1
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}")
    assert r"\textbf{11.00 [10.50, 11.50]}" in text
    assert r"10.50, 11.50" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("kind", ["report", "hostile"])
def test_latex_compiles(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    body = to_latex(blocks(request.getfixturevalue(kind)))
    document = (
        "\\documentclass{article}\\usepackage{booktabs}\\usepackage{graphicx}\n"
        f"\\begin{{document}}\n{body}\n\\end{{document}}\n"
    )
    (tmp_path / "table.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "table.pdf").stat().st_size > 5000


def test_latex_row_that_starts_with_a_bracket_is_no_option() -> None:
    from ganbench.report.blocks import Block

    grid = Grid(["a", "b"], [[Cell("x"), Cell("[1, 2]")], [Cell("[3]"), Cell("y")]], 1)
    assert r"{}[3] & y" in to_latex([Block("table", "t", grid)])


def test_table_csv(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(tables_csv(report))))
    assert [row["recipe"] for row in rows] == ["hinge", "bce"]
    assert (float(rows[0]["fid"]), float(rows[0]["fid_low"]), rows[0]["fid_n"]) == (11.0, 10.5, "3")
    assert rows[0]["fid_mark"] == "best"
    assert rows[1]["not_counted"] == "1 diverged"
    assert rows[1]["reasons"] == "seed 9 diverged: d_loss is nan at step 120"
    assert rows[0]["protocol.extractor"] == "judge"


def test_runs_csv_has_every_seed_with_its_protocol(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(runs_csv(report))))
    assert len(rows) == 7
    counted = [row for row in rows if row["counted"] == "1"]
    assert sorted(float(row["fid"]) for row in counted) == [10.0, 11.0, 12.0, 50.0, 51.0, 52.0]
    (lost,) = (row for row in rows if row["counted"] == "0")
    assert (lost["status"], lost["fid"], lost["reason"]) == ("diverged", "", "d_loss is nan at step 120")
    assert {row["protocol.extractor_sha256"] for row in counted} == {"a" * 64}
    assert {row["config.train.batch_size"] for row in rows} == {"128"}


def test_json_is_strict_and_complete(report: Report) -> None:
    content = json.loads(to_json(report), parse_constant=lambda name: pytest.fail(name))
    (table,) = content["tables"]
    assert table["rows"][0]["values"]["fid"]["seeds"] == {"0": 10.0, "1": 11.0, "2": 12.0}
    assert table["protocol"]["reference.split"] == "test"
    assert table["verdicts"][0]["outcome"] == "no evidence"
    assert table["rows"][1]["not_counted"][0]["reason"] == "d_loss is nan at step 120"


def test_each_format_explains_the_marks_by_its_own_signs(root: Path) -> None:
    """And leaves what a run says as it stands."""
    for loss, fid in (("bce", 10.1), ("hinge", 10.0), ("lsgan", 40.0)):
        for seed in range(3):
            synthetic.completed(root, loss=loss, seed=seed, fid=fid + seed)
    synthetic.failed(root, "failed", "why * best; ~ tie why")
    report = compare(Options(roots=[root]))
    parts = blocks(report)
    for text, best, tie in (
        (to_text(parts), "* best", "~ tie"),
        (to_markdown(parts), "bold: best", r"\~ tie"),
        (to_latex(parts), "bold: best", "underlined: tie"),
        (to_html(report, []), "★ best", "≈ tie"),
    ):
        assert f"{best}; {tie}: within noise of the best" in text
        said = text.replace("\\", "").replace("textasciitilde{}", "~")
        assert "why * best; ~ tie why" in said


# --- published rows ---------------------------------------------------------------------------------


def test_published_rows_are_those_of_the_sources() -> None:
    lucic, unconditional, conditional, final = load_published()
    fid = {(dataset, loss): value for dataset, loss, value in lucic.rows}
    assert len(fid) == 14
    assert fid["mnist", "WGAN"] == "6.7 ± 0.4"
    assert fid["fashion_mnist", "WGAN-GP"] == "24.5 ± 2.1"
    assert [row[2:] for row in unconditional.rows] == [
        ["BCE", "143.59", "2.10"], ["WGAN-clip", "91.09", "2.09"], ["SN-hinge", "108.99", "1.86"],
    ]  # fmt: skip
    assert conditional.rows[0][2:] == ["LSGAN", "6.30", "0.0034 ± 0.0017", "97.38 %", "about 280"]
    assert conditional.rows[3][2:] == ["WGAN-GP", "68.03", "0.0691 ± 0.0078", "71.02 %", "about 1,360"]
    assert final.rows[0][2:] == ["WGAN-GP", "4.79", "0.0028 ± 0.0015", "98.90 %", "1,857"]
    assert all(len(row) == len(source.columns) for source in load_published() for row in source.rows)


def test_published_rows_stand_apart(report: Report) -> None:
    parts = blocks(report)
    published = [part for part in parts if part.kind == "published"]
    assert all(part.title.startswith("Not computed here:") for part in published)
    assert len(published) == len(load_published())
    assert parts[-len(published) :] == published
    assert all("Lucic" not in line for part in parts[: -len(published)] for line in [part.title, *part.lines])
    assert not any(part.kind == "published" for part in blocks(compare(Options(report.options.roots))))
