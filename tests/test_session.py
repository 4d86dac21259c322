"""A run from beginning to end: what it leaves, what it says of itself, and when it has nothing to do."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganbench import runs, session
from ganbench.cli import main
from ganbench.config import identity
from ganbench.data import Dataset, Split
from ganbench.engine.images import PADDING
from ganbench.engine.loop import Training
from ganbench.engine.signals import Interrupted
from ganbench.errors import ConfigError, DataError, RunError
from ganbench.generator import exported_step, to_safetensors
from ganbench.runs import GENERATOR, RunDirectory, read_run
from ganbench.runs.lock import holder
from ganbench.scorer import RunScorer, best_score, drop_stale
from ganbench.session import run_path, train_run

pytestmark = pytest.mark.usefixtures("cached_data")

INFO_KEYS = {
    "schema", "status", "reason", "config_hash", "seed", "dataset_sha256", "code", "device", "precision",
    "versions", "git", "host", "started_at", "finished_at", "steps_done", "steps_total", "images_seen",
    "seconds", "peak_memory_bytes", "parameters", "diagnosis", "execution", "name", "experiment", "resumed",
}  # fmt: skip

ALWAYS = {
    "config.yaml", "run.json", "history.csv", "train.log", ".lock",
    "samples/step_0.png", "samples/step_2.png", "samples/step_3.png", "samples/final.png",
    "plots/loss_curves.png",
    "checkpoints/last.pt", "checkpoints/previous.pt", "checkpoints/generator.safetensors",
}  # fmt: skip
CONDITIONAL = {"samples/per_class.png", "samples/fixed_z.png"}

SMALL_EVAL = (
    "eval.enabled=true", "eval.num_samples=40", "eval.kid_subset_size=10",
    "eval.kid_subsets=2", "eval.per_class=4",
)  # fmt: skip


def contents(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


# --- what a run leaves ------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["mlp", "cgan"])
def test_run_directory_is_what_the_design_says(model: str, configure: Any, real_pictures: None) -> None:
    config = configure("loss=hinge", f"model={model}", "train.sample_every=2", "train.checkpoint_every=2")
    outcome = train_run(config)
    path = outcome.path
    assert (outcome.status, outcome.ok, outcome.skipped) == (runs.COMPLETED, True, False)
    assert path == run_path(config)
    assert contents(path) == ALWAYS | (CONDITIONAL if model == "cgan" else set())
    for picture in [*path.rglob("*.png")]:
        assert min(Image.open(picture).size) > 100, picture


def test_scores_are_left_with_their_protocol(configure: Any) -> None:
    outcome = train_run(configure("loss=hinge", "model=mlp", *SMALL_EVAL))
    record = read_run(outcome.path)
    assert (outcome.status, outcome.reason) == (runs.COMPLETED, None)
    assert {"scores.json"} <= contents(outcome.path)
    score = record.scores[-1]
    assert (score["when"], score["weights"], score["step"]) == ("final", "last", 3)
    assert score["protocol"]["num_generated"] == 40
    assert score["protocol"]["reference"]["dataset"] == "digits"
    assert score["values"]["fid"] > 0
    assert record.info["seconds"]["eval"] > 0


SCORED = {
    "config.yaml", "run.json", "history.csv", "train.log", ".lock", "scores.json",
    "samples/step_0.png", "samples/step_3.png", "samples/final.png", "samples/neighbours.png",
    "plots/loss_curves.png", "plots/scores.png",
    "checkpoints/last.pt", "checkpoints/previous.pt", "checkpoints/generator.safetensors",
    "checkpoints/generator_best.safetensors",
}  # fmt: skip


def test_a_scored_run_leaves_its_pictures(configure: Any, digits: Dataset) -> None:
    """Two pairs of rows of eight: generated images, and below each the training image nearest to it."""
    scored = ("eval.every=2", "eval.training_num_samples=40", *SMALL_EVAL)
    path = train_run(configure("loss=hinge", "model=mlp", *scored)).path
    assert contents(path) == SCORED
    sheet = np.array(Image.open(path / "samples" / "neighbours.png"))[::2, ::2]
    known = {image.numpy().tobytes() for image in digits.train.images}

    def is_real(row: int, column: int) -> bool:
        top, left = row * (28 + PADDING) + PADDING, column * (28 + PADDING) + PADDING
        return np.ascontiguousarray(sheet[top : top + 28, left : left + 28]).tobytes() in known

    assert [[is_real(r, c) for c in range(8)] for r in range(4)] == [[False] * 8, [True] * 8] * 2


def test_the_last_weights_are_scored_once_where_they_are_the_best(configure: Any) -> None:
    """Sampling, features and metrics take half a minute at full size: the seconds are those of one pass."""
    score_once = ("eval.every=3", "eval.training_num_samples=40", *SMALL_EVAL)
    path = train_run(configure("loss=hinge", "model=mlp", *score_once)).path
    _, last, best = read_run(path).scores
    assert (last["weights"], best["weights"], best["step"]) == ("last", "best", 3)
    assert best == {**last, "weights": "best"}
    assert main(["evaluate", str(path)]) == 0
    *_, last, best = read_run(path).scores
    assert (last["when"], best) == ("evaluate", {**last, "weights": "best"})


def test_run_json_says_everything(configure: Any, digits: Dataset) -> None:
    config = configure("loss=wgan_gp", "model=mlp", "seed=7")
    info = read_run(train_run(config).path).info
    assert set(info) == INFO_KEYS
    assert (info["schema"], info["status"], info["reason"], info["seed"]) == (1, "completed", None, 7)
    assert info["config_hash"] == identity(config) and info["dataset_sha256"] == digits.sha256
    assert info["device"].startswith("cpu") and info["precision"] == "float32"
    assert (info["steps_done"], info["steps_total"], info["images_seen"]) == (3, 3, 3 * 5 * 4)
    assert info["parameters"] == {"generator": 559_632, "discriminator": 533_505}
    assert set(info["seconds"]) == {"train", "eval", "other"} and info["seconds"]["train"] > 0
    assert info["seconds"]["eval"] == 0
    assert info["peak_memory_bytes"] > 1e7
    assert info["started_at"] <= info["finished_at"]
    assert info["versions"]["torch"].startswith(torch.__version__.split("+")[0])


def test_config_yaml_is_enough_to_run_it_again(configure: Any) -> None:
    from ganbench.config import validate

    config = configure("loss=wgan_gp", "model=cgan", "seed=5")
    path = train_run({**config, "force": True}).path
    again = validate(read_run(path).config)
    assert identity(again) == identity(config)
    assert again["force"] is False and again["seed"] == 5


def test_records_are_kept(configure: Any) -> None:
    path = train_run(configure("loss=bce"), records={".hydra/overrides.yaml": "- a=1\n"}).path
    assert (path / ".hydra" / "overrides.yaml").read_text() == "- a=1\n"


def test_log_tells_the_run(configure: Any) -> None:
    path = train_run(configure("loss=bce")).path
    text = (path / "train.log").read_text()
    assert "for 3 steps" in text and "step 2/3: d_loss=" in text
    assert logging.getLogger("ganbench").handlers == []


# --- nothing to do ----------------------------------------------------------------------------------


def test_a_completed_run_says_what_would_have_stopped_it(
    configure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    info = train_run(configure("loss=bce")).path / "run.json"
    found = [{"name": name, "step": 1, "evidence": {}, "fix": ""} for name in ("saturation", "collapse")]
    info.write_text(json.dumps({**json.loads(info.read_text()), "diagnosis": found}))
    caplog.set_level(logging.INFO)
    assert train_run(configure("loss=bce", "train.stop_on=[collapse,oscillation]")).skipped
    assert "; what train.stop_on names was found in it: collapse\n" in caplog.text


def test_a_completed_run_is_skipped_and_says_so(
    configure: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure("loss=bce")
    first = train_run(config)
    before = {name: (first.path / name).stat().st_mtime_ns for name in contents(first.path)}
    monkeypatch.setattr(session, "build_dataset", lambda *_: pytest.fail("data was loaded for nothing"))
    caplog.set_level(logging.INFO)
    second = train_run(config)
    assert second.skipped and second.ok and second.path == first.path
    assert "complete, skipped (force=true trains it anew)" in caplog.text
    assert "stop_on" not in caplog.text
    assert {name: (first.path / name).stat().st_mtime_ns for name in contents(first.path)} == before


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.yaml", "seed: 7\n", "; but config.yaml is not the one this run was trained by"),
        ("scores.json", "[", "; but scores.json: damaged"),
        ("scores.json", None, "; but it has no scores any more (`ganbench evaluate "),
    ],
)
def test_what_other_commands_will_not_take_is_told_where_it_is_skipped(
    file: str, content: str | None, said: str, configure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    config = configure("loss=bce", "eval.enabled=true")
    path = train_run(config).path / file
    path.unlink() if content is None else path.write_text(content)
    assert train_run(config).skipped
    assert f"complete, skipped (force=true trains it anew){said}" in caplog.text


def test_force_trains_anew(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure("loss=bce", "train.sample_every=2")
    path = train_run(config).path
    (path / "samples" / "step_99.png").touch()
    (path / "notes.txt").touch()
    monkeypatch.setattr(session, "now", lambda: "2999-01-01T00:00:00+00:00")
    outcome = train_run({**config, "force": True})
    assert outcome.path == path and not outcome.skipped
    second = read_run(path)
    assert second.info["started_at"].startswith("2999") and second.info["resumed"] == 0
    assert not (path / "samples" / "step_99.png").exists() and (path / "notes.txt").exists()
    assert "resumed" not in (path / "train.log").read_text()


def test_housekeeping_finds_the_same_run(configure: Any) -> None:
    config = configure("loss=bce")
    train_run(config)
    assert train_run({**config, "train": {**config["train"], "checkpoint_every": 2}}).skipped


def test_a_run_that_another_process_holds_is_left_to_it(
    configure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    config = configure("loss=bce")
    other = RunDirectory(run_path(config)).open()
    caplog.set_level(logging.INFO)
    outcome = train_run(config)
    other.close()
    assert outcome.skipped and outcome.status == runs.RUNNING
    assert f"held by process {os.getpid()}" in caplog.text
    assert contents(outcome.path) == {".lock"}


def test_a_run_that_another_process_finishes_meanwhile_is_not_trained_again(
    configure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, taken = configure("loss=bce"), RunDirectory.open

    def after_another(run: RunDirectory) -> RunDirectory:
        monkeypatch.setattr(RunDirectory, "open", taken)
        assert train_run(config).ok
        return taken(run)

    monkeypatch.setattr(RunDirectory, "open", after_another)
    outcome = train_run(config)
    assert (outcome.status, outcome.skipped) == (runs.COMPLETED, True)


def test_damaged_scores_are_written_anew(
    configure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = configure("loss=bce", "eval.every=1", "eval.training_num_samples=40", *SMALL_EVAL)
    whole = runs.read_scores(train_run({**config, "output_root": str(tmp_path / "whole")}).path)
    with monkeypatch.context() as patch:
        patch.setattr(RunScorer, "at_the_end", interrupt)
        with pytest.raises(Interrupted):
            train_run(config)
    path = run_path(config)
    (path / "scores.json").write_text('[{"when": ')
    assert train_run(config).ok
    assert "scores.json: damaged" in caplog.text and "written anew" in caplog.text
    steps = [(record["when"], record["step"]) for record in runs.read_scores(path)]
    assert steps == [(record["when"], record["step"]) for record in whole]


def test_scores_of_a_newer_ganbench_are_not_touched(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure("loss=bce", "eval.every=1", "eval.training_num_samples=40", *SMALL_EVAL)
    with monkeypatch.context() as patch:
        patch.setattr(RunScorer, "at_the_end", interrupt)
        with pytest.raises(Interrupted):
            train_run(config)
    file = run_path(config) / "scores.json"
    newer = json.dumps([{**record, "schema": 99} for record in json.loads(file.read_text())])
    file.write_text(newer)
    outcome = train_run(config)
    assert outcome.status == runs.FAILED and "written by a newer ganbench" in str(outcome.reason)
    assert file.read_text() == newer


def interrupt(*arguments: Any) -> None:
    raise Interrupted(signal.SIGTERM)


@pytest.mark.parametrize("content", ["", "{", '{"schema": 1, "status": "none"}'])
def test_a_damaged_run_is_trained_anew(content: str, configure: Any) -> None:
    config = configure("loss=bce")
    path = train_run(config).path
    (path / "run.json").write_text(content)
    outcome = train_run(config)
    assert outcome.status == read_run(path).status == runs.COMPLETED and not outcome.skipped


def test_a_folder_of_somebody_else_is_left_alone(configure: Any) -> None:
    config = configure("loss=bce")
    path = run_path(config)
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("mine: true")
    with pytest.raises(RunError, match="would be written over"):
        train_run(config)
    assert contents(path) <= {"config.yaml", ".lock"} and (path / "config.yaml").read_text() == "mine: true"


def test_a_run_of_a_newer_ganbench_is_not_overwritten(configure: Any) -> None:
    config = configure("loss=bce")
    path = run_path(config)
    path.mkdir(parents=True)
    text = json.dumps({"schema": 2, "status": "completed"})
    (path / "run.json").write_text(text)
    with pytest.raises(RunError, match="newer ganbench"):
        train_run(config)
    assert (path / "run.json").read_text() == text and contents(path) == {"run.json"}


# --- what can go wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit])
def test_a_failure_is_recorded_with_its_reason(
    kind: type[BaseException], configure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure("loss=bce", "train.log_every=1")
    original = Training.advance

    def advance(self: Training) -> None:
        if self.step == 2:
            raise kind("the cat\npulled the plug")
        original(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", advance)
        outcome = train_run(config)
    assert (outcome.status, outcome.ok) == (runs.FAILED, False)
    record = read_run(outcome.path)
    assert record.status == runs.FAILED and record.info["finished_at"]
    assert record.reason == f"{kind.__name__}: the cat"
    said = (outcome.path / "train.log").read_text()
    assert "Traceback" in said and f"{kind.__name__}: the cat; train.log says where" in said
    assert record.info["steps_done"] == 2, "run.json tells how far it came"
    assert train_run(config).status == runs.COMPLETED


def stop_in_the_first_step(monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGTERM) -> None:
    original = Training.advance

    def advance(self: Training) -> None:
        os.kill(os.getpid(), number)
        original(self)

    monkeypatch.setattr(Training, "advance", advance)


def test_a_start_that_fails_keeps_what_was_known(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure("loss=hinge", "model=mlp")
    with monkeypatch.context() as patch:
        stop_in_the_first_step(patch)
        with pytest.raises(Interrupted):
            train_run(config)
    path = run_path(config)
    before = read_run(path).info
    assert before["steps_done"] == 1
    (path / "run.json").write_text(json.dumps({**before, "resumed": None}))

    def full(*args: Any) -> None:
        raise RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA")

    with monkeypatch.context() as patch:
        patch.setattr(session, "Training", full)
        assert train_run(config).reason == "RuntimeError: CUDA error: out of memory"
    after = read_run(path).info
    assert [after[key] for key in ("status", "resumed")] == [runs.FAILED, 0]
    for key in ("steps_done", "images_seen", "seconds", "parameters"):
        assert after[key] == before[key], key
    assert train_run(config).status == runs.COMPLETED


def test_best_weights_of_steps_that_are_taken_again_are_dropped(
    configure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a repeated step gives other bits, they are of a training that is not this run's."""
    config = configure("loss=hinge", "model=mlp", "eval.every=1", "eval.training_num_samples=40", *SMALL_EVAL)
    with monkeypatch.context() as patch:
        stop_in_the_first_step(patch)
        with pytest.raises(Interrupted):
            train_run(config)
    best = run_path(config) / GENERATOR["best"]
    # As a killed process might leave it after step 2.
    best.write_bytes(to_safetensors(torch.nn.Linear(1, 1), 2, 8, "0"))

    def enough(*args: Any) -> None:
        raise RuntimeError("before anything was scored")

    monkeypatch.setattr(RunScorer, "on_the_way", enough)
    assert train_run(config).status == runs.FAILED
    assert not best.exists()


