"""Turning numbers and untrusted text into what a page, a terminal or a spreadsheet can show safely.

Names, reasons and config values come from whoever made the run; nothing of them may act.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

DASH = "–"
MAX_TEXT = 300

_WORDS = {None: "null", True: "true", False: "false"}

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_",
    "%": r"\%", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "–": "--", "±": r"$\pm$",
    "↓": r"$\downarrow$", "↑": r"$\uparrow$", "·": r"$\cdot$", "×": r"$\times$", "≈": r"$\approx$",
    "−": "$-$", "…": r"\ldots{}", "\u2019": "'",
}  # fmt: skip


def clean(value: object, limit: int = MAX_TEXT) -> str:
    """One printable line: control and bidirectional characters replaced, at most `limit` characters."""
    try:
        text = str(value)
    except RecursionError:
        return "…"
    if text.isprintable() and len(text) <= limit and "  " not in text and text == text.strip():
        return text  # nearly always, and there are many thousands
    text = " ".join(text[: 4 * limit].split())
    text = "".join(char if char.isprintable() else "\ufffd" for char in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def setting(value: Any) -> str:
    """A config value as the user would type it: ``0.0002``, ``true``, ``null``, ``[0.5, 0.999]``."""
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    try:
        whole = _whole(value)
        if isinstance(whole, (int, float)):
            return repr(whole)
        return clean(json.dumps(whole, ensure_ascii=False, default=str))
    except (TypeError, ValueError, RecursionError):
        return clean(value)


def _whole(value: Any) -> Any:
    """Whole numbers without a point, also those of a list: [0, 0.9] and [0.0, 0.9] are one setting."""
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def decimals(value: float) -> int | None:
    """Digits after the point that show three significant ones; None where only an exponent can."""
    size = abs(value)
    if size == 0:
        return 2
    if size >= 1000 or not math.isfinite(size):
        return 0
    if size >= 10:
        return 1 if size >= 100 else 2
    if size < 1e-4:
        return None
    return 2 - math.floor(math.log10(size))


def number(value: float | None, places: int | None = -1) -> str:
    """A number to three or four significant digits, or to `places` decimals; a dash for None."""
    if value is None or math.isnan(value):
        return DASH
    if places == -1:
        places = decimals(value)
    return f"{value:.1e}" if places is None else f"{value:,.{places}f}"


def count(value: float | None) -> str:
    """A whole number with thousands separators."""
    return DASH if value is None else f"{value:,.0f}"


def p_value(value: float | None) -> str:
    """A p-value to three decimals, never shown as zero."""
    if value is None:
        return DASH
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def digest(text: str) -> str:
    """A hash by its first digits; any other text as it is."""
    return text[:8] if re.fullmatch("[0-9a-f]{40,}", text) else text


def natural(text: str) -> tuple[int, float, str]:
    """The key to sort texts by: numbers as numbers, before words; a dash last."""
    number = as_number(text)
    return (0, number, "") if number is not None else (2 if text == DASH else 1, 0.0, text)


def listed(items: Iterable[object], limit: int = 10) -> str:
    """Comma-separated, cut after `limit` with the number left out."""
    texts = [str(item) for item in items]
    rest = f" and {len(texts) - limit:,} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + rest


def width(text: str) -> int:
    """Columns a terminal needs for `text`."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def pad(text: str, size: int, right: bool = False) -> str:
    """`text` filled with spaces to `size` terminal columns."""
    fill = " " * max(0, size - width(text))
    return fill + text if right else text + fill


def markdown(text: str) -> str:
    """Escaped for a table cell of GitHub-flavoured Markdown: no markup, no HTML, no new column."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[#+|~$])", r"\\\1", text)


def latex(text: str) -> str:
    """Escaped for LaTeX; a letter beyond Latin becomes its code point, as pdflatex has no glyph for it."""
    return "".join(_LATEX.get(char) or (char if ord(char) < 0x180 else _code(char)) for char in text)


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet runs as a formula; numbers pass unchanged, None becomes empty.

    See OWASP, "CSV Injection".
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") and as_number(value) is None:
        return "'" + value
    return value


def as_number(text: str) -> float | None:
    """The number that a text is, if it is one."""
    try:
        return float(text)
    except ValueError:
        return None


def _code(char: str) -> str:
    return "" if unicodedata.combining(char) else f"[U+{ord(char):04X}]"
