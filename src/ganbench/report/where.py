"""Conditions in the user's words, ``key=a,b``, matched against runs."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from ganbench.errors import UserError
from ganbench.report.collect import Run
from ganbench.report.text import as_number, clean, digest, listed


def select(runs: Sequence[Run], where: Sequence[str]) -> list[Run]:
    """The runs that satisfy all of ``key=a,b`` conditions.

    Raises:
        UserError: a condition without ``=``, with a key or value that no run has, or that matches no run.
    """
    chosen = list(runs)
    for condition in where:
        key, wanted = _condition(condition, runs)
        kept = [run for run in chosen if matches(run.lookup(key), wanted)]
        unmatched = [text for text in wanted if not any(matches(run.lookup(key), [text]) for run in runs)]
        if unmatched or not kept:
            among = chosen if not kept else runs
            what = (
                f"no run has {key}={clean(unmatched[0])}" if kept else f"matches none of {len(among):,} runs"
            )
            present = sorted({run.lookup(key) or "unset" for run in among})
            raise UserError(f"--where {clean(condition)}: {what}; {key} is {listed(present, 12)}")
        chosen = kept
    return chosen


def _condition(text: str, runs: Sequence[Run]) -> tuple[str, list[str]]:
    key, equals, values = text.partition("=")
    key = {"model.name": "model", "loss.name": "loss", "dataset.name": "dataset"}.get(key, key)
    if not equals or not key or not values:
        raise UserError(f"--where {clean(text)}: must be key=value or key=a,b, e.g. --where loss=bce,lsgan")
    if all(run.lookup(key) is None for run in runs):
        keys = dict.fromkeys(name for run in runs for name in run.config)
        known = list(dict.fromkeys(["dataset", "model", "loss", "experiment", "seed", "status", *keys]))
        close = difflib.get_close_matches(key, known, n=3) if key not in known else []
        hint = f"did you mean {' or '.join(close)}?" if close else f"e.g. {listed(known, 8)}"
        raise UserError(f"--where {clean(text)}: no run has the key {clean(key)}; {hint}")
    if any(matches(run.lookup(key), [values]) for run in runs):
        return key, [values]  # its commas are the value's own
    return key, [text.strip() for text in re.split(r",(?![^\[]*\])", values)]


def matches(value: str | None, wanted: Sequence[str]) -> bool:
    """Whether a setting is one of `wanted`; numbers are compared as numbers, lists as `train` takes them."""
    return value is not None and any(_equal(value, text) for text in wanted)


def _equal(value: str, text: str) -> bool:
    if value.startswith("[") and text.startswith("["):
        ours, theirs = ([part.strip() for part in each.strip("[]").split(",")] for each in (value, text))
        return len(ours) == len(theirs) and all(map(_equal, ours, theirs))
    number = as_number(value)
    return (
        value in (text, digest(text))
        or value.lower() == text.lower() in ("true", "false", "null")
        or (number is not None and number == as_number(text))
    )
