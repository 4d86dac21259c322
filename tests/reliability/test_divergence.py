"""Divergence: found within a logging interval, recorded with step and last finite values, never a score."""

from __future__ import annotations

import math
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import fault_injection as faults
import pytest
import torch
from small_runs import at_step, step_of

from ganbench import runs
from ganbench.cli import main
from ganbench.config import Config, compose
from ganbench.engine.signals import Interrupted
from ganbench.engine.step import Step
from ganbench.errors import RunError
from ganbench.generator import load_generator
from ganbench.runs import CHECKPOINT, METRICS
from ganbench.session import run_path, train_run


def spoil(monkeypatch: pytest.MonkeyPatch, kind: str, step: int) -> None:
    """Make a loss, gradient or weight not finite in step `step`, counted from 1."""
    call = Step.__call__
    taken = 0

    def spoiled(self: Step) -> torch.Tensor:
        nonlocal taken
        taken += 1
        metrics = call(self)
        if taken == step:
            if kind == "weight":
                next(self.gan.generator.parameters()).data[0, 0] = math.inf
            else:
                metrics[0 if kind == "loss" else 6] = math.nan
        return metrics

    monkeypatch.setattr(Step, "__call__", spoiled)


@pytest.mark.parametrize("kind", ["loss", "gradient", "weight"])
def test_found_within_one_interval_with_step_and_last_values(
    plain: Config, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    spoil(monkeypatch, kind, 9 if kind == "weight" else 8)
    outcome = train_run(plain)
    record = runs.read_run(outcome.path)
    assert (outcome.status, record.status) == (runs.DIVERGED, runs.DIVERGED)
    assert record.info["steps_done"] == 9  # the end of its interval of three
    reason = record.reason or ""
    if kind == "weight":
        assert reason.startswith("step 9: a weight is not finite")
    else:
        name = "d_loss" if kind == "loss" else "d_grad_norm"
        assert reason.startswith(f"step 8: {name} not finite")
    (last,) = re.findall(r"last finite values \(step (\d+)\): (.*)", reason)
    assert int(last[0]) == (9 if kind == "weight" else 7)
    values = dict(re.findall(r"(\w+)=([^,]+)", last[1]))
    assert set(values) == set(METRICS)
    assert all(math.isfinite(float(value)) for value in values.values())
    assert [row["step"] for row in record.history] == [3, 6]
    assert all(math.isfinite(value) for row in record.history for value in row.values())


def test_a_real_divergence(plain: Config, tmp_path: Path) -> None:
    plain["loss"].update(d_lr=1e30, g_lr=1e30)
    outcome = train_run(plain)
    assert outcome.status == runs.DIVERGED
    assert re.match(r"step [123]: ", outcome.reason or "")
    assert not (outcome.path / "scores.json").exists()


def test_a_run_that_diverges_beside_scores_that_cannot_be_read_says_so(
    plain: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(run: runs.RunDirectory) -> None:
        raise RunError("scores.json: not JSON")

    monkeypatch.setattr("ganbench.session._plot", damaged)
    spoil(monkeypatch, "weight", 7)
    assert runs.read_run(train_run(plain).path).status == runs.DIVERGED


def test_a_checkpoint_is_never_one_of_weights_that_are_not_finite(
    plain: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain["train"].update(log_every=12, checkpoint_every=2)
    spoil(monkeypatch, "weight", 7)
    outcome = train_run(plain)
    assert outcome.status == runs.DIVERGED
    assert (outcome.reason or "").startswith("step 8")
    trained = load_generator(outcome.path)
    assert trained.step == 6
    assert all(weight.isfinite().all() for weight in trained.network.parameters())


def test_scores_stop_where_it_diverges(
    tmp_path: Path, cached_data: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose(
        [*faults.MLP, "train.steps=12", "eval.every=2", "train.log_every=6", f"output_root={tmp_path}"]
    )
    spoil(monkeypatch, "weight", 4)
    outcome = train_run(config)
    record = runs.read_run(outcome.path)
    assert record.status == runs.DIVERGED
    assert (record.reason or "").startswith("step 4: ")  # asked before the score, not after the interval
    assert [(score["when"], score["step"]) for score in record.scores] == [("training", 2)]
    assert all(math.isfinite(value) for value in record.scores[0]["values"].values())
    assert main(["compare", str(tmp_path)]) == 0
    assert "diverged" in capsys.readouterr().out


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Send this process SIGTERM in the step after `step` whole ones."""
    at_step(monkeypatch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))


def test_a_stop_when_the_weights_are_not_finite_goes_on_from_the_checkpoint_before(
    plain: Config, calm: Callable[[], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two logged steps nobody has looked yet; such a state is not worth a checkpoint."""
    plain["train"].update(log_every=12)
    with monkeypatch.context() as patch:
        spoil(patch, "weight", 8)
        stop_at(patch, 7)
        with pytest.raises(Interrupted):
            train_run(plain)
    path = run_path(plain)
    assert runs.read_run(path).status == runs.INTERRUPTED
    assert step_of(path / CHECKPOINT) == 6
    assert train_run(plain).ok
    assert "resumed at step 6" in (path / "train.log").read_text()
    assert faults.differences(calm(), faults.fingerprint(path)) == []


def test_a_signal_in_the_step_that_diverges_is_not_forgotten(
    plain: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run has diverged, and a sweep must still not go on to the next."""
    spoil(monkeypatch, "loss", 9)
    stop_at(monkeypatch, 8)
    with pytest.raises(Interrupted):
        train_run(plain)
    assert runs.read_run(run_path(plain)).status == runs.DIVERGED


@pytest.mark.parametrize("loss", ["bce", "wgan_gp"])
def test_no_step_waits_for_the_device(
    tmp_path: Path, cached_data: None, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    """Whatever fetches a value from the device is refused inside a step."""
    config = compose([*faults.MLP, f"loss={loss}", "eval.enabled=false", f"output_root={tmp_path}"])
    config["train"]["steps"] = 4
    call = Step.__call__

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a step fetched a value")

    def watched(self: Step) -> torch.Tensor:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("item", "cpu", "numpy", "tolist", "__bool__", "__float__", "__int__"):
                patch.setattr(torch.Tensor, name, refuse)
            return call(self)

    monkeypatch.setattr(Step, "__call__", watched)
    assert train_run(config).status == runs.COMPLETED


def test_a_diverged_run_diverges_again_at_the_same_step(plain: Config) -> None:
    plain["loss"].update(d_lr=1e30, g_lr=1e30)
    first, second = train_run(plain), train_run(plain)
    assert (first.status, first.reason) == (second.status, second.reason)
