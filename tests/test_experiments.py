"""Every experiment file composes, says what it is for, is what it claims, and trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ganbench import runs
from ganbench.cli import main
from ganbench.config import Config, compose, group_files, group_names, purpose
from ganbench.data import Batches, Dataset, Split
from ganbench.engine.budget import count_steps
from ganbench.engine.checks import check_recipe
from ganbench.engine.loop import sample_inputs
from ganbench.session import train_run

EXPERIMENTS = group_names("experiment")


def narrow(config: Config) -> Config:
    """The same recipe with a few features a layer: whether the whole one fits is asked without training."""
    for part in ("generator", "discriminator"):
        network = config["model"][part]
        for key in ("features", "widths"):
            if key in network:
                network[key] = [8] * len(network[key])
    return config


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_trains(name: str, configure: Any, cached_data: None) -> None:
    config = configure(f"+experiment={name}", "train.steps=3", "dataset=digits")
    outcome = train_run(narrow(config))
    assert (outcome.status, outcome.reason) == (runs.COMPLETED, None)
    assert runs.read_run(outcome.path).info["steps_done"] == 3


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_accepted_as_it_stands(name: str) -> None:
    check_recipe(compose([f"+experiment={name}"]))


def test_list_shows_every_experiment_with_its_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "experiment"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
    assert lines == {name: purpose(text) for name, text in group_files("experiment").items()}
    assert all(len(line) > 30 for line in lines.values())
    assert len(set(lines.values())) == len(EXPERIMENTS) >= 13


def test_list_shows_the_files_of_a_folder_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mine.yaml").write_text("# Better than all others\nname: mine\n")
    assert main(["list", "loss", "model", "--config-dir", str(tmp_path)]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["mine", "Better than all others"] in lines
    assert {"bce", "cgan"} <= {name for name, _ in lines}
    assert main(["list", "--config-dir", str(tmp_path / "absent")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_broken_recipes_say_what_is_broken_and_what_to_see() -> None:
    for name, text in group_files("experiment").items():
        if name.startswith("lab/") and name != "lab/baseline":
            head = [line for line in text.splitlines() if line.startswith("# ")]
            assert any(line.startswith("# Broken: ") for line in head), name
            assert any(line.startswith("# See: ") for line in head), name


@pytest.mark.parametrize("name", ["vanilla", "wgan", "sngan"])
def test_the_trilogy_is_the_published_one(name: str) -> None:
    config = compose([f"+experiment=trilogy/{name}"])
    assert (config["seed"], config["model"]["z_dim"], config["dataset"]["name"]) == (42, 100, "mnist")
    train, model, loss = (config[group] for group in ("train", "model", "loss"))
    assert (train["epochs"], train["batch_size"], train["drop_last"]) == (50, 128, False)
    assert (model["generator"]["widths"], model["discriminator"]["widths"]) == ([256, 512], [512, 256])
    rate, betas, norm, n_critic, same_batch, reuse = {
        "vanilla": (2e-4, [0.9, 0.999], "none", 1, False, True),
        "wgan": (5e-5, None, "none", 5, True, False),
        "sngan": (2e-4, [0.5, 0.999], "spectral", 1, False, False),
    }[name]
    assert (loss["d_lr"], loss["g_lr"], loss["optimizer"].get("betas")) == (rate, rate, betas)
    assert (loss["n_critic"], loss["same_batch"], loss["reuse_fakes"]) == (n_critic, same_batch, reuse)
    assert (model["discriminator"]["norm"], loss.get("clip")) == (norm, 0.01 if name == "wgan" else None)


def test_an_epoch_of_the_trilogy_has_469_steps() -> None:
    """Its last batch has 96 images; WGAN's five critic steps share a batch, so it takes as many."""
    mnist = Split(torch.zeros(60_000, 1, 1, 1, dtype=torch.uint8), torch.zeros(60_000, dtype=torch.int64))
    for name in ("vanilla", "wgan", "sngan"):
        config = compose([f"+experiment=trilogy/{name}"])
        batches = Batches(mnist, 128, 42, torch.device("cpu"), config["train"]["drop_last"])
        assert count_steps(config, batches) == 50 * 469


@pytest.mark.parametrize("name", ["bce", "lsgan", "hinge", "wgan_gp"])
def test_the_conditional_benchmark_is_the_published_one(name: str) -> None:
    config = compose([f"+experiment=cgan/{name}"])
    train, loss = config["train"], config["loss"]
    assert (train["steps"], train["batch_size"], train["drop_last"]) == (15_005, 128, True)
    assert (loss["d_lr"], loss["g_lr"]) == (4e-4, 1e-4)
    betas, n_critic, norm = ([0.0, 0.9], 5, "layer") if name == "wgan_gp" else ([0.5, 0.999], 1, "spectral")
    assert (loss["optimizer"]["betas"], loss["n_critic"]) == (betas, n_critic)
    assert config["model"]["discriminator"]["norm"] == norm
    assert loss.get("real_label") == (0.9 if name in ("bce", "lsgan") else None)
    # Least squares is half a sum by definition; WGAN-GP's is no sum.
    assert loss["d_loss_weight"] == (0.5 if name in ("bce", "hinge") else 1.0)


