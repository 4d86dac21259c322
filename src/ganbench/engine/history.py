"""What the rules of `ganbench.engine.failures` may look at: a history of any length in bounded memory."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

Row = Mapping[str, float]
Rows = Sequence[Row]

WINDOW = 1000
"""Steps that are kept at either end of a history; no rule may look further."""


class History:
    """A history in blocks, rows of means by the names of history.csv, that only grows.

    Kept are the blocks of the first and of the last `WINDOW` steps, at least one each, and of all those in
    between the largest value of each column. So what a rule costs does not grow with the run.
    """

    def __init__(self, blocks: Iterable[Row] = ()) -> None:
        self._count = 0
        self._first: list[Row] = []
        self._last: list[Row] = []
        self._peaks: dict[str, float] = {}  # of the blocks that are no longer in _last
        for block in blocks:
            self.append(block)

    def __len__(self) -> int:
        return self._count

    def append(self, block: Row) -> None:
        """Add the newest block; whatever falls out of the window leaves its peaks behind."""
        self._count += 1
        if not self._first or block["step"] <= WINDOW:
            self._first.append(block)
        self._last.append(block)
        while self._last[0]["step"] <= block["step"] - WINDOW:
            for name, value in self._last.pop(0).items():
                self._peaks[name] = _larger(self._peaks.get(name, math.nan), value)

    def last(self, steps: int) -> Rows:
        """The blocks of the last `steps` steps, at most `WINDOW`; none where the history is shorter."""
        _require_kept(steps)
        if not self._last or self._last[-1]["step"] < steps:
            return ()
        return self._last[_until(self._last, self._last[-1]["step"] - steps) :]

    def first(self, steps: int) -> Rows:
        """The blocks of the first `steps` steps, at most `WINDOW`; at least one, where there is any."""
        _require_kept(steps)
        return self._first[: max(1, _until(self._first, steps))]

    def peak_before(self, recent: Rows, name: str) -> float:
        """The largest value of a column before `recent`, the newest blocks; NaN where there is none."""
        peak = self._peaks.get(name, math.nan)
        for row in self._last[: len(self._last) - len(recent)]:
            peak = _larger(peak, row[name])
        return peak


def _until(rows: Rows, step: float) -> int:
    """How many rows end at `step` or earlier."""
    return bisect_right(rows, step, key=lambda row: row["step"])


def _larger(a: float, b: float) -> float:
    """The larger value; a missing one, NaN, does not count."""
    return b if math.isnan(a) or b > a else a


def _require_kept(steps: int) -> None:
    if steps > WINDOW:
        raise ValueError(f"asked for {steps} steps of history, where {WINDOW} are kept: raise WINDOW")
