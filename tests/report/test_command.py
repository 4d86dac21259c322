"""`ganbench compare` as a user meets it."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import synthetic_runs as synthetic
from PIL import Image

from ganbench.cli import main
from ganbench.report.figures import Drawing

RUNS = 200


def ganbench(*arguments: str) -> int:
    return main(["compare", *map(str, arguments)])


def test_default_root_is_outputs(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    synthetic.completed(root)
    monkeypatch.chdir(root.parent)
    assert ganbench() == 0
    assert "Table 1. mnist" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("form", "start"),
    [
        ("table", "Table 1."),
        ("markdown", "**Table 1."),
        ("csv", "table,kind,recipe,n"),
        ("latex", "% Needs"),
        ("json", "{"),
        ("html", "<!DOCTYPE html>"),
    ],
)
def test_formats_go_to_stdout(
    root: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, form: str, start: str
) -> None:
    monkeypatch.setattr("ganbench.report.figures.draw_all", lambda report, formats: [])  # slow
    synthetic.completed(root)
    assert ganbench(root, "--format", form) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(start)
    assert captured.err == ""


def test_out_writes_everything(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = synthetic.completed(root)
    synthetic.history(folder, rows=20)
    synthetic.samples(folder)
    out = tmp_path / "deep" / "report"
    assert ganbench(root, "--out", out) == 0
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    texts = {"report.html", "table.txt", "table.md", "table.tex", "table.csv", "runs.csv", "report.json"}
    figures = {
        f"figures/1-{name}.{form}"
        for name in ("scores", "kid", "classes", "quality", "radar", "time", "losses", "samples", "fixed_z")
        for form in ("png", "pdf", "svg")
    }
    assert names == texts | figures
    for name in figures:
        check_picture(out / name)
    assert f"wrote {len(names)} files to {out}" in capsys.readouterr().err


def test_out_writes_over_reports_alone(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganbench.report.figures.draw_all", lambda *arguments: [])
    synthetic.completed(root)
    report, mine = tmp_path / "report", tmp_path / "mine"
    assert ganbench(root, "--out", report) == 0
    assert ganbench(root, "--out", report) == 0
    mine.mkdir()
    for name in ("report.html", "table.csv"):
        (mine / name).write_text("somebody's")
        assert ganbench(root, "--out", mine) == 2
        assert f"{name} would be written over" in capsys.readouterr().err
        assert (mine / name).read_text() == "somebody's"
        assert [path.name for path in mine.iterdir()] == [name]
        (mine / name).unlink()


def test_of_a_page_only_the_end_is_read(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    synthetic.completed(root, training=False)
    (tmp_path / "report.html").touch()
    os.truncate(tmp_path / "report.html", 300 << 30)
    assert ganbench(root, "--out", tmp_path) == 2
    assert "report.html would be written over" in capsys.readouterr().err


def test_figures_of_tables_that_are_gone_go(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = [Drawing(table, "kid", "", "", {"png": b"new"}) for table in (1, 2)]
    monkeypatch.setattr("ganbench.report.figures.draw_all", lambda *arguments: drawn)
    synthetic.completed(root)
    out = tmp_path / "report"
    assert ganbench(root, "--out", out) == 0
    for name in ("3-mine.png", "notes.txt"):
        (out / "figures" / name).write_text("somebody's")
    del drawn[1]
    (out / "figures").rename(tmp_path / "elsewhere")
    (out / "figures").symlink_to(tmp_path / "elsewhere")
    assert ganbench(root, "--out", out) == 0
    assert (out / "figures" / "2-kid.png").exists(), "what a link leads to may be another's"
    (out / "figures").unlink()
    (tmp_path / "elsewhere").rename(out / "figures")
    assert ganbench(root, "--out", out) == 0
    assert {path.name for path in (out / "figures").iterdir()} == {"1-kid.png", "3-mine.png", "notes.txt"}


def test_a_wrong_folder_is_known_before_anything_is_drawn(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_rights: Any
) -> None:
    monkeypatch.setattr("ganbench.report.figures.draw_all", lambda *arguments: pytest.fail("drawn"))
    synthetic.completed(root)
    (tmp_path / "table.csv").write_text("somebody's")
    assert ganbench(root, "--out", tmp_path) == 2
    (tmp_path / "closed").mkdir(mode=0o555)
    (tmp_path / "unreadable").mkdir(mode=0o777)
    (tmp_path / "unreadable" / "report.html").touch(mode=0o000)
    (tmp_path / "unreadable").chmod(0o777)
    with without_rights():
        for name in ("closed", "unreadable"):
            assert ganbench(root, "--out", tmp_path / name) == 2


def check_picture(path: Path) -> None:
    content = path.read_bytes()
    if path.suffix == ".png":
        with Image.open(path) as image:
            assert image.width >= 500
            assert len(set(image.convert("L").resize((64, 64)).tobytes())) > 8
    elif path.suffix == ".pdf":
        assert content.startswith(b"%PDF") and len(content) > 5000
    else:
        assert b"<svg" in content[:1000] and len(content) > 5000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "does not exist"),
        (["{root}", "--by", "fidd"], "did you mean fid?"),
        (["{root}", "--where", "loss=gan"], "matches none"),
        (["{root}", "--format", "xml"], "invalid choice"),
        (["{root}", "--at", "epochs=3"], "must be images=N"),
        (["{root}", "--baseline", "nobody"], "no such row"),
        (["{root}", "--out", "{root}/file"], "cannot be written"),
        (["{root}", "--frobnicate"], "unrecognized arguments"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(
    root: Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    synthetic.completed(root, training=False)
    (root / "file").write_text("in the way")
    assert ganbench(*(text.format(root=root) for text in arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_empty_folder_is_exit_2_and_names_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert ganbench(tmp_path) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_failed_runs_are_no_failure_of_the_command(root: Path) -> None:
    synthetic.failed(root, "failed", "out of memory")
    assert ganbench(root) == 0


def test_a_terminal_without_unicode(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic.completed(root)
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding="ascii"))
    assert ganbench(root) == 0
    sys.stdout.flush()
    assert b"FID ?" in buffer.getvalue()


@pytest.mark.parametrize(
    "arguments", [["--baseline", ""], ["--out", ""], ["--at="], ["--extractor", ""], [""]]
)
def test_nothing_given_is_refused(
    arguments: list[str], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a script makes of a variable that is not set."""
    synthetic.completed(root)
    assert ganbench(root, *arguments) == 2
    named = arguments[0].rstrip("=") or "ROOT"
    assert f"{named} '': is empty; give it a value, or leave it out" in capsys.readouterr().err


