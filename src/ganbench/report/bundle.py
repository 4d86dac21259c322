"""All formats of a report, printed or written to a folder."""

from __future__ import annotations

import os
import re
import tempfile
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
TEXTS = (PAGE, "table.txt", "table.md", "table.tex", "table.csv", "runs.csv", "report.json")


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

    Files of an earlier bundle are replaced or go; other files there are left alone.

    Raises:
        UserError: the folder cannot be made or written, or a file in it would be lost that is of no bundle.
    """
    out = Path(folder)
    # Before anything is drawn: figures take a while, a wrong path is known at once.
    earlier = _made(out)
    if not earlier:
        _refuse_foreign(out, TEXTS)
    texts, figures = _contents(report)
    try:
        if not earlier:
            _refuse_foreign(out, figures)
        for name, text in texts.items():
            atomic_write_text(out / name, text)
        for name, data in figures.items():
            atomic_write_bytes(out / name, data)
        for path in _figures(out) if earlier else []:
            if f"figures/{path.name}" not in figures:
                path.unlink()
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written: {error.strerror or error}") from error
    return [out / name for name in (*texts, *figures)]


def _contents(report: Report) -> tuple[dict[str, str], dict[str, bytes]]:
    """The texts and the figures of a bundle by their names in its folder."""
    from ganbench.report.figures import draw_all
    from ganbench.report.html import to_html

    _ensure_verdicts(report)
    drawings = draw_all(report)
    parts = blocks(report)
    texts = (
        to_html(report, drawings),
        to_text(parts),
        to_markdown(parts),
        to_latex(parts),
        tables_csv(report),
        runs_csv(report),
        to_json(report),
    )
    figures = {
        f"figures/{drawing.table}-{drawing.name}.{form}": data
        for drawing in drawings
        for form, data in drawing.files.items()
    }
    return dict(zip(TEXTS, texts, strict=True)), figures


def _is_bundle(folder: Path) -> bool:
    """Whether an earlier page lies there: then the files that bundles have are of its own."""
    from ganbench.report.html import FOOTER

    page = folder / PAGE
    if not page.is_file():
        return False
    with page.open("rb") as stream:  # its end alone: somebody else's may be of any size
        stream.seek(max(0, page.stat().st_size - 300))
        return FOOTER.encode() in stream.read(300)


def _figures(folder: Path) -> list[Path]:
    """The figures of a bundle, perhaps of tables that a new one does not have."""
    from ganbench.report.figures import FIGURES, FORMATS

    named = re.compile(rf"\d+-({'|'.join(FIGURES)})\.({'|'.join(FORMATS)})")
    place = folder / "figures"
    if place.is_symlink():  # what it leads to may be another's
        return []
    return [path for path in place.glob("*") if named.fullmatch(path.name)]


def _refuse_foreign(folder: Path, names: Iterable[str]) -> None:
    """Refuse to write over files that are of no bundle."""
    for name in names:
        if os.path.lexists(folder / name):
            raise UserError(
                f"--out {folder}: {name} would be written over and is of no report; name a new folder"
            )


def _made(folder: Path) -> bool:
    """Make the folder, where needed, try to write there, and tell whether it holds a bundle."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return _is_bundle(folder)
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be written: {error.strerror or error}") from error


def _ensure_verdicts(report: Report) -> None:
    """A page for readers has verdicts, asked for or not."""
    if not any(table.verdicts or table.verdict_notes for table in report.tables):
        options = report.options
        add_verdicts(report.tables, options.by, options.baseline, options.unpaired, asked=False)
