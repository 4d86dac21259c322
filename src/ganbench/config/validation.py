"""What a resolved configuration must fulfil: keys, types, ranges, one budget, targets that fit."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ganbench.config.targets import check_targets, require_trusted
from ganbench.config.values import is_number, typed
from ganbench.errors import ConfigError, RunError
from ganbench.schema import GROUPS, Config, ModelConfig, RecipeConfig, RootConfig, lookup

BUDGETS = ("steps", "epochs", "images")
NORM_CHOICES = ("auto", "none", "batch", "layer", "spectral")
EXTRACTORS = ("judge", "judge_b", "inception")
LOGGERS = ("csv", "tensorboard")
FAILURE_NAMES = (
    "collapse",
    "strong_discriminator",
    "vanishing_gradients",
    "saturation",
    "oscillation",
    "divergence",
    "gradient_explosion",
)
"""What ``train.stop_on`` may name; `ganbench.engine.failures` has the rules."""


def validate(config: Config) -> Config:
    """Check a resolved configuration and return it with every value in its declared type.

    Raises:
        ConfigError: wrong type, unknown key, value out of range, impossible combination.
    """
    groups = {*GROUPS, "model", "loss"}
    config = {"remedy": {}, **config}
    for group in sorted(groups):
        if not isinstance(config.get(group), Mapping):
            raise ConfigError(f"{group}: must be a group of keys, got {config.get(group)!r}")
    root = {key: value for key, value in config.items() if key not in groups}
    checked: Config = typed(RootConfig, root, "", known=groups)
    for group, schema in GROUPS.items():
        checked[group] = typed(schema, config[group], group)
    checked["model"] = {**config["model"], **typed(ModelConfig, _only(config["model"], ModelConfig), "model")}
    loss = config["loss"]
    checked["loss"] = {**loss, **typed(RecipeConfig, _only(loss, RecipeConfig), "loss")}
    _check_ranges(checked)
    _check_texts(checked)
    _check_values(checked)
    _check_budget(checked["train"])
    check_targets(checked)
    return checked


def validate_stored(config: Config, where: Path, trust: bool) -> Config:
    """`validate` for what the file `where` holds, which is refused code of strangers unless it is trusted.

    Raises:
        ConfigError: as `validate`, and for targets outside of ganbench's own parts and torch.optim.
        RunError: it is no configuration at all.
    """
    try:
        if not trust:
            require_trusted(config)
        return validate(config)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{where}: damaged: {error!r}") from error


def _only(values: Mapping[str, Any], schema: type) -> Config:
    names = {field.name for field in fields(schema)}
    return {key: value for key, value in values.items() if key in names}


def _check_budget(train: Config) -> None:
    given = {key: train[key] for key in BUDGETS if train[key] is not None}
    if len(given) != 1:
        shown = ", ".join(f"train.{key}={value}" for key, value in given.items()) or "none of them"
        raise ConfigError(
            "give exactly one of train.steps, train.epochs, train.images; "
            f"given: {shown} (switch one off with =null)"
        )


# --- ranges -----------------------------------------------------------------------------------------

_AT_LEAST = {
    "seed": 0,
    "threads": 1,
    "train.batch_size": 1,
    "train.steps": 1,
    "train.images": 1,
    "train.log_every": 1,
    "train.sample_every": 1,
    "train.checkpoint_every": 1,
    "loss.n_critic": 1,
    "remedy.pack": 1,
    "remedy.unroll": 0,
    "model.z_dim": 1,
    "dataset.image_size": 8,
    "dataset.channels": 1,
    "dataset.num_classes": 1,
    "dataset.num_train": 1,
    "eval.every": 1,
    "eval.training_num_samples": 2,
    "eval.num_samples": 2,
    "eval.per_class": 1,
    "eval.seed": 0,
    "eval.batch_size": 1,
    "eval.kid_subsets": 1,
    "eval.kid_subset_size": 2,
    "eval.is_splits": 1,
    "eval.pr_k": 1,
    "eval.dc_k": 1,
}

_AT_MOST = {
    "seed": 2**63 - 1,
    # NumPy's legacy generator, which torch-fidelity draws subsets with, takes no more.
    "eval.seed": 2**32 - 1,
    "eval.num_samples": 10**6,
    "eval.per_class": 10**6,
    "eval.training_num_samples": 10**6,
    "threads": 1024,
    "loss.n_critic": 1000,  # the fakes of all critic updates are made at once
    "remedy.unroll": 100,
    "model.z_dim": 2**16,
    "train.steps": 10**9,
    "train.epochs": 10**6,
    "train.images": 10**12,
    "train.log_every": 100_000,  # the metrics of an interval stay on the device until it ends
}

_POSITIVE = (
    "train.epochs",
    "loss.optimizer.lr",
    "loss.d_lr",
    "loss.g_lr",
    "loss.d_loss_weight",
    "remedy.unroll_lr",
)

PRECISIONS = ("float32", "bfloat16", "bfloat16_penalty")

_ONE_OF = {
    "precision": PRECISIONS,
    "logger": LOGGERS,
    "eval.extractor": EXTRACTORS,
    "eval.reference_split": ("test", "train"),
    "loss.critic_norm": NORM_CHOICES,
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def _check_ranges(config: Config) -> None:
    for key, least in _AT_LEAST.items():
        value = lookup(config, key)
        if value is not None and value < least:
            raise ConfigError(f"{key}={value}: must be an integer of at least {least}; try {key}={least}")
    for key, most in _AT_MOST.items():
        value = lookup(config, key)
        if value is not None and value > most:
            raise ConfigError(f"{key}={value}: must be at most {most}; try {key}={most}")
    for key in _POSITIVE:
        value = lookup(config, key)
        if value is not None and not (is_number(value) and 0 < value < math.inf):
            written = f" (YAML takes {value} for text; write 2.0e-4)" if isinstance(value, str) else ""
            raise ConfigError(f"{key}={value}: must be a positive, finite number{written}")
    for key, choices in _ONE_OF.items():
        if lookup(config, key) not in choices:
            raise ConfigError(f"{key}={lookup(config, key)}: must be one of {', '.join(choices)}")


def _check_texts(config: Config) -> None:
    for group in ("dataset", "model", "loss"):
        name = config[group]["name"]
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{group}.name={name!r}: names a folder, so letters, digits, '_', '-', '.', '+' only"
            )
    root = config["output_root"]
    if not root:
        raise ConfigError("output_root=: names no folder, so runs would lie in this one; write output_root=.")
    if root.startswith("~"):
        raise ConfigError(
            f"output_root={root}: no shell has expanded the ~, so it would name a folder; "
            f"write output_root={os.path.expanduser(root)}"
        )


def _check_values(config: Config) -> None:
    decay = config["remedy"]["ema_decay"]
    if decay is not None and not 0 <= decay < 1:
        raise ConfigError(f"remedy.ema_decay={decay}: must be null or lie in [0, 1); try 0.999")
    labels, num_classes = config["train"]["sample_labels"], config["dataset"]["num_classes"]
    if labels is not None and not (labels and all(0 <= label < num_classes for label in labels)):
        raise ConfigError(
            f"train.sample_labels={labels}: must be null or a list of classes from 0 to {num_classes - 1}"
        )
    for failure in config["train"]["stop_on"] or ():
        if failure not in FAILURE_NAMES:
            known = ", ".join(FAILURE_NAMES)
            raise ConfigError(f"train.stop_on={failure}: unknown failure; a list of any of {known}, or null")
    batch_size, num_train = config["train"]["batch_size"], config["dataset"]["num_train"]
    if batch_size > num_train:
        raise ConfigError(
            f"train.batch_size={batch_size}: must be at most the {num_train} training images of "
            f"{config['dataset']['name']}"
        )
