"""Nonsense on the command line and in run directories: a reason, never a traceback, a hang or a loss."""

from __future__ import annotations

from pathlib import Path

import fuzz
import pytest


def test_two_hundred_cases(tmp_path: Path) -> None:
    """The same ones each time; `scripts/fuzz.py` draws thousands of others."""
    complaints, counts = fuzz.fuzz(200, tmp_path)
    assert complaints == []
    assert sum(counts.values()) == 200
    assert all(counts[command] >= 10 for command in fuzz.COMMANDS), counts


@pytest.mark.parametrize(
    "seen",
    [
        (3, "x", 1.0),
        ("Hang: still at it", "x", 1.0),
        (1, "ganbench: train: KeyError: 'seed' (--debug shows where)", 1.0),
        (1, "ganbench: outputs/a: failed: RuntimeError: size mismatch", 1.0),
        (1, "Traceback (most recent call last):", 1.0),
        (0, "--- Logging error ---", 1.0),
        (2, "", 1.0),
        (0, "", 121.0),
    ],
)
def test_the_fuzz_notices_a_crash(seen: tuple[object, str, float]) -> None:
    assert list(fuzz.judged(*seen))


@pytest.mark.parametrize("seen", [(0, "", 1.0), (2, "ganbench: seed=x: must be an integer", 1.0)])
def test_the_fuzz_is_content_with_a_reason(seen: tuple[object, str, float]) -> None:
    assert not list(fuzz.judged(*seen))


def test_the_fuzz_notices_a_hang_and_a_touched_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "LIMIT_SECONDS", 0.05)
    monkeypatch.setattr(fuzz, "ganbench", _for_ever)
    code, _, _ = fuzz.run_command(["compare"])
    assert str(code).startswith("Hang")
    (tmp_path / "mine").write_text("a")
    before = fuzz.contents(tmp_path)
    (tmp_path / "mine").write_text("b")
    assert fuzz.contents(tmp_path) != before


def _for_ever(arguments: list[str]) -> int:
    while True:
        pass
