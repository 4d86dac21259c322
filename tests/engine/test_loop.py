"""The loop: the same run twice, cut anywhere and resumed, and never a diverged one called complete."""

from __future__ import annotations

import csv
import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from ganbench import runs
from ganbench.config import Config
from ganbench.data import Batches, Dataset
from ganbench.engine import checkpoint
from ganbench.engine.budget import count_steps
from ganbench.engine.loop import Training
from ganbench.engine.signals import Interrupted
from ganbench.engine.step import Step
from ganbench.models import mlp
from ganbench.runs import METRICS
from ganbench.session import Outcome, train_run

pytestmark = pytest.mark.usefixtures("cached_data")

LOSSES = ("bce", "lsgan", "hinge", "wgan_clip", "wgan_gp", "sn_hinge")
SCORED = (
    "eval.enabled=true", "eval.every=2", "eval.training_num_samples=40", "eval.num_samples=40",
    "eval.kid_subset_size=10", "eval.kid_subsets=2", "eval.per_class=4",
)  # fmt: skip
SHORT = ("train.steps=6", "train.checkpoint_every=4", "train.log_every=4", "train.sample_every=3")
CPU = torch.device("cpu")


def result(path: Path) -> tuple[dict[str, Tensor], list[list[str]]]:
    """Weights of the generator, and the history without its seconds."""
    with (path / "history.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0][2] == "train_seconds"
    return safetensors.torch.load_file(path / runs.GENERATOR["last"]), [row[:2] + row[3:] for row in rows]


def assert_same(first: Path, second: Path) -> None:
    (weights, history), (other_weights, other_history) = result(first), result(second)
    assert history == other_history
    assert weights.keys() == other_weights.keys()
    for key, value in weights.items():
        assert torch.equal(value, other_weights[key]), key


def scores_of(path: Path) -> list[dict[str, Any]]:
    """The score records of a run without their times."""
    times = {"train_seconds", "seconds", "created_at"}
    return [{k: v for k, v in record.items() if k not in times} for record in runs.read_run(path).scores]


def sibling(path: Path, name: str) -> Path:
    """The run directory of the same configuration, trained in the folder `name`."""
    root = path.parents[4]
    return root / name / path.relative_to(root).relative_to(path.parents[3].name)


def tiny(config: Config) -> Config:
    """The same recipe with a few features a layer."""
    generator, discriminator = config["model"]["generator"], config["model"]["discriminator"]
    if config["model"]["name"] == "mlp":
        generator["widths"] = discriminator["widths"] = [16, 16]
    else:
        generator["features"] = discriminator["features"] = [8, 8]
    if config["model"]["name"] == "cgan":
        discriminator["hidden"] = 16
    return config


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Outcome]:
    """Train a configuration in a folder of the given name."""
    return lambda config, name: train_run({**config, "output_root": str(tmp_path / "outputs" / name)})


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int, number: int = signal.SIGTERM) -> None:
    """Send this process a signal in the middle of its `step`-th training step from now on."""
    original, taken = Step.__call__, [0]

    def interrupted(self: Step) -> Tensor:
        taken[0] += 1
        if taken[0] == step:
            os.kill(os.getpid(), number)
        return original(self)

    monkeypatch.setattr(Step, "__call__", interrupted)


