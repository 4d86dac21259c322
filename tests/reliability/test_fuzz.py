"""Nonsense on the command line and in run directories: a reason, never a traceback, a hang or a loss."""

from __future__ import annotations

from pathlib import Path

import fuzz


def test_two_hundred_cases(tmp_path: Path) -> None:
    complaints, counts = fuzz.fuzz(200, tmp_path)
    assert complaints == []
    assert sum(counts.values()) == 200
    assert all(counts[command] >= 10 for command in fuzz.COMMANDS), counts


def test_the_fuzz_would_notice(tmp_path: Path) -> None:
    found = [
        list(fuzz._judged(*seen))
        for seen in (
            (0, "", 1.0),
            (2, "ganbench: seed=x: must be an integer", 1.0),
            (3, "x", 1.0),
            ("hang", "x", 1.0),
            (1, "ganbench: train: KeyError: 'seed' (--debug shows where)", 1.0),
            (1, "ganbench: outputs/a: failed: RuntimeError: size mismatch", 1.0),
            (1, "Traceback (most recent call last):", 1.0),
            (0, "--- Logging error ---", 1.0),
            (2, "", 1.0),
            (0, "", 61.0),
        )
    ]
    assert [bool(complaints) for complaints in found] == [False, False] + [True] * 8
