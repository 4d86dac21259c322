"""history.csv is read back as it was written."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ganbench.errors import RunError
from ganbench.runs import HISTORY_COLUMNS, RunDirectory, read_run
from ganbench.runs.history import LATER_COLUMNS


def test_history_is_read_back_exactly(run: Path) -> None:
    rows = [
        [2, 16, 0.1 + 0.2, 1e-300, -3.5, 0.0, 1 / 3, 2.5, 0.5, 1e30, 7.0, 0.9],
        [4, 32, 1.5, *[math.nan] * 9],
    ]
    RunDirectory(run).write_history(rows)
    text = (run / "history.csv").read_text().splitlines()
    assert text[0] == (
        "step,images,train_seconds,d_loss,g_loss,d_penalty,d_real,d_fake,d_accuracy,d_grad_norm,g_grad_norm,"
        "diversity"
    )
    assert text[1].startswith("2,16,0.30000000000000004,1e-300,")
    found = read_run(run).history
    assert list(found[0].values()) == rows[0]
    assert list(found[1].values())[:3] == [4, 32, 1.5] and math.isnan(found[1]["g_grad_norm"])
    assert tuple(found[0]) == HISTORY_COLUMNS


def test_a_history_may_lack_a_later_column(run: Path) -> None:
    old = [name for name in HISTORY_COLUMNS if name not in LATER_COLUMNS]
    (run / "history.csv").write_text(f"{','.join(old)}\n{','.join('1' for _ in old)}\n")
    (row,) = read_run(run).history
    assert tuple(row) == HISTORY_COLUMNS
    assert {name for name, value in row.items() if math.isnan(value)} == set(LATER_COLUMNS)
    assert {row[name] for name in old} == {1.0}
    (run / "history.csv").write_text(f"{','.join(old[:-1])}\n")
    with pytest.raises(RunError, match="lacks the column g_grad_norm"):
        _ = read_run(run).history