def test_what_a_network_keeps_from_sampling_serves_in_training(
    configure: Any, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generator that makes a tensor in its first pass, for the grid of step 0, and uses it ever after."""
    training = Training(tiny(configure(*SHORT)), digits, CPU)
    generator, kept = training.gan.generator, []
    forward = generator.forward

    def keeping(z: Tensor, labels: Tensor) -> Tensor:
        kept[:] = kept or [torch.ones(1) + 0]
        return forward(z * kept[0], labels)

    monkeypatch.setattr(generator, "forward", keeping)
    generator.layers[1].eval()
    training.generate(training._sample_z, training._sample_labels)
    assert generator.training and not generator.layers[1].training
    assert training.do_step().isfinite().all()


# --- the same again ---------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["mlp", "cgan"])
@pytest.mark.parametrize("loss", LOSSES)
def test_twice_the_same_and_once_interrupted(
    loss: str, model: str, configure: Any, train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, whole again, and cut in steps 3 and 5 of 6, none of them a checkpoint's: all bit-identical."""
    config = tiny(configure(f"loss={loss}", f"model={model}", "model.z_dim=3", *SHORT))
    whole = train(config, "whole")
    torch.manual_seed(123)
    assert_same(whole.path, train(config, "again").path)
    for stop, done in ((3, 3), (2, 5)):
        with monkeypatch.context() as patch:
            stop_after(patch, stop)
            with pytest.raises(Interrupted):
                train(config, "cut")
        record = runs.read_run(
            next((whole.path.parents[3] / ".." / "cut").resolve().rglob("run.json")).parent
        )
        assert (record.status, record.info["steps_done"]) == (runs.INTERRUPTED, done)
    resumed = train(config, "cut")
    assert resumed.status == runs.COMPLETED
    assert_same(whole.path, resumed.path)
    info = runs.read_run(resumed.path).info
    assert (info["steps_done"], info["reason"], info["resumed"]) == (6, None, 2)
    assert info["images_seen"] == runs.read_run(whole.path).info["images_seen"]


def test_batch_norm_resumes_too(configure: Any, train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(configure("loss=bce", "model=dcgan", *SHORT))
    whole = train(config, "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Interrupted):
            train(config, "cut")
    assert_same(whole.path, train(config, "cut").path)


def test_a_killed_run_goes_on_from_its_last_checkpoint(
    configure: Any, train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No signal handler runs at SIGKILL or a power cut: only what was on the disk counts."""
    config = configure("loss=bce", *SHORT)
    whole = train(config, "whole")

    class PowerCut(BaseException):
        pass

    original = Training.advance

    def advance(self: Training) -> None:
        if self.step == 5:
            raise PowerCut
        original(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", advance)
        with pytest.raises(PowerCut):
            train(config, "cut")
    resumed = train(config, "cut")
    assert "resumed at step 4" in (resumed.path / "train.log").read_text()
    assert_same(whole.path, resumed.path)


@pytest.mark.parametrize("model", ["mlp", "dcgan", "cgan"])
def test_deterministic_kernels_change_nothing_on_a_cpu(model: str, configure: Any, train: Any) -> None:
    config = tiny(configure("loss=bce", f"model={model}", *SHORT))
    deterministic = train({**config, "deterministic": True}, "deterministic")
    assert torch.are_deterministic_algorithms_enabled()
    assert_same(train(config, "whole").path, deterministic.path)


def test_seeds_differ(configure: Any, train: Any) -> None:
    paths = [train(configure("loss=bce", f"seed={seed}", *SHORT), "seeds").path for seed in (0, 1)]
    assert paths[0] != paths[1]
    (first, rows), (second, other_rows) = map(result, paths)
    assert rows != other_rows
    assert all(not torch.equal(first[key], second[key]) for key in first)


def test_scores_resume_too(configure: Any, train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(configure("loss=bce", *SHORT, *SCORED))
    whole = train(config, "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(Interrupted):
            train(config, "cut")
    resumed = train(config, "cut")
    assert_same(whole.path, resumed.path)
    assert scores_of(resumed.path) == scores_of(whole.path)
    assert [record["step"] for record in scores_of(whole.path)][:4] == [2, 4, 6, 6]
    best = [(path / runs.GENERATOR["best"]).read_bytes() for path in (whole.path, resumed.path)]
    assert best[0] == best[1]


@pytest.mark.parametrize("override", ["train.sample_every=1", "train.checkpoint_every=1"])
def test_looking_does_not_change_the_training(override: str, configure: Any, train: Any) -> None:
    plain = tiny(configure("loss=bce", "model=dcgan", *SHORT))
    group, key, value = *override.partition("=")[0].split("."), 1
    looked = {**plain, group: {**plain[group], key: value}}
    assert_same(train(plain, "plain").path, train(looked, "looked").path)


def test_fixed_latents_give_the_same_grid_of_a_generator_with_noise_of_its_own(
    configure: Any, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = mlp.Generator.forward
    monkeypatch.setattr(
        mlp.Generator, "forward", lambda self, z, labels: forward(self, z + torch.randn_like(z), labels)
    )
    training = Training(tiny(configure("loss=bce", "model=mlp", *SHORT)), digits, CPU)
    first, second = (training.generate(training._sample_z, training._sample_labels) for _ in range(2))
    assert torch.equal(first, second)


def test_looking_takes_no_random_numbers_from_a_generator_with_noise_of_its_own(
    configure: Any, train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = mlp.Generator.forward

    def noisy(self: mlp.Generator, z: Tensor, labels: Tensor) -> Tensor:
        return forward(self, z + 0.1 * torch.randn_like(z), labels)

    monkeypatch.setattr(mlp.Generator, "forward", noisy)
    plain = tiny(configure("loss=bce", "model=mlp", *SHORT))
    looked = {**plain, "train": {**plain["train"], "sample_every": 1}}
    assert_same(train(plain, "plain").path, train(looked, "looked").path)


def test_scoring_does_not_change_the_training(configure: Any, train: Any) -> None:
    plain = tiny(configure("loss=bce", "model=dcgan", *SHORT))
    evaluation = {
        **plain["eval"],
        "enabled": True,
        "every": 2,
        "training_num_samples": 100,
        "num_samples": 100,
    }
    evaluation |= {"kid_subset_size": 20, "kid_subsets": 3, "per_class": 10}
    scored = {**plain, "eval": evaluation}
    outcome = train(scored, "scored")
    assert_same(train(plain, "plain").path, outcome.path)
    record = runs.read_run(outcome.path)
    assert {score["step"] for score in record.scores} == {2, 4, 6}
    assert record.info["seconds"]["eval"] > 0


# --- what does not end well -------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["bce", "lsgan", "hinge", "wgan_gp"])
def test_a_recipe_that_explodes_is_diverged(
    loss: str, configure: Any, train: Any, caplog: pytest.LogCaptureFixture
) -> None:
    config = configure(f"loss={loss}", "loss.optimizer.lr=1e30", "loss.n_critic=1", *SHORT)
    outcome = train(config, "exploded")
    assert outcome.status == runs.DIVERGED and not outcome.ok
    record = runs.read_run(outcome.path)
    assert record.info["steps_done"] <= 4, "stopped within the first logging interval"
    assert "not finite" in (record.reason or "") and (record.reason or "").startswith("step ")
    assert not (outcome.path / runs.GENERATOR["last"]).exists()
    warned = [line for line in caplog.messages if "divergence since step" in line]
    assert len(warned) == 1 and "; try a lower loss.d_lr and loss.g_lr" in warned[0]


@pytest.mark.parametrize("bad_step", [1, 2, 4, 5, 6])
@pytest.mark.parametrize("column", ["d_loss", "g_grad_norm"])
def test_the_first_bad_step_is_named(
    bad_step: int, column: str, configure: Any, train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, taken, good = Step.__call__, [0], {}

    def poisoned(self: Step) -> Tensor:
        metrics = original(self)
        taken[0] += 1
        if taken[0] >= bad_step:
            metrics[METRICS.index(column)] = float("nan")
        else:
            good[taken[0]] = metrics[0].item()
        return metrics

    monkeypatch.setattr(Step, "__call__", poisoned)
    outcome = train(tiny(configure("loss=bce", *SHORT)), "poisoned")
    record = runs.read_run(outcome.path)
    assert record.status == runs.DIVERGED
    assert (record.reason or "").startswith(f"step {bad_step}: {column} not finite; ")
    if bad_step == 1:
        assert "no finite values before it" in (record.reason or "")
    elif bad_step != 5:
        assert f"last finite values (step {bad_step - 1}): d_loss={good[bad_step - 1]:.6g}" in record.reason
    else:
        assert "last finite values (step 4): " in (record.reason or "")
    assert record.info["steps_done"] == (4 if bad_step <= 4 else 6)
    (diagnosis,) = record.info["diagnosis"]
    assert (diagnosis["name"], diagnosis["step"]) == ("divergence", bad_step), "not where it was noticed"
    assert [row["step"] for row in record.history] == ([] if bad_step <= 4 else [4])


def test_a_weight_that_is_not_finite_is_found_though_the_losses_are(
    configure: Any, train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Step.__call__

    def poisoned(self: Step) -> Tensor:
        metrics = original(self)
        with torch.no_grad():
            self.g_parameters[0].view(-1)[0] = float("inf")
        return metrics.nan_to_num(0.0)

    monkeypatch.setattr(Step, "__call__", poisoned)
    record = runs.read_run(train(configure("loss=bce", *SHORT), "weights").path)
    assert (record.status, record.info["steps_done"]) == (runs.DIVERGED, 4)
    assert "a weight is not finite" in (record.reason or "")


# --- checkpoints ------------------------------------------------------------------------------------


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "altered":
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(b"no checkpoint at all")


@pytest.mark.parametrize("how", ["truncated", "altered", "empty", "text"])
@pytest.mark.parametrize("both", [False, True])
def test_damaged_checkpoints(
    how: str, both: bool, configure: Any, train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(configure("loss=bce", "train.steps=6", "train.checkpoint_every=2", "train.log_every=4"))
    whole = train(config, "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(Interrupted):
            train(config, "cut")
    path = sibling(whole.path, "cut")
    damage(path / runs.CHECKPOINT, how)
    if both:
        damage(path / runs.PREVIOUS_CHECKPOINT, how)
    train(config, "cut")
    log = (path / "train.log").read_text()
    assert "last.pt" in log and "not used" in log
    assert ("resumed at step 4" in log) == (not both)
    assert ("previous.pt" in log) == both
    assert_same(whole.path, path)


@pytest.mark.parametrize("error", [OSError(errno.EIO, os.strerror(errno.EIO)), MemoryError()], ids=repr)
def test_a_checkpoint_that_cannot_be_read_is_not_written_over(
    error: Exception, configure: Any, train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be whole: neither a run begun anew nor one from the checkpoint before may be its end."""
    config = tiny(configure("loss=bce", "train.steps=9", "train.checkpoint_every=3"))
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        with pytest.raises(Interrupted):
            train(config, "cut")
    path = sibling(train(config, "whole").path, "cut")
    last, read = path / runs.CHECKPOINT, Path.read_bytes
    before = last.read_bytes()

    def failing(self: Path) -> bytes:
        if self == last:
            raise error
        return read(self)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", failing)
        outcome = train(config, "cut")
    assert outcome.status == runs.FAILED
    assert f"{last}: cannot be read: " in outcome.reason and "None" not in outcome.reason
    assert last.read_bytes() == before
    train(config, "cut")
    assert_same(sibling(path, "whole"), path)


def test_a_checkpoint_of_another_configuration_is_not_used(
    configure: Any, train: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = train(configure("loss=bce", *SHORT), "run").path
    config_hash = runs.read_run(path).info["config_hash"]
    assert checkpoint.load_latest(path, config_hash)["step"] == 6
    assert checkpoint.load_latest(path, "0" * 64) is None
    assert "belongs to another configuration" in caplog.text


# --- counts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides, steps",
    [
        ("train.steps=7", 7),
        # 1297 images in batches of 100: 12 whole ones an epoch, 13 with the rest.
        ("train.epochs=2 train.batch_size=100", 24),
        ("train.epochs=2 train.batch_size=100 train.drop_last=false", 26),
        ("train.epochs=0.5 train.batch_size=100", 6),
        ("train.epochs=0.01 train.batch_size=100", 1),
        ("train.epochs=0.28 train.batch_size=50", 7),  # of 25; the product of floats is more than 7
        ("train.epochs=2 train.batch_size=100 loss.n_critic=5", 5),
        ("train.epochs=2 train.batch_size=100 loss.n_critic=5 loss.same_batch=true", 24),
        ("train.images=640 train.batch_size=64", 10),
        ("train.images=641 train.batch_size=64", 11),
        ("train.images=640 train.batch_size=64 loss.n_critic=5", 2),
    ],
)
def test_budget_in_steps(overrides: str, steps: int, configure: Any, digits: Dataset) -> None:
    config: Config = configure(*overrides.split())
    train = config["train"]
    batches = Batches(digits.train, train["batch_size"], 0, CPU, train["drop_last"])
    assert count_steps(config, batches) == steps


def test_an_image_budget_is_met_with_partial_batches_too(configure: Any, digits: Dataset) -> None:
    """Twice 1,297 images in batches of 1,000 whose rest of 297 is kept: four steps, not three."""
    config = configure("train.images=2594", "train.batch_size=1000", "train.drop_last=false")
    batches = Batches(digits.train, 1000, 0, CPU, drop_last=False)
    shown = sum(len(next(batches)[1]) for _ in range(count_steps(config, batches)))
    assert shown >= 2594


def test_rows_are_means_of_their_intervals(
    configure: Any, train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    original = Step.__call__

    def spy(self: Step) -> Tensor:
        seen.append(original(self).clone())
        return seen[-1]

    monkeypatch.setattr(Step, "__call__", spy)
    history = runs.read_run(train(configure("loss=wgan_gp", *SHORT), "rows").path).history
    assert [(row["step"], row["images"]) for row in history] == [(4, 80), (6, 120)]
    for row, steps in zip(history, (seen[:4], seen[4:]), strict=True):
        expected = torch.stack(steps).double().mean(dim=0)
        assert [row[name] for name in METRICS] == pytest.approx(expected.tolist(), abs=1e-9)
    assert 0 < history[0]["train_seconds"] < history[1]["train_seconds"]


def test_the_device_is_waited_for_only_where_something_is_due(
    configure: Callable[..., Config], train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between rows, samples, checkpoints and scores the host runs ahead of a GPU."""
    taken, waited, call = [0], set(), Step.__call__

    def counted(self: Step) -> Tensor:
        taken[0] += 1
        return call(self)

    monkeypatch.setattr(Step, "__call__", counted)
    monkeypatch.setattr("ganbench.engine.clock.synchronize", lambda device: waited.add(taken[0]))
    every = ("train.log_every=4", "train.sample_every=6", "train.checkpoint_every=12", "eval.enabled=false")
    assert train(configure("train.steps=14", *every), "waits").ok
    assert waited == {0, 4, 6, 8, 12, 14}


def test_training_and_the_rest_have_their_own_seconds(
    configure: Callable[..., Config], train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step lasts a second, and so does each grid of samples."""
    now, call, write = [0.0], Step.__call__, Training.write_samples

    def step(self: Step) -> Tensor:
        now[0] += 1
        return call(self)

    def slow(self: Training, run: runs.RunDirectory) -> None:
        now[0] += 1
        write(self, run)

    monkeypatch.setattr("ganbench.engine.clock.time.perf_counter", lambda: now[0])
    monkeypatch.setattr(Step, "__call__", step)
    monkeypatch.setattr(Training, "write_samples", slow)
    outcome = train(configure(*SHORT, "eval.enabled=false"), "clocks")
    assert runs.read_run(outcome.path).info["seconds"] == {"train": 6.0, "eval": 0.0, "other": 3.0}
    assert [row["train_seconds"] for row in runs.read_run(outcome.path).history] == [4.0, 6.0]
