"""Configurations: everything composes, what cannot work is refused by name, and identity is content."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from ganbench import config as configuration
from ganbench import runs
from ganbench.config import Config, compose, identity, instantiate, require_trusted, run_name, validate
from ganbench.engine.gan import check_recipe
from ganbench.errors import ConfigError
from ganbench.schema import later_keys
from ganbench.session import train_run

LOSSES = ("bce", "lsgan", "hinge", "wgan_clip", "wgan_gp", "sn_hinge")
MODELS = ("mlp", "dcgan", "cgan")


# --- everything composes and trains -----------------------------------------------------------------


@pytest.mark.parametrize("dataset", ["digits", "mnist", "fashion_mnist"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_combination_trains(
    loss: str, model: str, dataset: str, configure: Any, cached_data: None, request: pytest.FixtureRequest
) -> None:
    if dataset != "digits":
        request.getfixturevalue("real_data")
        config = configure(f"loss={loss}", f"model={model}")
        # Two datasets of the same shape: only the group differs, and that is composed once.
        config["dataset"] = configure(f"dataset={dataset}")["dataset"]
    else:
        config = configure(f"loss={loss}", f"model={model}")
    outcome = train_run(config)
    assert (outcome.status, outcome.reason) == (runs.COMPLETED, None)
    record = runs.read_run(outcome.path)
    assert record.info["steps_done"] == 3
    assert record.info["images_seen"] == 3 * 4 * config["loss"]["n_critic"]
    assert [row["step"] for row in record.history] == [2, 3]
    assert record.info["name"] == {"dataset": dataset, "model": model, "loss": loss}


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("loss, model", list(zip(LOSSES, MODELS * 2, strict=True)))
def test_other_datasets_compose_with_every_loss_and_model(loss: str, model: str, dataset: str) -> None:
    config = compose([f"loss={loss}", f"model={model}", f"dataset={dataset}"])
    assert config["dataset"]["num_train"] == 60_000
    assert config["eval"]["num_samples"] == 10_000 and config["eval"]["kid_subset_size"] == 1000
    check_recipe(config)


def test_smoke_and_demo_are_small() -> None:
    assert compose(["train=smoke"])["train"]["steps"] <= 20
    demo = compose(["+experiment=demo"])
    assert [demo[group]["name"] for group in ("dataset", "model")] == ["digits", "cgan"]


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


# --- budget -----------------------------------------------------------------------------------------


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
    assert {key: train[key] for key in configuration.BUDGETS if train[key] is not None} == dict([given])


# --- identity ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base() -> Config:
    return compose(["dataset=digits", "loss=wgan_gp", "model=cgan", "seed=3"])


def changed(config: Config, key: str, value: Any) -> Config:
    config = copy.deepcopy(config)
    *parents, last = key.split(".")
    node = config
    for parent in parents:
        node = node[parent]
    node[last] = value
    return config


@pytest.mark.parametrize(
    "key, value",
    [
        ("force", True),
        ("output_root", "elsewhere"),
        ("dataset.root", "/data"),
        ("train.checkpoint_every", 7),
        ("train.stop_on", ["collapse"]),
        ("eval.inception_weights", "weights.pth"),
    ],
)
def test_housekeeping_does_not_make_another_run(base: Config, key: str, value: Any) -> None:
    assert key in configuration.HOUSEKEEPING
    assert identity(changed(base, key, value)) == identity(base)


def leaves(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return [prefix[:-1]]
    return [leaf for key, value in node.items() for leaf in leaves(value, f"{prefix}{key}.")]


def test_every_other_key_makes_another_run(base: Config) -> None:
    keys = [key for key in leaves(base) if key not in configuration.HOUSEKEEPING]
    hashes = {identity(changed(base, key, "changed")) for key in keys}
    assert len(keys) > 50 and len(hashes) == len(keys) and identity(base) not in hashes


def test_numbers_count_by_value_not_by_spelling(base: Config) -> None:
    same = {identity(changed(base, "loss.gp_weight", value)) for value in (10, 10.0)}
    assert same == {identity(base)}
    spelt = {identity(compose([f"loss.optimizer.lr={text}"])) for text in ("2e-4", "0.0002", "2.0E-4")}
    assert len(spelt) == 1
    assert identity(changed(base, "seed", True)) != identity(changed(base, "seed", 1))


def test_a_later_key_at_its_default_leaves_older_runs_their_names(base: Config) -> None:
    """And a configuration from before the key means its default."""
    later = later_keys()
    assert {"loss.reuse_fakes": False, "loss.d_loss_weight": 1.0}.items() <= later.items()
    older = configuration.without(base, later)
    assert older != base and identity(older) == identity(base)
    assert validate(copy.deepcopy(older)) == base


def test_order_of_keys_does_not_matter(base: Config) -> None:
    assert identity(dict(reversed(base.items()))) == identity(base)


def test_identity_is_stable() -> None:
    """A change of this value makes every user's finished runs train anew: never without a reason."""
    config = {"seed": 1, "force": True, "train": {"steps": 10.0, "checkpoint_every": 5}, "x": [1e-4, "é"]}
    # sha256 of {"seed":1,"train":{"steps":10},"x":[0.0001,"\u00e9"]}
    assert identity(config) == "16c5f99539b9fd19964ef905086efbfba7ff85cf54607b634fca56044f332451"


