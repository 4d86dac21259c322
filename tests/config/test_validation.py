"""What cannot be trained is refused by key, value and rule."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from ganbench.config import Config, compose, validate
from ganbench.engine.checks import check_recipe

Refusal = Callable[[Callable[[], Any]], str]

BAD = {
    # override(s): what the message must say
    "train.batch_size=0": "train.batch_size=0: must be an integer of at least 1",
    "train.batch_size=-4": "train.batch_size=-4: must be",
    "train.batch_size=1298": "train.batch_size=1298: must be at most the 1297 training images of digits",
    "train.batch_size=1.5": "train.batch_size=1.5: must be an integer",
    "train.batch_size=many": "train.batch_size=many: must be an integer",
    "train.steps=1e3": "train.steps=1000.0: must be an integer or null, without point and exponent: 1000",
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
    "train.stop_on=collapse": r"train.stop_on=collapse: must be a list; try 'train.stop_on=\[collapse\]'",
    "train.stop_on=all": r"train.stop_on=all: must be a list; try 'train.stop_on=\[collapse,strong_disc.*\]'",
    "precision=fp16": "precision=fp16: must be one of float32, bfloat16, bfloat16_penalty, auto",
    "loss.optimizer.lr=-0.1": "loss.optimizer.lr=-0.1: must be a positive, finite number",
    "loss.optimizer.lr=0": "loss.optimizer.lr=0: must be a positive",
    "loss.optimizer.lr=abc": "loss.optimizer.lr=abc: must be a positive",
    "loss.optimizer.lr=null": "loss.optimizer.lr=null: must be a positive",
    "loss.optimizer.lr=inf": "loss.optimizer.lr=inf: must be a positive",
    "loss.d_loss_weight=0": "loss.d_loss_weight=0.*: must be a positive",
    "logger=wandb": "logger=wandb: must be one of csv, tensorboard",
    "loss.reuse_fakes=2.5": "loss.reuse_fakes=2.5: must be true or false",
    "loss.reuse_fakes=2": "loss.reuse_fakes=2: must be true or false",
    "deterministic=1": "deterministic=1: must be true or false",
    "train.stop_on=true": "train.stop_on=True: must be a list of names or null",
    "remedy=pack": "remedy=pack: must be a group of keys; give them as remedy.KEY=VALUE, KEY one of ema",
    "remedy.unroll=1000": "remedy.unroll=1000: must be at most 100; try remedy.unroll=100",
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
    "model.generator=null": "model.generator=null: must be a group of keys",
    "loss.optimizer._target_=builtins.dict": "loss.optimizer._target_: dict does not say what it takes",
    "loss._target_=ganbench.losses.Nope": "_target_=ganbench.losses.Nope: cannot be imported",
    "loss.name=../evil": "loss.name='../evil': names a folder",
    "train.epochs=1 ~train.batch_size": "train.batch_size: missing",
}


@pytest.mark.parametrize("overrides", BAD)
def test_refused_with_key_value_and_rule(overrides: str, message_of: Refusal) -> None:
    message = message_of(lambda: compose(["dataset=digits", *overrides.split()]))
    assert re.search(BAD[overrides], message), message


IMPOSSIBLE = {
    "loss=wgan_clip loss.critic_norm=spectral": "loss.critic_norm=spectral: wgan_clip .* none, batch, layer",
    "loss=wgan_gp loss.critic_norm=batch": "loss.critic_norm=batch: wgan_gp .* one of none, layer, spectral",
    "model=dcgan loss=wgan_gp loss.critic_norm=auto": "wgan_gp cannot be trained with batch norm",
    "model=cgan loss=wgan_clip loss.critic_norm=auto": "wgan_clip cannot be trained with spectral norm",
    "model=dcgan dataset.image_size=32": r"dataset.image_size=32: model dcgan makes .*\(1, 28, 28\)",
    "model=mlp model.generator.widths=[-1]": "model.generator: .*Generator cannot be built from .*widths=.-1",
    "remedy.minibatch_std=true train.batch_size=1": "remedy.minibatch_std=true: train.batch_size=1 leaves",
    "remedy.minibatch_std=true remedy.pack=4": "batch_size=4 leaves a pack of remedy.pack=4 no other",
    "model=mlp model.discriminator.widths=foo": "widths=foo, norm=none .*; check the type and size of each",
    "model=dcgan model.discriminator.dropout=1.0": "model.discriminator: dropout=1.0: must be 0 or lie",
    "loss=bce loss.real_label=nan": "loss.real_label=nan: must be finite",
    "loss=wgan_clip loss.clip=abc": "loss.clip=abc: must be a number",
    "loss=wgan_clip loss.clip=0": "loss.clip=0.0: must be greater than 0",
    "loss=wgan_gp loss.gp_weight=-1": "loss.gp_weight=-1.0: must be at least 0",
    "loss=lsgan loss.real_label=null": "loss.real_label=null: must be a number",
    "loss=bce loss.real_label=-3": r"loss.real_label=-3.0: must lie in \[0, 1\]",
    "loss=bce loss.optimizer.betas=[0.5]": "loss.optimizer.betas=.*0.5.*: must be two numbers",
    "loss=bce loss.optimizer.betas=0.5": "loss.optimizer.betas=0.5: must be two numbers",
    "loss=bce loss.optimizer.betas=[0.5,2]": "loss.optimizer: torch.optim.Adam refuses its values",
    "model=mlp model.generator.widths=[0]": "model.generator: layers.0.weight is empty, of shape",
    "model=mlp model.generator.widths=[9000000000]": "model.generator: needs .* GiB to be trained",
    "model=dcgan loss=wgan_gp model.discriminator.norm=batch": "discriminator.norm=batch: wgan_gp cannot",
    "loss=bce loss.optimizer.betas=[2,3]": "torch.optim.Adam refuses its values: ValueError: Invalid",
}


@pytest.mark.parametrize("overrides", IMPOSSIBLE)
def test_parts_that_contradict_each_other(overrides: str, configure: Any, message_of: Refusal) -> None:
    message = message_of(lambda: check_recipe(configure(*overrides.split())))
    assert re.search(IMPOSSIBLE[overrides], message), message


def test_validate_names_a_missing_key(base: Config, message_of: Refusal) -> None:
    for key in ("seed", "train.steps", "loss.n_critic", "dataset.num_train", "model.z_dim"):
        config = copy.deepcopy(base)
        *parents, last = key.split(".")
        node = config
        for parent in parents:
            node = node[parent]
        del node[last]
        assert f"{key}: missing" in message_of(lambda config=config: validate(config))
