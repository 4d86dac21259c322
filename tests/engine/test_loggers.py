"""TensorBoard's event files, read back with its own reader: all that the run directory says, no more."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganbench import runs, session
from ganbench.data import Dataset
from ganbench.engine.loop import Training
from ganbench.errors import ConfigError
from ganbench.runs import HISTORY_COLUMNS, read_run
from ganbench.session import train_run

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

pytestmark = pytest.mark.usefixtures("cached_data")

SHORT = ("train.steps=5", "train.log_every=2", "train.sample_every=4", "train.checkpoint_every=3")
SMALL_EVAL = (
    "eval.enabled=true", "eval.every=4", "eval.num_samples=40", "eval.kid_subset_size=10",
    "eval.kid_subsets=2", "eval.per_class=4", "eval.training_num_samples=40",
)  # fmt: skip


def events(path: Path) -> Any:
    found = accumulator.EventAccumulator(
        str(path / "tensorboard"), size_guidance=accumulator.STORE_EVERYTHING_SIZE_GUIDANCE
    )
    return found.Reload()


def pixels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"))


def scalars(path: Path) -> dict[str, dict[int, float]]:
    found = events(path)
    return {tag: {e.step: e.value for e in found.Scalars(tag)} for tag in found.Tags()["scalars"]}


def test_everything_is_there(configure: Any, digits: Dataset) -> None:
    outcome = train_run(configure("logger=tensorboard", *SHORT, *SMALL_EVAL))
    assert (outcome.status, outcome.reason) == (runs.COMPLETED, None)
    record, found, values = read_run(outcome.path), events(outcome.path), scalars(outcome.path)
    for name in HISTORY_COLUMNS[3:]:
        expected = {row["step"]: pytest.approx(row[name], rel=1e-6) for row in record.history}
        assert values.pop(f"train/{name}") == expected and list(expected) == [2, 4, 5]
    for score in record.scores:
        for name, value in score["values"].items():
            chart = values[f"scores/{score['when']}/{score['weights']}/{name}"]
            assert chart[score["step"]] == pytest.approx(value, rel=1e-6, abs=1e-7)
    assert all(tag.startswith("scores/") for tag in values)

    images = {tag: found.Images(tag) for tag in found.Tags()["images"]}
    assert {tag: [e.step for e in shown] for tag, shown in images.items()} == {
        "samples/real": [0],
        "samples/generated": [0, 4, 5],
    }
    on_disk = pixels((outcome.path / "samples" / "step_4.png").read_bytes())
    assert np.array_equal(pixels(images["samples/generated"][1].encoded_image_string), on_disk[::2, ::2])
    real = pixels(images["samples/real"][0].encoded_image_string)
    assert np.array_equal(real[2:30, 32:60], digits.train.images[1, 0].numpy())

    (text,) = found.Tensors("config/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    written = (outcome.path / "config.yaml").read_text()
    assert shown.splitlines() == [f"    {line}" for line in written.splitlines()]


def test_a_resumed_run_goes_on_in_the_same_charts(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in step 5 after a checkpoint at 3: steps 4 and 5 are told once."""
    config = configure("logger=tensorboard", "train.log_every=1", *SHORT[::2], SHORT[3])

    class PowerCut(BaseException):
        pass

    original = Training.advance

    def advance(self: Training) -> None:
        if self.step == 4:
            raise PowerCut
        original(self)

    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(Training, "advance", advance)
        train_run(config)
    path = session.run_path(config)
    assert list(scalars(path)["train/d_loss"]) == [1, 2, 3, 4]
    train_run(config)
    told = [e.step for e in events(path).Scalars("train/d_loss")]
    assert told == [1, 2, 3, 4, 5]
    assert scalars(path)["train/d_loss"][4] == pytest.approx(read_run(path).history[3]["d_loss"], rel=1e-6)
    assert len(list((path / "tensorboard").iterdir())) == 2


def test_csv_is_the_default_and_leaves_no_event_files(configure: Any) -> None:
    config = configure()
    assert config["logger"] == "csv"
    assert not (train_run(config).path / "tensorboard").exists()


def test_a_missing_package_is_refused_before_data_is_loaded(
    configure: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setattr(session, "build_dataset", lambda *_: pytest.fail("data was loaded for nothing"))
    with pytest.raises(ConfigError, match=r"logger=tensorboard: .*pip install 'ganbench\[tensorboard\]'"):
        train_run(configure("logger=tensorboard"))
    assert not list(tmp_path.iterdir())


def test_looking_does_not_change_the_training(configure: Any) -> None:
    config = configure(*SHORT)
    plain = train_run(config).path
    shown = train_run({**config, "logger": "tensorboard"}).path
    assert plain != shown, "a run with event files holds more than one without"
    first, second = (read_run(path).history for path in (plain, shown))
    assert [{**row, "train_seconds": 0} for row in first] == [{**row, "train_seconds": 0} for row in second]
