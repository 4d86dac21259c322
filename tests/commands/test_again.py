"""`ganbench train RUN`: a run directory or a config.yaml in the place of overrides."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ganbench import runs
from ganbench.cli import main
from ganbench.engine.loop import Training

pytestmark = pytest.mark.usefixtures("cached_data")

SMALL = ["dataset=digits", "train.steps=4", "train.batch_size=4", "eval.enabled=false", "output_root=out"]


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was begun with force=true and stopped after a step."""
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        stop_in_each_step(patch)
        assert main(["train", *SMALL, "force=true"]) == 143
    (path,) = runs.find_runs("out")
    return path


def stop_in_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    advance = Training.advance

    def signalled(training: Training) -> None:
        advance(training)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Training, "advance", signalled)


def test_a_run_is_resumed_by_its_directory(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert runs.read_run(stopped).info["steps_done"] == 1
    moved = stopped.rename("elsewhere")
    assert main(["train", str(moved)]) == 0
    assert "elsewhere/samples/final.png" in capsys.readouterr().out
    record = runs.read_run(moved)
    assert (record.status, record.info["steps_done"], record.info["resumed"]) == (runs.COMPLETED, 4, 1)


def test_a_signal_is_its_exit_code(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_in_each_step(monkeypatch)
    assert main(["train", str(stopped)]) == 143
    assert runs.read_run(stopped).info["steps_done"] == 2


def test_a_configuration_is_trained_where_its_name_puts_it(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("new").mkdir()
    monkeypatch.chdir("new")
    assert main(["train", f"../{stopped}/config.yaml"]) == 0
    (path,) = runs.find_runs(".")
    assert path == stopped and runs.read_run(path).status == runs.COMPLETED


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "c.yaml: is no configuration; name a run directory"),
        ("a: 1", "c.yaml: dataset: must be a group of keys"),
        ("a: [", "c.yaml: damaged"),
        (None, "c.yaml: _target_='os.system': a run directory may only name"),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    content: str | None, said: str, stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is None:
        config = runs.read_run(stopped).config
        config["loss"]["_target_"] = "os.system"
        content = yaml.safe_dump(config)
    Path("c.yaml").write_text(content)
    capsys.readouterr()
    assert main(["train", "c.yaml"]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert main(["train", str(stopped), "seed=1"]) == 2
    assert "train: seed=1 beside out/" in capsys.readouterr().err


def test_rows_are_for_the_log_alone(stopped: Path) -> None:
    """In a process of its own, for a test's root logger has handlers already."""
    done = subprocess.run(
        [sys.executable, "-m", "ganbench", "train", str(stopped)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "training out/" in done.stderr
    assert "d_loss" not in done.stderr
    assert "d_loss" in (stopped / "train.log").read_text()


def test_a_completed_run_is_trained_anew_by_force(
    stopped: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["train", str(stopped)]) == 0
    weights = stopped / "checkpoints" / "generator.safetensors"
    before = weights.stat().st_mtime_ns
    assert main(["train", str(stopped)]) == 0
    assert "skipped (force=true trains it anew)" in caplog.text
    assert weights.stat().st_mtime_ns == before
    recorded = sorted((stopped / ".hydra").iterdir())
    assert main(["train", "force=true", str(stopped)]) == 0
    assert sorted((stopped / ".hydra").iterdir()) == recorded != []
    assert weights.stat().st_mtime_ns > before
    assert main(["train", str(stopped), "force=true", "seed=1"]) == 2
    assert "train: seed=1 beside" in capsys.readouterr().err


def test_options_stand_where_they_like(stopped: Path) -> None:
    assert main(["train", "--trust", "--config-dir", ".", str(stopped)]) == 0
    assert runs.read_run(stopped).status == runs.COMPLETED


def test_a_configuration_that_was_changed_is_another_run(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = stopped / "config.yaml"
    text = file.read_text()
    file.write_text(text.replace("lr: 0.0002", "lr: 0.5", 1))
    assert file.read_text() != text
    assert main(["train", str(stopped)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"ganbench: {stopped}: config.yaml is not the one this run was trained by")
    assert runs.read_run(stopped).info["steps_done"] == 1
    file.write_text(text)
    assert main(["train", str(stopped)]) == 0
    file.write_text(yaml.safe_dump({**runs.read_run(stopped).config, "train": 5}))
    assert main(["train", str(stopped)]) == 2
    assert "train: must be a group of keys, got 5" in capsys.readouterr().err
