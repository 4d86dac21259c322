"""All formats of a report, printed or written to a folder."""

from __future__ import annotations

from pathlib import Path

from ganbench.errors import UserError
from ganbench.report.blocks import blocks
from ganbench.report.comparison import Report
from ganbench.report.export import runs_csv, tables_csv, to_json
from ganbench.report.judging import add_verdicts
from ganbench.report.render import to_latex, to_markdown, to_text
from ganbench.runs import atomic_write_bytes, atomic_write_text


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
        UserError: the folder cannot be made or written.
    """
    from ganbench.report.figures import draw_all
    from ganbench.report.html import to_html

    out = Path(folder)
    _make(out)
    _ensure_verdicts(report)
    drawings = draw_all(report)
    parts = blocks(report)
    texts = {
        "report.html": to_html(report, drawings),
        "table.txt": to_text(parts),
        "table.md": to_markdown(parts),
        "table.tex": to_latex(parts),
        "table.csv": tables_csv(report),
        "runs.csv": runs_csv(report),
        "report.json": to_json(report),
    }
    written = []
    try:
        for name, text in texts.items():
            atomic_write_text(out / name, text)
            written.append(out / name)
        for drawing in drawings:
            for form, data in drawing.files.items():
                path = out / "figures" / f"{drawing.table}-{drawing.name}.{form}"
                atomic_write_bytes(path, data)
                written.append(path)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written: {error.strerror or error}") from error
    return written


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