def fids(monkeypatch: pytest.MonkeyPatch, by_step: dict[int, float], protocol: int = 1) -> None:
    """Have scores on the way give these."""

    def score(self: RunScorer, training: Training, when: str, weights: str = "last") -> dict[str, Any]:
        record = {"schema": 1, "when": when, "weights": weights, "step": training.step, "per_class": {}}
        made = {"fid": by_step[training.step]}
        return {**record, "protocol": {"version": protocol}, "values": made, "absent": {}}

    monkeypatch.setattr(RunScorer, "_score", score)
    monkeypatch.setattr("ganbench.scorer.summary", str)


def killed_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Have the run end before that step as by a kill: nothing is saved."""
    original = Training.advance

    def advance(self: Training) -> None:
        if self.step + 1 == step:
            raise KeyboardInterrupt
        original(self)

    monkeypatch.setattr(Training, "advance", advance)


SCORED_TWICE = ("eval.every=2", "eval.training_num_samples=40", "train.steps=6", *SMALL_EVAL)


def test_the_best_weights_are_kept_with_a_checkpoint(
    configure: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Steps 3 and 4 are not taken again: there may be none as good in the second time."""
    config = configure("loss=hinge", "model=mlp", "train.checkpoint_every=3", *SCORED_TWICE)
    best = run_path(config) / GENERATOR["best"]
    with monkeypatch.context() as patch:
        fids(patch, {2: 10.0, 4: 8.0})
        killed_at(patch, 6)
        with pytest.raises(KeyboardInterrupt):
            train_run(config)
    assert exported_step(best) == 4
    best.unlink()  # as if it had been killed between the two
    with monkeypatch.context() as patch:
        fids(patch, {6: 9.0})
        killed_at(patch, 6)
        with pytest.raises(KeyboardInterrupt):
            train_run(config)
    assert exported_step(best) == 4 and "resumed at step 4" in caplog.text


