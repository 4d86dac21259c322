"""The report as one self-contained page: no script, nothing loaded from anywhere, every text escaped."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape

from ganbench.report.blocks import Block, Cell, Grid, blocks
from ganbench.report.collect import JsonObject, Run, flatten
from ganbench.report.comparison import Report
from ganbench.report.figures import Drawing
from ganbench.report.protocol import Protocol
from ganbench.report.table import Mark, Table
from ganbench.report.text import clean, count, number, setting

MAX_OPEN_VERDICTS = 30
MAX_RUNS = 300
"""Runs whose settings are written out; a page with more would be too large to mail."""

FOOTER = "Made by ganbench compare from run directories alone."
"""At the end of every page, by which it is known again."""

_SIGNS: dict[Mark, str] = {"best": "★", "tie": "≈"}
"""Which the style below puts before a cell."""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; margin: 2rem auto;
  padding: 0 1.2rem; max-width: 78rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; }
h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; padding-bottom: .2rem; }
h3 { font-size: 1rem; margin-bottom: .3rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap; vertical-align: top; }
th.word, td.word { text-align: left; }
thead th { border-bottom: 2px solid #333; }
tbody tr:nth-child(even) { background: #f6f7f9; }
tfoot td { border-top: 1px solid #999; color: #555; font-style: italic; }
td small { display: block; font-weight: 400; color: #555; }
td.best { font-weight: 700; }
td.best::before { content: "\\2605\\00a0"; color: #0072B2; }
td.tie::before { content: "\\2248\\00a0"; color: #555; }
ul { padding-left: 1.2rem; color: #444; font-size: .88rem; }
figure { margin: 1.2rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption { color: #555; font-size: .86rem; max-width: 60rem; }
details { margin: .3rem 0; }
summary { cursor: pointer; }
details table { margin: .4rem 0 .8rem 1rem; }
.apart { background: #fbf8ef; padding: .1rem 1rem 1rem; border-left: 4px solid #E69F00; }
footer { margin-top: 3rem; color: #777; font-size: .82rem; }
"""


def to_html(report: Report, drawings: Sequence[Drawing]) -> str:
    """One file: question, tables, verdicts, figures, what failed, every run's settings in fold-outs."""
    body = [_head(report)]
    parts = blocks(report)
    for index, table in enumerate(report.tables, start=1):
        mine = [part for part in parts if part.table == index]
        body += [_block(part) for part in mine]
        body += [_figure(drawing, table) for drawing in drawings if drawing.table == index]
    body += [_block(part) for part in parts if part.table is None]
    body.append(_runs(report))
    return _page(_title(report), "\n".join(body))


def _page(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n"
        f"<footer>{FOOTER}</footer>\n</body>\n</html>\n"
    )


def _title(report: Report) -> str:
    datasets = dict.fromkeys(table.dataset for table in report.tables)
    return f"Which GAN recipe is better on {', '.join(datasets)}?"


def _head(report: Report) -> str:
    options = report.options
    told = [f"{count(len(report.runs))} runs below {', '.join(str(root) for root in options.roots)}"]
    if options.where:
        told.append("where " + " and ".join(options.where))
    told.append(f"sorted by {options.by}")
    if options.at:
        told.append(f"at an equal budget of {options.at}")
    if skipped := sum(not part.in_part for part in report.skipped):
        told.append(f"{skipped:,} skipped")
    return f"<h1>{escape(_title(report))}</h1>\n<p>{escape(clean('; '.join(told), 2000))}.</p>"


def _block(block: Block) -> str:
    content = _grid(block.grid) if block.grid else ""
    lines = "".join(f"<li>{escape(line)}</li>" for line in block.said(_SIGNS))
    content += f"<ul>{lines}</ul>" if lines else ""
    title = escape(block.title)
    if block.kind == "verdicts" and block.grid and len(block.grid.rows) > MAX_OPEN_VERDICTS:
        return (
            f"<h3>{title}</h3><details><summary>{len(block.grid.rows):,} pairs</summary>{content}</details>"
        )
    if block.kind == "published":
        return f'<section class="apart"><h3>{title}</h3>{content}</section>'
    level = "h2" if block.kind in ("table", "skipped", "notes") else "h3"
    return f"<{level}>{title}</{level}>{content}"