def test_run_name(base: Config) -> None:
    assert run_name(base) == f"digits/cgan/wgan_gp/s3-{identity(base)[:8]}"


# --- refusals ---------------------------------------------------------------------------------------

BAD = {
    # override(s): what the message must say
    "train.batch_size=0": "train.batch_size=0: must be an integer of at least 1",
    "train.batch_size=-4": "train.batch_size=-4: must be",
    "train.batch_size=1298": "train.batch_size=1298: must be at most the 1297 training images of digits",
    "train.batch_size=1.5": "train.batch_size=1.5: must be an integer",
    "train.batch_size=many": "train.batch_size=many: must be an integer",
    "train.steps=3 train.epochs=1": "exactly one of train.steps, train.epochs, train.images.*epochs=1",
    "train.steps=null": "exactly one of train.steps, train.epochs, train.images; given: none",
    "train.steps=0": "train.steps=0: must be",
    "train.steps=-1": "train.steps=-1: must be",
    "train.steps=true": "train.steps=True: must be an integer",
    "train.epochs=0": "train.epochs=0.*: must be a positive",
    "train.epochs=nan": "train.epochs=nan: must be a positive",
    "train.images=0": "train.images=0: must be",
    "train.log_every=0": "train.log_every=0: must be",
    "train.sample_every=0": "train.sample_every=0: must be",
    "train.checkpoint_every=0": "train.checkpoint_every=0: must be",
    "train.stop_on=[collapse,flop]": "train.stop_on=flop: unknown failure.*collapse, strong_disc",
    "train.stop_on=collapse": r"train.stop_on=collapse: must be a list; try train.stop_on=\[collapse\]",
    "loss.optimizer.lr=-0.1": "loss.optimizer.lr=-0.1: must be a positive, finite number",
    "loss.optimizer.lr=0": "loss.optimizer.lr=0: must be a positive",
    "loss.optimizer.lr=abc": "loss.optimizer.lr=abc: must be a positive",
    "loss.optimizer.lr=null": "loss.optimizer.lr=null: must be a positive",
    "loss.optimizer.lr=inf": "loss.optimizer.lr=inf: must be a positive",
    "loss.d_loss_weight=0": "loss.d_loss_weight=0.*: must be a positive",
    "logger=wandb": "logger=wandb: must be one of csv, tensorboard",
    "loss.reuse_fakes=2.5": "loss.reuse_fakes=2.5: must be true or false",
    "train.sample_labels=[]": r"train.sample_labels=\[\]: must be null or a list of classes from 0 to 9",
    "train.sample_labels=[0,10]": r"train.sample_labels=\[0, 10\]: must be null or a list of classes",
    "train.sample_labels=[a]": r"train.sample_labels=\[.a.\]: must be a list of integers or null",
    "loss.d_lr=-1": "loss.d_lr=-1.*: must be a positive",
    "loss.g_lr=fast": "loss.g_lr=fast: must be a number",
    "loss.n_critic=0": "loss.n_critic=0: must be an integer of at least 1",
    "loss.critic_norm=group": "loss.critic_norm=group: must be one of auto, none, batch, layer, spectral",
    "seed=-1": "seed=-1: must be an integer of at least 0; try seed=0",
    "seed=text": "seed=text: must be an integer",
    "seed=1.5": "seed=1.5: must be an integer",
    "seed=9223372036854775808": "seed=9223372036854775808: must be at most 9223372036854775807",
    "precision=float16": "precision=float16: must be one of float32, bfloat16",
    "threads=0": "threads=0: must be",
    "threads=100000": "threads=100000: must be at most 1024",
    "train.epochs=1e300": r"train.epochs=1e\+300: must be at most 1000000",
    "train.batch_size=null": "train.batch_size=null: must be an integer",
    "+model.zdim=1": "model.zdim: unknown key, nothing refers to it; did you mean model.z_dim",
    "model.z_dim=0": "model.z_dim=0: must be",
    "dataset.image_size=4": "dataset.image_size=4: must be an integer of at least 8",
    "eval.extractor=vgg": "eval.extractor=vgg: must be one of judge, judge_b, inception",
    "eval.num_samples=1": "eval.num_samples=1: must be",
    "eval.every=0": "eval.every=0: must be",
    "+train.step=3": "train.step: unknown key; did you mean train.steps",
    "+sed=3": "sed: unknown key; did you mean seed",
    "+loss.gp_weight=3": "loss.gp_weight: unknown key for BCE; it takes real_label, fake_label",
    "+model.generator.width=[3]": "model.generator.width: unknown key.*did you mean model.generator.widths",
    "+loss.optimizer.betta=1": "loss.optimizer.betta: unknown key for Adam; .* loss.optimizer.betas",
    "~loss.optimizer._target_": "loss.optimizer: needs _target_ and lr",
    "~loss._target_": "loss: needs _target_",
    "~model.discriminator.channels": "model.discriminator: Discriminator missing .*channels",
    "loss._target_=ganbench.losses.Nope": "_target_=ganbench.losses.Nope: cannot be imported",
    "loss.name=../evil": "loss.name='../evil': names a folder",
    "train.epochs=1 ~train.batch_size": "train.batch_size: missing",
}


