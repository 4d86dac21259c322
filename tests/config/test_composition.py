"""Everything composes and trains, and the command line has the last word."""

from __future__ import annotations

import copy
import json
from itertools import cycle
from typing import Any

import pytest

from ganbench import runs
from ganbench.config import compose, group_names, identity, validate
from ganbench.config.validation import BUDGETS
from ganbench.engine.checks import check_recipe
from ganbench.errors import ConfigError
from ganbench.session import train_run

LOSSES, MODELS = group_names("loss"), group_names("model")
AT_28 = [model for model in MODELS if not model.endswith("64")]
PAIRS = [("digits", model) for model in MODELS] + [(d, m) for d in ("mnist", "fashion_mnist") for m in AT_28]


def chosen(loss: str, model: str) -> list[str]:
    """Overrides for a loss and a model, a narrow one where its images are large."""
    narrow = [f"model.{part}.features=[8,8,8,8]" for part in ("generator", "discriminator")]
    large = ["dataset.image_size=64", *narrow] if model.endswith("64") else []
    return [f"loss={loss}", f"model={model}", *large]


@pytest.mark.parametrize("dataset, model", PAIRS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_combination_trains(
    loss: str, model: str, dataset: str, configure: Any, cached_data: None, request: pytest.FixtureRequest
) -> None:
    if dataset != "digits":
        request.getfixturevalue("real_data")
        config = configure(*chosen(loss, model))
        # Two datasets of the same shape: only the group differs, and that is composed once.
        config["dataset"] = configure(f"dataset={dataset}")["dataset"]
    else:
        config = configure(*chosen(loss, model))
    outcome = train_run(config)
    assert (outcome.status, outcome.reason) == (runs.COMPLETED, None)
    record = runs.read_run(outcome.path)
    assert record.info["steps_done"] == 3
    assert record.info["images_seen"] == 3 * 4 * config["loss"]["n_critic"]
    assert [row["step"] for row in record.history] == [2, 3]
    assert record.info["name"] == {"dataset": dataset, "model": model, "loss": loss}


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("loss, model", list(zip(LOSSES, cycle(AT_28), strict=False)))
def test_other_datasets_compose_with_every_loss_and_model(loss: str, model: str, dataset: str) -> None:
    config = compose([f"loss={loss}", f"model={model}", f"dataset={dataset}"])
    assert config["dataset"]["num_train"] == 60_000
    assert config["eval"]["num_samples"] == 10_000 and config["eval"]["kid_subset_size"] == 1000
    check_recipe(config)


def test_smoke_and_demo_are_small() -> None:
    smoke, demo = compose(["train=smoke"]), compose(["+experiment=demo"])
    assert smoke["train"]["steps"] <= 20
    assert max(smoke["eval"]["num_samples"], smoke["eval"]["training_num_samples"]) <= 200
    assert [demo[group]["name"] for group in ("dataset", "model")] == ["digits", "cgan"]
    assert demo["train"]["steps"] * demo["train"]["batch_size"] <= 100_000


def test_everything_is_overridden_on_the_command_line() -> None:
    overrides = ["loss=wgan_gp", "loss.n_critic=2", "loss.critic_norm=none", "loss.gp_weight=1"]
    overrides += ["loss.optimizer.lr=3e-4", "loss.d_lr=4e-4", "loss.optimizer._target_=torch.optim.RMSprop"]
    overrides += ["~loss.optimizer.betas", "+loss.optimizer.alpha=0.9"]
    loss = compose(overrides)["loss"]
    assert (loss["n_critic"], loss["critic_norm"], loss["gp_weight"]) == (2, "none", 1)
    assert (loss["d_lr"], loss["g_lr"]) == (4e-4, 3e-4), "the other rate follows the optimiser's"
    assert loss["optimizer"] == {"_target_": "torch.optim.RMSprop", "lr": 3e-4, "alpha": 0.9}


def test_a_resolved_configuration_is_plain_and_valid_again() -> None:
    config = compose(["loss=wgan_gp", "model=cgan"])
    assert json.loads(json.dumps(config)) == config
    assert "${" not in json.dumps(config)
    assert validate(copy.deepcopy(config)) == config


@pytest.mark.parametrize(
    "overrides, given",
    [
        ([], ("steps", 2000)),
        (["train.steps=7"], ("steps", 7)),
        (["train.epochs=2"], ("epochs", 2.0)),
        (["train.epochs=0.5"], ("epochs", 0.5)),
        (["train.images=640"], ("images", 640)),
        (["train.epochs=2", "train.steps=null"], ("epochs", 2.0)),
        (["train=smoke", "train.images=640"], ("images", 640)),
        (["+experiment=demo", "train.epochs=1"], ("epochs", 1.0)),
    ],
)
def test_a_budget_named_on_the_command_line_is_the_budget(
    overrides: list[str], given: tuple[str, float]
) -> None:
    train = compose(overrides)["train"]
    assert {key: train[key] for key in BUDGETS if train[key] is not None} == dict([given])


def test_unknown_options_are_configuration_errors_from_python_too() -> None:
    for overrides in (["loss=nope"], ["nope=1"], ["loss"]):
        with pytest.raises(ConfigError):
            compose(overrides)


@pytest.mark.parametrize("native", ["float32", "bfloat16"])
def test_auto_precision_is_settled_before_the_run_has_a_name(
    native: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganbench.hardware.native_precision", lambda device: native)
    chosen = compose(["precision=auto"])
    assert chosen == compose([f"precision={native}"])
    assert identity(chosen) == identity(compose([f"precision={native}"]))
