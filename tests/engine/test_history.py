"""A history of bounded size tells the rules what the whole one would, and at the same cost at every step."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import Any

import pytest

from ganbench.engine import diagnostics
from ganbench.engine.diagnostics import Diagnostics
from ganbench.engine.failures import FAILURES, Failure, Finding
from ganbench.engine.history import WINDOW, History, Row, Rows
from ganbench.runs import HISTORY_COLUMNS


class Whole(History):
    """All blocks, looked through for every question: slow, and plainly right."""

    def __init__(self, blocks: Iterable[Row] = ()) -> None:
        self.blocks = list(blocks)

    def __len__(self) -> int:
        return len(self.blocks)

    def append(self, block: Row) -> None:
        self.blocks.append(block)

    def last(self, steps: int) -> Rows:
        end = self.blocks[-1]["step"] if self.blocks else 0
        return [row for row in self.blocks if row["step"] > end - steps] if end >= steps else []

    def first(self, steps: int) -> Rows:
        return [row for row in self.blocks if row["step"] <= steps] or self.blocks[:1]

    def peak_before(self, recent: Rows, name: str) -> float:
        before = [row[name] for row in self.blocks if row["step"] < recent[0]["step"]]
        return max((value for value in before if not math.isnan(value)), default=math.nan)


def eventful(blocks: int, every: int, seed: int) -> list[dict[str, float]]:
    """Blocks in which every column leaps between regimes, with sudden peaks and values that are missing."""
    rng = random.Random(seed)
    levels = {
        "d_loss": (-3, 5000, 1e-3, 0.7), "g_loss": (20_000, 2), "d_penalty": (0,), "d_real": (3, 12),
        "d_fake": (-3, 2.9), "d_accuracy": (0.7, 0.995), "d_grad_norm": (1e-3, 1, 20),
        "g_grad_norm": (1e-3, 2, 150), "diversity": (0.05, 0.2, 0.6),
        "swings": (0, 1),
    }  # fmt: skip
    current: dict[str, float] = {name: choices[-1] for name, choices in levels.items()}
    rows = []
    for block in range(blocks):
        for name, choices in levels.items():
            if rng.random() < 0.04:
                current[name] = rng.choice(choices)
        row = {name: value * rng.uniform(0.9, 1.1) for name, value in current.items()}
        if row.pop("swings") and block % 2:
            row["d_fake"] = row["d_real"]
        if rng.random() < 0.01:
            row["g_grad_norm"] *= 1000
        if rng.random() < 0.003:
            row["diversity"] = math.nan
        rows.append({"step": float(every * (block + 1)), "images": 0.0, "train_seconds": 0.0} | row)
    return rows


def findings(history: History, blocks: list[dict[str, float]]) -> list[tuple[float, str, Finding]]:
    """Every finding of every rule at every block, not the first alone."""
    found = []
    for block in blocks:
        history.append(block)
        asked = [(failure.name, failure.in_history(history)) for failure in FAILURES]
        found += [(block["step"], name, finding) for name, finding in asked if finding]
    return found


@pytest.mark.parametrize("every", [50, 70, 130, 1500])
def test_the_rules_find_what_they_would_in_the_whole_history(every: int) -> None:
    named = set()
    for seed in range(3):
        blocks = eventful(150, every, seed)
        found = findings(History(), blocks)
        assert found == findings(Whole(), blocks)
        named |= {name for _, name, _ in found}
    expected = {failure.name for failure in FAILURES}
    # Blocks of 1,500 steps hold no six swings.
    assert named == (expected if every < 1000 else expected - {"oscillation"})


@pytest.mark.parametrize("every", [50, 400, 1500])
def test_each_question_is_answered_as_from_the_whole_history(every: int) -> None:
    bounded, whole = History(), Whole()
    assert bounded.last(1) == () and bounded.first(1) == [] and len(bounded) == 0
    for block in eventful(60, every, seed=9):
        bounded.append(block)
        whole.append(block)
        assert len(bounded) == len(whole)
        for steps in (1, 50, 500, 999, WINDOW):
            assert list(bounded.last(steps)) == whole.last(steps)
            assert list(bounded.first(steps)) == whole.first(steps)
            if recent := bounded.last(steps):
                for name in ("diversity", "g_grad_norm"):
                    found, expected = (h.peak_before(recent, name) for h in (bounded, whole))
                    assert found == expected or (math.isnan(found) and math.isnan(expected))


@pytest.mark.parametrize("question", ["first", "last"])
def test_what_is_not_kept_is_not_answered(question: str) -> None:
    with pytest.raises(ValueError, match=f"asked for {WINDOW + 1} steps of history, where {WINDOW} are kept"):
        getattr(History(), question)(WINDOW + 1)


class Counted(dict[str, float]):
    """A block that counts how often a figure of any block is looked at."""

    looks = 0

    def __getitem__(self, name: str) -> float:
        Counted.looks += 1
        return super().__getitem__(name)


def test_a_block_costs_the_same_at_every_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: looks at figures while one row of a healthy run and one score are added."""
    plain = diagnostics._mean
    monkeypatch.setattr(diagnostics, "_mean", lambda *given: Counted(plain(*given)))

    class Asked(Failure):
        name, fixes = "asked", ("",)

        def in_scores(self, record: Any, best: Any) -> Finding | None:
            assert isinstance(record, dict), "one record, not all of them"
            return None

    monkeypatch.setattr(diagnostics, "FAILURES", (*FAILURES, Asked()))
    healthy = [0.7, 2.0, 0.0, 2.0, -1.5, 0.88, 10.0, 5.0, 0.6]
    diagnosed, rows, records, looks = Diagnostics(), [], [], {}
    assert len(healthy) + 3 == len(HISTORY_COLUMNS)
    for block in range(1, 2001):
        before = Counted.looks
        rows.append([50.0 * block, 0.0, 0.0, *healthy])
        records.append({"step": 50 * block, "protocol": {}, "per_class": {}, "values": {}})
        diagnosed.update(rows, records)
        looks[block] = Counted.looks - before
    assert not diagnosed.found
    assert 0 < looks[2000] == looks[1000] == looks[100] < 500


def test_at_most_two_windows_are_kept() -> None:
    history = History({"step": 50.0 * (i + 1), "d_loss": 1.0} for i in range(5000))
    assert len(history) == 5000
    assert len(history._first) == len(history._last) == WINDOW // 50
