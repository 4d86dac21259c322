"""load_runs: one row a score, nothing invented."""

from __future__ import annotations

import builtins
import json
import math
from pathlib import Path
from typing import Any

import pytest
import synthetic_runs as synthetic

import ganbench
from ganbench.errors import UserError


@pytest.fixture
def filled(root: Path) -> Path:
    synthetic.completed(root, seed=0, fid=10.0)
    synthetic.completed(root, seed=1, fid=math.nan, training=False)
    synthetic.failed(root, "failed", "out of memory", seed=2)
    return root


def test_one_row_for_each_run_weights_and_protocol(filled: Path) -> None:
    rows = ganbench.load_runs(filled, as_frame=False)
    assert [(row["seed"], row["weights"], row["fid"]) for row in rows] == [
        (0, "last", 10.0),
        (0, "best", pytest.approx(9.7)),
        (1, "last", None),
        (1, "best", None),
        (2, "", None),
    ]
    assert rows[-1]["reason"] == "out of memory"
    assert {row["diagnosis"] for row in rows} == {""}
    assert rows[0]["config.loss.optimizer.betas"] == "[0.5, 0.999]"
    assert rows[0]["protocol.reference.split"] == rows[0]["split"] == "test"
    assert [rows[0][f"class.histogram.{label}"] for label in range(10)] == [0.1] * 10
    assert rows[0]["class.pixel_std.9"] == pytest.approx(0.82 * rows[0]["class.pixel_std.0"])
    assert (rows[0]["seconds"], rows[0]["images_per_second"]) == (45.6, pytest.approx(256_000 / 45.6))


def test_what_a_run_was_made_by_has_columns(root: Path) -> None:
    path = synthetic.completed(root, training=False) / "run.json"
    said = {
        "versions": {"ganbench": "0.1.0", "torch": "2.14.1"}, "git": {"commit": "c0ffee" * 6, "dirty": True},
    }  # fmt: skip
    path.write_text(json.dumps(json.loads(path.read_text()) | said))
    synthetic.completed(root, seed=1, training=False)
    first, *_, last = ganbench.load_runs(root, as_frame=False)
    names = ("dataset_sha256", "ganbench", "torch", "commit", "dirty")
    assert first["discriminator_parameters"] == 1000
    assert [first[name] for name in names] == ["d" * 64, "0.1.0", "2.14.1", "c0ffee" * 6, True]
    assert [last[name] for name in names] == ["d" * 64, None, "2", None, None]


def test_scores_during_training(filled: Path) -> None:
    rows = ganbench.load_runs(filled, scores="training", as_frame=False)
    assert [row["step"] for row in rows if row["seed"] == 0] == [400, 800, 1200, 1600, 2000]
    assert [row["split"] for row in rows if row["seed"] == 0] == ["train"] * 5
    assert len(rows) == 7
    with pytest.raises(UserError, match="scores='all'"):
        ganbench.load_runs(filled, scores="all", as_frame=False)


def test_data_frame(filled: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = ganbench.load_runs([filled])
    assert isinstance(frame, pandas.DataFrame)
    assert frame.loc[frame.weights == "last", "fid"].isna().tolist() == [False, True]
    assert list(frame.columns[:5]) == ["path", "dataset", "model", "loss", "experiment"]


def test_what_is_skipped_is_warned_of(filled: Path) -> None:
    damaged = synthetic.completed(filled, seed=5)
    (damaged / "scores.json").write_text("[")
    with pytest.warns(UserWarning, match=rf"1 skipped: {damaged}: scores.json: damaged"):
        rows = ganbench.load_runs(filled, as_frame=False)
    assert 5 not in {row["seed"] for row in rows}


@pytest.mark.parametrize("root", [None, 5, []])
def test_no_folder_is_refused(root: Any) -> None:
    with pytest.raises(UserError, match="must be a folder, or a list of some"):
        ganbench.load_runs(root)


def test_without_pandas(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refuse(name: str, *arguments: Any, **rest: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return original(name, *arguments, **rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert isinstance(ganbench.load_runs(filled), list)
    with pytest.raises(UserError, match="needs pandas"):
        ganbench.load_runs(filled, as_frame=True)


def test_rows_are_json(filled: Path) -> None:
    rows = ganbench.load_runs(filled, as_frame=False)
    assert rows and json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no runs found"):
        ganbench.load_runs(tmp_path)


def test_a_diagnosis_is_a_column(root: Path) -> None:
    path = synthetic.completed(root) / "run.json"
    entries = [{"name": name, "step": 50, "evidence": {}, "fix": ""} for name in ("collapse", "oscillation")]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"diagnosis": entries}))
    assert {row["diagnosis"] for row in ganbench.load_runs(root, as_frame=False)} == {"collapse, oscillation"}