def _grid(grid: Grid) -> str:
    head = "".join(
        f'<th scope="col"{_word(column, grid)}>{escape(text)}</th>'
        for column, text in enumerate(grid.headings)
    )
    rows = "\n".join(_row(row, grid) for row in grid.rows)
    foot = "\n".join(_footer(row, grid) for row in grid.footer)
    foot = f"<tfoot>{foot}</tfoot>" if foot else ""
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>{foot}</table></div>'
    )


def _row(row: Sequence[Cell], grid: Grid) -> str:
    cells = []
    for column, cell in enumerate(row):
        classes = [*(["word"] if column < grid.left else []), *([cell.mark] if cell.mark else [])]
        attribute = f' class="{" ".join(classes)}"' if classes else ""
        cells.append(f"<td{attribute}>{_text(cell, column < grid.left)}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _footer(row: Sequence[Cell], grid: Grid) -> str:
    """A floor's name runs over the cells beside it, which are empty."""
    name = f'<td class="word" colspan="{grid.left + 1}">{escape(row[0].text)}</td>'
    return f"<tr>{name}{''.join(f'<td>{escape(cell.text)}</td>' for cell in row[grid.left + 1 :])}</tr>"


def _text(cell: Cell, word: bool) -> str:
    """Quartiles go below their median: the table stays narrow enough to read."""
    centre, bracket, quartiles = cell.text.partition(" [")
    if word or not bracket:
        return escape(cell.text)
    return f"{escape(centre)}<small> [{escape(quartiles)}</small>"


def _word(column: int, grid: Grid) -> str:
    return ' class="word"' if column < grid.left else ""


def _figure(drawing: Drawing, table: Table) -> str:
    image = b64encode(drawing.files["png"]).decode("ascii")
    title = escape(f"{drawing.title}, {table.dataset}")
    return (
        f'<figure><img alt="{title}" src="data:image/png;base64,{image}">'
        f"<figcaption>{escape(drawing.caption)}</figcaption></figure>"
    )


def _runs(report: Report) -> str:
    runs = report.runs
    shown = "\n".join(_run(run) for run in runs[:MAX_RUNS])
    more = f"<p>{len(runs) - MAX_RUNS:,} more runs are in runs.csv.</p>" if len(runs) > MAX_RUNS else ""
    return f"<h2>Every run's settings and protocols</h2>\n{shown}{more}"


def _run(run: Run) -> str:
    names = " / ".join([*run.names.values(), *([run.experiment] if run.experiment else [])])
    status = run.status + (f": {run.reason}" if run.reason else "")
    head = f"{names}, seed {run.seed} ({status})"
    measured = {
        "path": str(run.path),
        "device": setting(run.info.get("device")),
        "steps done": count(run.measured("steps_done")),
        "images seen": count(run.measured("images_seen")),
        "training seconds": number(run.measured("seconds.train")),
        "evaluation seconds": number(run.measured("seconds.eval")),
        "peak memory (bytes)": count(run.measured("peak_memory_bytes")),
    }
    diagnosis = {f"diagnosis: {name}": text for name, text in run.diagnosis.items()}
    settings = {key: setting(value) for key, value in run.config.items()}
    protocols = {_score_name(record): _protocol(record["protocol"]) for record in run.records}
    return (
        f"<details><summary>{escape(head)}</summary>"
        f"{_pairs(measured)}{_pairs(diagnosis)}{_pairs(protocols)}{_pairs(settings)}</details>"
    )


def _score_name(record: dict[str, object]) -> str:
    protocol = Protocol.of(record)
    seen = f"{record.get('when')} by {protocol.extractor}, {protocol.split} split"
    return clean(f"score {seen}, {record.get('weights')} weights, step {record.get('step')}")


def _protocol(protocol: JsonObject) -> str:
    return "; ".join(f"{clean(key)} {setting(value)[:16]}" for key, value in flatten(protocol).items())


def _pairs(pairs: dict[str, str]) -> str:
    cells = ((escape(clean(key)), escape(clean(value, 1000))) for key, value in pairs.items())
    rows = "".join(
        f'<tr><td class="word">{key}</td><td class="word">{value}</td></tr>' for key, value in cells
    )
    return f"<table><tbody>{rows}</tbody></table>" if rows else ""
