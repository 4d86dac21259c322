"""A checkpoint that is whole and says something else than a run's: refused in words, never acted upon."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_runs import fail_at

from ganbench import runs
from ganbench.config import Config
from ganbench.engine.checkpoint import from_bytes, to_bytes
from ganbench.runs import CHECKPOINT
from ganbench.session import run_path, train_run


@pytest.fixture
def stopped(plain: Config, monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as patch:
        fail_at(patch, 7)
        assert train_run(plain).status == runs.FAILED
    return run_path(plain)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("step", 2**70),  # a loop that waits for the last step would never end
        ("step", -1),
        ("step", None),
        ("history", torch.zeros(2, 3)),
        ("history", "rows"),
        ("scores", 3),
        ("scores", [{}]),
        ("random", {}),
        ("generator", {}),
        ("g_opt", None),
        ("seconds", []),
        ("metrics", torch.zeros(99, 1)),
    ],
    ids=lambda value: str(value)[:12],
)
def test_wrong_content_is_a_reason(plain: Config, stopped: Path, key: str, value: object) -> None:
    state = from_bytes((stopped / CHECKPOINT).read_bytes())
    assert key in state
    state.update({key: value})
    (stopped / CHECKPOINT).write_bytes(to_bytes(state))
    history = (stopped / "history.csv").read_text()
    outcome = train_run(plain)
    assert outcome.status == runs.FAILED
    assert (stopped / "history.csv").read_text() == history, "what was recorded is not lost"
    assert "the checkpoint does not fit the run" in (outcome.reason or "")
    assert "force=true" in (outcome.reason or "")
    assert train_run({**plain, "force": True}).ok