def test_many_runs_are_quick_and_load_nothing_heavy(root: Path) -> None:
    """200 runs in a fresh interpreter: 3 s of processor time, where 1,000 may take 5 s on the clock.

    Processor time, because a test machine is busy; wide enough for one that is slow, too.
    """
    for index in range(RUNS):
        synthetic.completed(root, seed=index % 5, loss__optimizer__lr=1e-4 * (1 + index // 5))
    code = (
        "import sys; from ganbench.cli import main; code = main(['compare', sys.argv[1]]);"
        "heavy = {'torch', 'matplotlib', 'pandas', 'scipy', 'hydra', 'omegaconf'} & set(sys.modules);"
        "print(sorted(heavy), file=sys.stderr); sys.exit(code)"
    )
    start = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, timeout=60)
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - start
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"
    assert seconds < 3


def test_csv_tells_on_stderr_what_it_lacks(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic.completed(root)
    damaged = synthetic.completed(root, seed=1)
    (damaged / "scores.json").write_text("[")
    assert ganbench(root, "--format", "csv", "--test", "--out", root.parent / "report") == 0
    said = capsys.readouterr().err
    assert f"1 skipped: {damaged}: scores.json: damaged" in said
    assert "CSV has no verdicts" in said
    (line,) = [
        line for line in (root.parent / "report/runs.csv").read_text().splitlines() if ",skipped," in line
    ]
    assert str(damaged) in line and "scores.json: damaged" in line
