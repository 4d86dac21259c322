"""The words and numbers of a report for a terminal, for Markdown and for LaTeX."""

from __future__ import annotations

from ganbench.report.blocks import Block, Cell, Grid
from ganbench.report.table import Mark
from ganbench.report.text import latex, markdown, pad, width

_TEXT_SIGNS: dict[Mark, str] = {"best": "*", "tie": "~", "": ""}
_MARKDOWN_SIGNS: dict[Mark, str] = {"best": "bold:", "tie": "~"}
_LATEX_SIGNS: dict[Mark, str] = {"best": "bold:", "tie": "underlined:"}


def to_text(blocks: list[Block]) -> str:
    """For a terminal: aligned columns, the best with ``*``, ties with ``~``."""
    return "\n\n".join(_text_block(block) for block in blocks) + "\n"


def to_markdown(blocks: list[Block]) -> str:
    """GitHub-flavoured Markdown: the best in bold, ties with ``~``."""
    parts = []
    for block in blocks:
        parts.append(f"**{markdown(block.title)}**")
        if block.grid:
            parts.append(_markdown_grid(block.grid))
        if block.lines:
            parts.append("\n".join(f"- {markdown(line)}" for line in block.said(_MARKDOWN_SIGNS)))
    return "\n\n".join(parts) + "\n"


def to_latex(blocks: list[Block]) -> str:
    r"""Floats for ``\input``: booktabs rules, the best in bold, ties underlined."""
    parts = [r"% Needs \usepackage{booktabs} and \usepackage{graphicx} in the preamble."]
    for block in blocks:
        parts.append(_latex_grid(block, block.grid) if block.grid else _latex_lines(block))
    return "\n\n".join(parts) + "\n"


def _text_block(block: Block) -> str:
    lines = [block.title]
    if block.grid:
        lines += _text_grid(block.grid)
    return "\n".join(lines + [f"  {line}" for line in block.said(_TEXT_SIGNS)])


def _text_grid(grid: Grid) -> list[str]:
    rows = [grid.headings, *([_plain(cell) for cell in row] for row in [*grid.rows, *grid.footer])]
    # A floor's name may run over the empty cells beside it instead of widening the first column.
    inside = rows[: 1 + len(grid.rows)]
    sizes = [max(width(row[column]) for row in inside) for column in range(len(grid.headings))]
    for row in rows[1 + len(grid.rows) :]:
        for column in range(grid.left + 1, len(sizes)):
            sizes[column] = max(sizes[column], width(row[column]))
    room = sum(sizes[: grid.left + 1]) + 2 * grid.left
    sizes[0] += max([0, *(width(row[0]) - room for row in rows[1 + len(grid.rows) :])])
    rule = "-" * (sum(sizes) + 2 * (len(sizes) - 1))
    lines = [_text_row(row, sizes, grid.left) for row in inside]
    lines.insert(1, rule)
    if grid.footer:
        lines.append(rule)
        lines += [_footer_row(row, sizes, grid.left) for row in rows[1 + len(grid.rows) :]]
    return lines


def _text_row(row: list[str], sizes: list[int], left: int) -> str:
    cells = enumerate(zip(row, sizes, strict=True))
    return "  ".join(pad(text, size, column >= left) for column, (text, size) in cells).rstrip()


def _footer_row(row: list[str], sizes: list[int], left: int) -> str:
    room = sum(sizes[: left + 1]) + 2 * left
    rest = [pad(text, size, True) for text, size in zip(row[left + 1 :], sizes[left + 1 :], strict=True)]
    return "  ".join([pad(row[0], room), *rest]).rstrip()


def _plain(cell: Cell) -> str:
    return cell.text + _TEXT_SIGNS[cell.mark]


def _markdown_grid(grid: Grid) -> str:
    align = [":---" if column < grid.left else "---:" for column in range(len(grid.headings))]
    lines = [_pipes([markdown(text) for text in grid.headings]), _pipes(align)]
    lines += [_pipes([_markdown_cell(cell) for cell in row]) for row in [*grid.rows, *grid.footer]]
    return "\n".join(lines)


def _markdown_cell(cell: Cell) -> str:
    text = markdown(cell.text)
    return f"**{text}**" if cell.mark == "best" else f"{text} \\~" if cell.mark == "tie" else text


def _pipes(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _latex_grid(block: Block, grid: Grid) -> str:
    columns = "l" * grid.left + "r" * (len(grid.headings) - grid.left)
    body = [_latex_row([latex(text) for text in grid.headings]), r"\midrule"]
    body += [_latex_row([_latex_cell(cell) for cell in row]) for row in grid.rows]
    if grid.footer:
        body.append(r"\midrule")
        body += [_latex_footer(row, grid.left) for row in grid.footer]
    notes = [rf"\par\noindent {latex(line)}" for line in block.said(_LATEX_SIGNS)]
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{{latex(_without_number(block.title))}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\par\medskip\footnotesize",
            *notes,
            r"\end{table}",
        ]
    )


def _latex_lines(block: Block) -> str:
    items = "\n".join(rf"\item {latex(line)}" for line in block.said(_LATEX_SIGNS))
    return rf"\paragraph{{{latex(block.title)}}}" + f"\n\\begin{{itemize}}\n{items}\n\\end{{itemize}}"


def _latex_cell(cell: Cell) -> str:
    text = latex(cell.text)
    return {"best": rf"\textbf{{{text}}}", "tie": rf"\underline{{{text}}}", "": text}[cell.mark]


def _latex_footer(row: list[Cell], left: int) -> str:
    name = rf"\multicolumn{{{left + 1}}}{{l}}{{{latex(row[0].text)}}}"
    return _latex_row([name, *(latex(cell.text) for cell in row[left + 1 :])])


def _latex_row(cells: list[str]) -> str:
    # A cell that starts with a bracket would be read as the optional argument of \\ before it.
    return " & ".join("{}" + cell if cell.startswith("[") else cell for cell in cells) + r" \\"


def _without_number(title: str) -> str:
    """LaTeX numbers its own tables."""
    head, _, rest = title.partition(". ")
    return rest if head.startswith("Table ") and head[6:].isdigit() else title