def message_of(function: Callable[[], Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        function()
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("overrides", BAD)
def test_refused_with_key_value_and_rule(overrides: str) -> None:
    message = message_of(lambda: compose(["dataset=digits", *overrides.split()]))
    assert re.search(BAD[overrides], message), message


IMPOSSIBLE = {
    "loss=wgan_clip loss.critic_norm=spectral": "loss.critic_norm=spectral: wgan_clip .* none, batch, layer",
    "loss=wgan_gp loss.critic_norm=batch": "loss.critic_norm=batch: wgan_gp .* one of none, layer, spectral",
    "model=dcgan loss=wgan_gp loss.critic_norm=auto": "wgan_gp cannot be trained with batch norm",
    "model=cgan loss=wgan_clip loss.critic_norm=auto": "wgan_clip cannot be trained with spectral norm",
    "model=dcgan dataset.image_size=32": r"dataset.image_size=32: model dcgan makes .*\(1, 28, 28\)",
    "model=mlp model.generator.widths=[-1]": "model.generator: ",
    "model=dcgan model.discriminator.dropout=1.0": r"model.discriminator: dropout=1.0: must lie in \[0, 1\)",
    "loss=bce loss.real_label=nan": "loss.real_label=nan: must be finite",
    "loss=wgan_clip loss.clip=abc": "loss.clip=abc: must be a number",
    "loss=wgan_clip loss.clip=0": "loss.clip=0.0: must be greater than 0",
    "loss=wgan_gp loss.gp_weight=-1": "loss.gp_weight=-1.0: must be at least 0",
    "loss=lsgan loss.real_label=null": "loss.real_label=null: must be a number",
    "loss=bce loss.real_label=-3": r"loss.real_label=-3.0: must lie in \[0, 1\]",
    "loss=bce loss.optimizer.betas=[0.5]": "loss.optimizer: torch.optim.Adam refuses its values",
    "model=mlp model.generator.widths=[0]": "model.generator: layers.0.weight is empty, of shape",
    "model=mlp model.generator.widths=[9000000000]": "model.generator: needs .* GiB to be trained",
    "model=dcgan loss=wgan_gp model.discriminator.norm=batch": "discriminator.norm=batch: wgan_gp cannot",
    "loss=bce loss.optimizer.betas=[2,3]": "loss.optimizer: torch.optim.Adam refuses its values: Invalid",
}


@pytest.mark.parametrize("overrides", IMPOSSIBLE)
def test_parts_that_contradict_each_other(overrides: str, configure: Any) -> None:
    message = message_of(lambda: check_recipe(configure(*overrides.split())))
    assert re.search(IMPOSSIBLE[overrides], message), message


def test_unknown_options_are_configuration_errors_from_python_too() -> None:
    for overrides in (["loss=nope"], ["nope=1"], ["loss"]):
        with pytest.raises(ConfigError):
            compose(overrides)


def test_validate_names_a_missing_key(base: Config) -> None:
    for key in ("seed", "train.steps", "loss.n_critic", "dataset.num_train", "model.z_dim"):
        config = copy.deepcopy(base)
        *parents, last = key.split(".")
        node = config
        for parent in parents:
            node = node[parent]
        del node[last]
        assert f"{key}: missing" in message_of(lambda config=config: validate(config))


# --- targets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "ganbench.losses.torch.save",
        "ganbench.losses.dataclass",
        "ganbench.data.Path",
        "ganbench.data.os.system",
        "ganbench.runs.atomic_write_text",
        "torch.optim.lr_scheduler.StepLR",
        "torch.load",
        "builtins.eval",
        "ganbench.models.cgan.first_and_last",
    ],
)
def test_untrusted_targets_are_refused_anywhere(target: str, base: Config) -> None:
    require_trusted(base)
    for key in ("loss._target_", "model.generator._target_", "loss.optimizer._target_"):
        assert "pass --trust" in message_of(lambda key=key: require_trusted(changed(base, key, target)))
    assert target in message_of(lambda: require_trusted([{"deep": [{"_target_": target}]}]))


def test_instantiate_calls_the_target_with_the_rest() -> None:
    assert instantiate({"_target_": "fractions.Fraction", "numerator": 3}, denominator=4) == 0.75
    assert "must name a class or function" in message_of(lambda: instantiate({"_target_": "sys.path"}))
