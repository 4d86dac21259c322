"""Diagnostics in a run: said once, written to run.json, the same after a resume, and able to stop it."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from ganbench import runs
from ganbench.data import Dataset
from ganbench.engine import diagnostics
from ganbench.engine.diagnostics import LAST_RESORT, Diagnostics, advice
from ganbench.engine.failures import FAILURES, Collapse, Failure, Finding
from ganbench.engine.loop import Training
from ganbench.engine.signals import Interrupted
from ganbench.engine.step import Step
from ganbench.runs import HISTORY_COLUMNS
from ganbench.session import Outcome, train_run

pytestmark = pytest.mark.usefixtures("cached_data")

SHORT = (
    "loss=bce", "model.generator.widths=[16,16]", "model.discriminator.widths=[16,16]",
    "train.steps=8", "train.log_every=2", "train.checkpoint_every=4",
)  # fmt: skip
CERTAIN = Collapse(warm_up=3, lasting=2, identical=100.0)
"""Finds every run collapsed from the block that ends with step 4 or later."""


@pytest.fixture
def certain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure that every run shows, with blocks of two steps."""
    monkeypatch.setattr(diagnostics, "BLOCK_STEPS", 2)
    monkeypatch.setattr(diagnostics, "FAILURES", (CERTAIN,))


@pytest.fixture
def train(tmp_path: Any) -> Callable[..., Outcome]:
    """Train a configuration in a folder of the given name."""
    return lambda config, name="run": train_run({**config, "output_root": str(tmp_path / "outputs" / name)})