def test_best_weights_that_are_lost_are_told(configure: Any, caplog: pytest.LogCaptureFixture) -> None:
    path = train_run(configure("loss=bce")).path
    training = SimpleNamespace(scores=[{"step": 2, "values": {"fid": 1.0}, "protocol": {}}], step=3)
    drop_stale(training, RunDirectory(path))  # type: ignore[arg-type]
    assert "its best weights so far, of step 2, are lost" in caplog.text


def test_scores_of_another_extractor_are_no_rivals_of_the_best() -> None:
    scores = [{"step": at, "values": {"fid": fid}, "protocol": {"by": by}} for at, fid, by in (
        (2, 1.0, "a"), (4, 30.0, "b"), (6, 20.0, "b"), (8, 20.0, "b"),
    )]  # fmt: skip
    found = [best_score(scores[:count]) for count in range(len(scores) + 1)]
    assert [record and record["step"] for record in found] == [None, 2, 4, 6, 6]
    assert best_score([{"step": 2, "values": {}, "protocol": {}}]) is None, "without an FID"


@pytest.mark.parametrize(("step", "kept"), [(2, True), (4, False)])
def test_best_weights_are_those_of_the_least_fid(step: int, kept: bool, configure: Any) -> None:
    path = train_run(configure("loss=bce")).path
    scores = [{"step": at, "values": {"fid": fid}, "protocol": {}} for at, fid in ((2, 1.0), (4, 3.0))]
    best = path / GENERATOR["best"]
    best.write_bytes(to_safetensors(torch.nn.Linear(1, 1), step, 8, "0"))
    drop_stale(SimpleNamespace(scores=scores, step=6), RunDirectory(path))  # type: ignore[arg-type]
    assert best.exists() == kept


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so(number: int, configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure("loss=bce")
    stop_in_the_first_step(monkeypatch, number)
    with pytest.raises(Interrupted):
        train_run(config)
    record = read_run(run_path(config))
    assert (record.status, record.info["steps_done"]) == (runs.INTERRUPTED, 1)
    assert record.reason == f"stopped by {signal.Signals(number).name}"
    assert holder(record.path) is None


def test_a_run_begun_with_force_is_resumed_without_it(
    configure: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_in_the_first_step(patch)
        train_run(configure("loss=bce", "force=true"))
    assert "; the same command without force=true resumes it" in caplog.text
    outcome = train_run(configure("loss=bce"))
    assert outcome.ok and "resumed at step 1" in (outcome.path / "train.log").read_text()


def test_a_run_is_not_resumed_on_other_images(
    configure: Any, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_in_the_first_step(patch)
        train_run(configure("loss=bce"))
    before = (run_path(configure("loss=bce")) / "run.json").read_bytes()
    turned = Dataset("digits", Split(digits.train.images.flip(3), digits.train.labels), digits.test, 10)
    monkeypatch.setattr(session, "build_dataset", lambda *_: turned)
    with pytest.raises(RunError, match=r"begun on other images \(dataset_sha256 .*force=true"):
        train_run(configure("loss=bce"))
    path = run_path(configure("loss=bce")) / "run.json"
    assert path.read_bytes() == before
    path.write_text(json.dumps({**json.loads(before), "dataset_sha256": 7}))
    with pytest.raises(RunError, match=r"begun on other images \(dataset_sha256 7, now "):
        train_run(configure("loss=bce"))
    assert train_run(configure("loss=bce", "force=true")).ok


def test_a_log_on_a_full_disk_changes_no_outcome(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "train.log").symlink_to("/dev/full")
    with pytest.raises(Interrupted), runs.logged_to(tmp_path / "train.log"):
        logging.getLogger("ganbench.test").error("a line")
        raise Interrupted(signal.SIGTERM)
    assert "Logging error" not in capsys.readouterr().err


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a file")


def test_a_full_disk_does_not_swallow_the_signal(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a sweep would take the run for failed and go on with the next."""
    config = configure("loss=bce")
    original = Training.advance

    def advance(self: Training) -> None:
        monkeypatch.setattr(RunDirectory, "rotate_checkpoint", full_disk)
        os.kill(os.getpid(), signal.SIGTERM)
        original(self)

    monkeypatch.setattr(Training, "advance", advance)
    with pytest.raises(Interrupted):
        train_run(config)
    assert read_run(run_path(config)).status == runs.INTERRUPTED


def test_a_full_disk_does_not_hide_a_divergence(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunDirectory, "write_history", full_disk)
    outcome = train_run(configure("loss=bce", "loss.optimizer.lr=1e30"))
    assert outcome.status == read_run(outcome.path).status == runs.DIVERGED


def test_a_full_disk_at_the_end_is_never_completed(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure("loss=bce")
    original = runs.atomic_write_bytes

    def full(path: Path, data: bytes) -> None:
        if Path(path).suffix == ".safetensors":
            raise OSError(28, "No space left on device")
        original(path, data)

    monkeypatch.setattr("ganbench.runs.directory.atomic_write_bytes", full)
    outcome = train_run(config)
    assert outcome.status == read_run(outcome.path).status == runs.FAILED
    assert "No space left" in (outcome.reason or "")


def test_refusals_leave_nothing(configure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure("loss=bce")

    def no_data(*_: Any) -> None:
        raise DataError("no data")

    for change in ({"device": "cuda:99"}, {"dataset": {**config["dataset"], "num_train": 1296}}):
        with pytest.raises(ConfigError):
            train_run({**config, **change})
    monkeypatch.setattr(session, "build_dataset", no_data)
    with pytest.raises(DataError):
        train_run(config)
    assert not list(tmp_path.iterdir())


def test_output_root_below_a_file(configure: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="output_root: cannot write the run directory"):
        train_run({**configure("loss=bce"), "output_root": str(tmp_path / "file" / "x")})
    assert contents(tmp_path) == {"file"}


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_output_root_without_rights(mode: int, configure: Any, tmp_path: Path, without_rights: Any) -> None:
    train_run(configure("loss=bce"))  # whatever is imported on the way is imported now
    root = tmp_path / "closed"
    root.mkdir()
    root.chmod(mode)
    with without_rights(), pytest.raises(RunError, match=r"(?s)output_root.*Permission denied"):
        train_run({**configure("loss=bce"), "output_root": str(root)})
    root.chmod(0o755)
    assert not contents(root)
