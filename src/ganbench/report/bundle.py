"""All formats of a report, printed or written to a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ganbench.errors import UserError
from ganbench.report.blocks import blocks
from ganbench.report.comparison import Report
from ganbench.report.export import runs_csv, tables_csv, to_json
from ganbench.report.judging import add_verdicts
from ganbench.report.render import to_latex, to_markdown, to_text
from ganbench.runs import atomic_write_bytes, atomic_write_text

PAGE = "report.html"


def render(report: Report, form: str) -> str:
    """The report in one of ``table markdown csv latex json html``."""
    if form == "html":
        from ganbench.report.figures import draw_all
        from ganbench.report.html import to_html

        _ensure_verdicts(report)
        return to_html(report, draw_all(report, ("png",)))
    if form == "csv":
        return tables_csv(report)
    if form == "json":
        return to_json(report)
    return {"table": to_text, "markdown": to_markdown, "latex": to_latex}[form](blocks(report))


def write_bundle(report: Report, folder: str | Path) -> list[Path]:
    """Write every format and all figures into `folder`; the paths, in that order.

    Files of an earlier bundle are replaced; other files there are left alone.

    Raises:
        UserError: the folder cannot be made or written, or a file in it would be lost that is of no bundle.
    """
    from ganbench.report.figures import draw_all
    from ganbench.report.html import to_html

    out = Path(folder)
    _make(out)
    _ensure_verdicts(report)
    drawings = draw_all(report)
    parts = blocks(report)
    files = {
        PAGE: to_html(report, drawings),
        "table.txt": to_text(parts),
        "table.md": to_markdown(parts),
        "table.tex": to_latex(parts),
        "table.csv": tables_csv(report),
        "runs.csv": runs_csv(report),
        "report.json": to_json(report),
    }
    figures = {
        f"figures/{drawing.table}-{drawing.name}.{form}": data
        for drawing in drawings
        for form, data in drawing.files.items()
    }
    try:
        _refuse_foreign(out, [*files, *figures])
        for name, text in files.items():
            atomic_write_text(out / name, text)
        for name, data in figures.items():
            atomic_write_bytes(out / name, data)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written: {error.strerror or error}") from error
    return [out / name for name in (*files, *figures)]


def _refuse_foreign(folder: Path, names: Iterable[str]) -> None:
    """Refuse to write over files, unless an earlier page lies there: then they are of its bundle."""
    from ganbench.report.html import FOOTER

    page = folder / PAGE
    if page.is_file() and FOOTER.encode() in page.read_bytes()[-300:]:
        return
    for name in names:
        if os.path.lexists(folder / name):
            raise UserError(
                f"--out {folder}: {name} would be written over and is of no report; name a new folder"
            )


def _make(folder: Path) -> None:
    """Before anything is drawn: figures take a while, a wrong path is known at once."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be written: {error.strerror or error}") from error


def _ensure_verdicts(report: Report) -> None:
    """A page for readers has verdicts, asked for or not."""
    if not any(table.verdicts or table.verdict_notes for table in report.tables):
        add_verdicts(report.tables, report.options.question, asked=False)