def assert_same(first: Path, second: Path) -> None:
    """Bit by bit the same weights and, but for the seconds, the same history."""
    weights = [safetensors.torch.load_file(path / runs.GENERATOR["last"]) for path in (first, second)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    histories = [runs.read_run(path).history for path in (first, second)]
    assert [row | {"train_seconds": 0} for row in histories[0]] == [
        row | {"train_seconds": 0} for row in histories[1]
    ]


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Send this process a signal in the midst of a training step."""
    original, taken = Step.__call__, [0]

    def interrupted(self: Step) -> Tensor:
        taken[0] += 1
        if taken[0] == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self)

    monkeypatch.setattr(Step, "__call__", interrupted)


def stopping(config: dict[str, Any], *names: str) -> dict[str, Any]:
    return {**config, "train": {**config["train"], "stop_on": list(names)}}


# --- rows and blocks --------------------------------------------------------------------------------


def history(steps: int, every: int, seed: int = 0) -> list[list[float]]:
    """Rows as the loop makes them from one series of steps, whatever the interval."""
    rng = random.Random(seed)
    series = []
    for step in range(steps):
        late = step > steps / 2
        g_norm, varied = (1e-3, 0.01) if late else (2.0, 0.5)
        # d_loss, g_loss, d_penalty, d_real, d_fake, d_accuracy, d_grad_norm, g_grad_norm, diversity
        figures = [0.5, 2.0, 0.0, 3.0, -3.0, 0.9, 1.0, g_norm, varied]
        series.append([value * rng.uniform(0.9, 1.1) for value in figures])
    rows = []
    for start in range(0, steps, every):
        part = series[start : start + every]
        means = [sum(column) / len(part) for column in zip(*part, strict=True)]
        rows.append([float(start + len(part)), 0.0, 0.0, *means])
    return rows


@pytest.mark.parametrize("every", [1, 7, 10, 25, 50])
def test_the_logging_interval_does_not_matter(every: int) -> None:
    expected, found = Diagnostics(), Diagnostics()
    expected.update(history(4000, 50), [])
    found.update(history(4000, every), [])
    assert set(found.found) == set(expected.found) == {"collapse", "vanishing_gradients"}
    for name, diagnosis in expected.found.items():
        assert abs(found.found[name].step - diagnosis.step) <= 100


def test_a_block_is_the_mean_over_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    class Spy(Failure):
        name, fixes = "spy", ("",)

        def in_history(self, history: Any) -> Finding | None:
            seen.append(dict(history.last(1)[0]))
            return None

    monkeypatch.setattr(diagnostics, "FAILURES", (Spy(),))
    rows = [[step, step, 0.0, *[value] * 9] for step, value in ((20, 1.0), (30, 4.0), (50, 6.0), (110, 9.0))]
    Diagnostics().update(rows, [])
    assert [(block["step"], block["d_loss"]) for block in seen] == [(50, (20 + 40 + 120) / 50), (110, 9.0)]
    assert tuple(seen[0]) == HISTORY_COLUMNS


def test_a_score_comes_after_the_row_of_its_step() -> None:
    rows, records = [[50.0], [100.0]], [{"step": 50}, {"step": 75}]
    assert list(Diagnostics._in_order(rows, records)) == [rows[0], *records, rows[1]]


def test_in_pieces_or_at_once_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resuming replays the whole history and all scores in one piece."""
    rows = history(4000, 50)
    records = [
        {"step": step, "protocol": {}, "values": {}, "per_class": {"histogram": [1.0, 0.0]}}
        for step in (500, 1000, 2200, 3000)
    ]
    monkeypatch.setattr(diagnostics, "FAILURES", (Collapse(long=2100, few_classes=0.5), *FAILURES[1:]))
    whole = Diagnostics()
    whole.update(rows, records)
    pieces, said = Diagnostics(), []
    for row in range(1, len(rows) + 1):
        for scores in (False, True):  # the loop logs a step before it scores it
            known = [record for record in records if record["step"] < rows[row - 1][0] + scores]
            said += pieces.update(rows[:row], known)
    assert pieces.as_dicts() == whole.as_dicts() and len(whole.found) == 2
    assert whole.found["collapse"].evidence == {"effective_classes": 1.0}, "the score came first"
    assert {diagnosis.name for diagnosis in said} == set(whole.found) and len(said) == 2
    assert [entry["step"] for entry in whole.as_dicts()] == sorted(d.step for d in whole.found.values())


def scored(step: int, classes: int, protocol: str = "A", **values: float) -> dict[str, Any]:
    """A record whose images are of so many classes in equal parts."""
    histogram = [1 / classes] * classes + [0.0] * (10 - classes)
    return {
        "step": step,
        "protocol": {"of": protocol},
        "values": values,
        "per_class": {"histogram": histogram},
    }


def test_variety_is_held_to_its_best_under_the_same_protocol() -> None:
    fallen = [scored(2000, 3), scored(3000, 8), scored(4000, 5), scored(5000, 3)]
    found = Diagnostics()
    found.update([], fallen)
    evidence = {"effective_classes": 3.0, "effective_classes_before": 8.0}
    assert [(d.name, d.step, d.evidence) for d in found.found.values()] == [("collapse", 5000, evidence)]
    assert Diagnostics().update([], [*fallen[:3], scored(5000, 3, "B")]) == []


def test_the_recall_of_the_last_weights_is_held_to_that_of_the_best() -> None:
    """As final scores come: the last weights first, then the best, of an earlier step."""
    found, way = Diagnostics(), [scored(2000, 9, "on the way")]
    assert found.update([], way) == []
    (diagnosis,) = found.update([], [*way, scored(4000, 9, recall=0.1), scored(2000, 9, recall=0.5)])
    assert (diagnosis.name, diagnosis.step) == ("collapse", 4000)
    assert diagnosis.evidence == {"recall": 0.1, "recall_before": 0.5}
    assert Diagnostics().update([], [scored(4000, 9, recall=0.5), scored(2000, 9, recall=0.1)]) == []


def test_a_diagnosis_in_words_and_in_json() -> None:
    found = Diagnostics()
    rows = [[50.0 * (i + 1), 0, 0, *[1.0] * 9] for i in range(11)]
    rows[-1][HISTORY_COLUMNS.index("g_grad_norm")] = 123456.0
    (diagnosis,) = found.update(rows, [])
    assert str(diagnosis) == "gradient_explosion since step 550 (g_grad_norm 123500, largest_before 1)"
    assert found.as_dicts() == [
        {
            "name": "gradient_explosion",
            "step": 550,
            "evidence": {"g_grad_norm": 123500.0, "largest_before": 1.0},
            "fix": "a lower loss.d_lr and loss.g_lr, or loss.critic_norm=spectral (not with weight clipping)",
        }
    ]


def test_nothing_is_advised_that_the_run_does_already() -> None:
    fixes = ("loss.n_critic=1", "loss.d_lr no higher than loss.g_lr", "loss=bce loss.real_label=0.9")
    everything = "loss.n_critic=1, loss.d_lr no higher than loss.g_lr, or loss=bce loss.real_label=0.9"
    for recipe, said in (
        ({"name": "bce", "n_critic": 5, "real_label": 1.0}, everything),
        ({"name": "lsgan", "n_critic": 5, "real_label": 0.9}, everything),
        ({"name": "bce", "n_critic": 1, "real_label": 1}, everything.partition(", ")[2]),
        ({"name": "bce", "n_critic": 1, "real_label": 0.9}, fixes[1]),
    ):
        assert advice(fixes, {"loss": recipe}) == said
    for d_lr, named in ((2e-4, False), (1e-4, False), (3e-4, True)):
        advised = advice(fixes, {"loss": {"name": "bce", "n_critic": 5, "d_lr": d_lr, "g_lr": 2e-4}})
        assert ("no higher" in advised) == named
    adam = {"loss": {"optimizer": {"lr": 0.0002, "betas": [0.5, 0.999]}}}
    lr, betas = "loss.optimizer.lr=2e-4", "with 'loss.optimizer.betas=[0.5,0.999]' (less)"
    assert advice((lr, betas, "less"), adam) == "less"
    assert advice((lr, betas), adam) == LAST_RESORT
    assert advice((lr, "loss.x.y=1"), {}) == f"{lr}, or loss.x.y=1"
    spectral = "loss.critic_norm=spectral (not with weight clipping)"
    for norm, said in (("spectral", LAST_RESORT), ("none", spectral)):  # auto is the model's own
        own = {"loss": {"critic_norm": "auto"}, "model": {"discriminator": {"norm": norm}}}
        assert advice((spectral,), own) == said


# --- in a run ---------------------------------------------------------------------------------------


def test_a_healthy_run_has_an_empty_diagnosis(configure: Any, train: Any) -> None:
    record = runs.read_run(train(configure(*SHORT)).path)
    assert record.info["diagnosis"] == []
    assert all(0 < row["diversity"] < 10 for row in record.history)


def test_said_once_and_written(
    configure: Any,
    train: Any,
    certain: None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = configure(*SHORT)
    whole = train(config, "whole")
    assert whole.status == runs.COMPLETED, "told, not stopped"
    assert caplog.text.count("collapse since step 4 (diversity ") == 1
    assert "step 4: collapse" in caplog.text and "; try remedy.feature_matching=true" in caplog.text
    (entry,) = runs.read_run(whole.path).info["diagnosis"]
    assert set(entry) == {"name", "step", "evidence", "fix"}
    assert (entry["name"], entry["step"]) == ("collapse", 4)
    history = runs.read_run(whole.path).history
    shown = {name: pytest.approx(history[1][name], rel=1e-3) for name in ("diversity", "d_accuracy")}
    assert entry["evidence"] == shown
    caplog.clear()
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(Interrupted):
            train(config, "cut")
    resumed = train(config, "cut")
    assert caplog.text.count("collapse since step 4 (diversity ") == 1, "not again after the resume"
    assert runs.read_run(resumed.path).info["diagnosis"] == [entry]
    assert_same(whole.path, resumed.path)


def test_final_scores_are_diagnosed(configure: Any, train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "FAILURES", (Collapse(warm_up=0, long=1, few_classes=1.0),))
    small = ("eval.enabled=true", "eval.num_samples=40", "eval.kid_subset_size=10", "eval.kid_subsets=2")
    outcome = train(stopping(configure(*SHORT, *small, "eval.per_class=4"), "collapse"))
    assert outcome.status == runs.COMPLETED, "there was nothing left to stop"
    (entry,) = runs.read_run(outcome.path).info["diagnosis"]
    assert (entry["name"], entry["step"]) == ("collapse", 8)
    assert set(entry["evidence"]) == {"effective_classes", "class_kl", "precision", "recall"}


def test_values_that_are_no_numbers_are_divergence(configure: Any, train: Any) -> None:
    outcome = train(configure(*SHORT, "loss.optimizer.lr=1e30"))
    assert outcome.status == runs.DIVERGED
    (entry,) = runs.read_run(outcome.path).info["diagnosis"]
    assert entry["name"] == "divergence" and entry["step"] <= 2


# --- train.stop_on ----------------------------------------------------------------------------------


def test_a_run_is_stopped_and_says_why(configure: Any, train: Any, certain: None) -> None:
    config = stopping(configure(*SHORT, "train.steps=20", "train.log_every=3"), "divergence", "collapse")
    outcome = train(config)
    record = runs.read_run(outcome.path)
    assert (outcome.status, outcome.ok, record.status) == (runs.FAILED, False, runs.FAILED)
    assert (outcome.reason or "").startswith("stopped at step 6 by train.stop_on: collapse since step 6 (")
    assert record.reason == outcome.reason and record.info["finished_at"]
    assert (record.info["steps_done"], record.info["steps_total"]) == (6, 20)
    assert [row["step"] for row in record.history] == [3, 6]
    assert (outcome.path / "samples/final.png").exists() and (outcome.path / runs.CHECKPOINT).exists()
    assert not (outcome.path / runs.GENERATOR["last"]).exists()


def test_a_stopped_run_stays_stopped_until_it_may_go_on(configure: Any, train: Any, certain: None) -> None:
    config = configure(*SHORT)
    whole = train(config, "whole")
    first = train(stopping(config, "collapse"), "cut")
    again = train(stopping(config, "collapse"), "cut")
    assert (first.status, first.reason) == (again.status, again.reason) and not again.skipped
    record = runs.read_run(again.path)
    assert record.info["steps_done"] == 4
    assert record.info["diagnosis"] == runs.read_run(whole.path).info["diagnosis"]
    resumed = train(config, "cut")
    assert resumed.path == first.path and resumed.status == runs.COMPLETED
    assert_same(whole.path, resumed.path)
    assert train(stopping(config, "collapse"), "cut").skipped, "what is complete needs no stopping"


def test_other_failures_do_not_stop_it(configure: Any, train: Any, certain: None) -> None:
    assert train(stopping(configure(*SHORT), "divergence")).status == runs.COMPLETED


def test_a_history_from_before_the_column_goes_on(configure: Any, digits: Dataset) -> None:
    config = configure(*SHORT)
    training = Training(config, digits, torch.device("cpu"))
    state = training.state_dict()
    state["history"] = torch.ones(3, len(HISTORY_COLUMNS) - 1, dtype=torch.float64)
    training.load_state_dict(state)
    assert [len(row) for row in training.history] == [len(HISTORY_COLUMNS)] * 3
    assert training.history[0][-1] != training.history[0][-1], "unknown, not 0"