@pytest.mark.parametrize(
    "name, loss_name, d_lr, g_lr, betas, n_critic",
    [
        ("baseline", "bce", 2e-4, 2e-4, [0.5, 0.999], 1),
        ("mode_collapse", "bce", 2e-3, 2e-3, [0.9, 0.999], 1),
        ("strong_discriminator", "bce", 1e-3, 2e-4, [0.5, 0.999], 5),
        ("strong_generator", "bce", 2e-5, 1e-3, [0.5, 0.999], 1),
        ("vanishing_gradients", "minimax", 4e-4, 2e-4, [0.5, 0.999], 5),
    ],
)
def test_the_lab_differs_from_its_baseline_where_it_says(
    name: str, loss_name: str, d_lr: float, g_lr: float, betas: list[float], n_critic: int
) -> None:
    config = compose([f"+experiment=lab/{name}"])
    train, model, loss = (config[group] for group in ("train", "model", "loss"))
    assert (config["dataset"]["name"], model["name"], model["z_dim"]) == ("mnist", "mlp", 64)
    assert [model[part]["widths"] for part in ("generator", "discriminator")] == [[256, 256]] * 2
    assert (train["steps"], train["epochs"], train["batch_size"], train["drop_last"]) == (None, 30, 128, True)
    assert loss["name"] == loss_name and loss["optimizer"]["_target_"] == "torch.optim.Adam"
    assert (loss["d_lr"], loss["g_lr"], loss["optimizer"]["betas"]) == (d_lr, g_lr, betas)
    assert loss["n_critic"] == n_critic


@pytest.mark.parametrize(
    "name, dataset, model_name, z_dim, widest, batch_size, lr, labels, epochs",
    [
        ("mnist", "mnist", "dcgan64", 100, 512, 128, 2e-4, (1.0, 0.0), 25),
        ("fashion", "fashion_mnist", "dcgan64", 256, 1024, 1024, 5e-4, (0.9, 0.1), 50),
        ("conditional", "mnist", "cdcgan64", 100, 512, 128, 2e-4, (1.0, 0.0), 25),
    ],
)
def test_the_large_dcgans_are_the_published_ones(
    name: str,
    dataset: str,
    model_name: str,
    z_dim: int,
    widest: int,
    batch_size: int,
    lr: float,
    labels: tuple[float, float],
    epochs: int,
) -> None:
    config = compose([f"+experiment=dcgan64/{name}"])
    train, model, loss = (config[group] for group in ("train", "model", "loss"))
    assert (config["dataset"]["name"], config["dataset"]["image_size"]) == (dataset, 64)
    assert (model["name"], model["z_dim"]) == (model_name, z_dim)
    assert model["generator"]["features"] == [widest, widest // 2, widest // 4, widest // 8]
    assert model["generator"].get("embedding_dim") == (10 if name == "conditional" else None)
    assert (train["steps"], train["epochs"], train["batch_size"]) == (None, epochs, batch_size)
    assert loss["name"] == "bce" and (loss["real_label"], loss["fake_label"]) == labels
    assert (loss["d_lr"], loss["g_lr"], loss["optimizer"]["betas"]) == (lr, lr, [0.5, 0.999])


def test_the_samples_of_the_conditional_benchmark_are_of_fixed_classes(
    configure: Any, digits: Dataset, real_pictures: None
) -> None:
    z, labels = sample_inputs(compose(["+experiment=cgan/bce"]))
    assert z.shape == (16, 100)
    assert labels.tolist() == [*range(10), *range(6)]
    few, _ = sample_inputs(compose(["model=cgan", "train.sample_labels=[3,1,4]"]))
    assert few.equal(z[:3])
    for unlabelled in ([], ["+experiment=cgan/bce", "model=mlp"]):
        z, labels = sample_inputs(compose(unlabelled))
        assert z.shape == (64, 100)
    assert labels.tolist() == [i % 10 for i in range(64)]


def test_a_whole_tutorial_is_one_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cached_data: None
) -> None:
    monkeypatch.chdir(tmp_path)
    trilogy = "+experiment=trilogy/vanilla,trilogy/wgan,trilogy/sngan"
    small = ["dataset=digits", "train.batch_size=4", "eval.enabled=false"]
    assert main(["train", "-m", trilogy, "train.steps=2", *small]) == 0
    assert "3 runs\n" in capsys.readouterr().out
    found = [runs.read_run(path) for path in runs.find_runs(tmp_path / "outputs")]
    assert {run.info["name"]["loss"] for run in found} == {"bce", "wgan_clip", "sn_hinge"}
    assert {run.info["seed"] for run in found} == {42}
    assert {run.info["experiment"] for run in found} == {"trilogy/vanilla", "trilogy/wgan", "trilogy/sngan"}
    assert main(["train", "dataset=digits", "train=smoke", "eval.enabled=false", "output_root=plain"]) == 0
    (plain,) = runs.find_runs(tmp_path / "plain")
    assert runs.read_run(plain).info["experiment"] is None
