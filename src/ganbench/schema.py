"""The keys of a configuration, their types, and the defaults of those that came later.

Needs nothing but the standard library: reports read it, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

Config = dict[str, Any]
"""A configuration as a plain dict of dicts."""


@dataclass
class TrainConfig:
    """Keys of the group ``train``."""

    steps: int | None
    epochs: float | None
    images: int | None
    batch_size: int
    drop_last: bool
    log_every: int
    sample_every: int
    checkpoint_every: int
    sample_labels: list[int] | None = None
    stop_on: list[str] | None = None


@dataclass
class EvalConfig:
    """Keys of the group ``eval``."""

    enabled: bool
    every: int | None
    training_num_samples: int
    extractor: str
    inception_weights: str | None
    reference_split: str
    num_samples: int
    per_class: int
    seed: int
    batch_size: int
    kid_subsets: int
    kid_subset_size: int
    is_splits: int
    pr_k: int
    dc_k: int


@dataclass
class DatasetConfig:
    """Keys of the group ``dataset``."""

    name: str
    channels: int
    image_size: int
    num_classes: int
    num_train: int
    root: str | None
    source: dict[str, Any]
    eval: dict[str, int]


@dataclass
class ModelConfig:
    """Keys of the group ``model``; further ones may serve as helpers for interpolation."""

    name: str
    conditional: bool
    z_dim: int
    generator: dict[str, Any]
    discriminator: dict[str, Any]


@dataclass
class RecipeConfig:
    """What a loss's YAML says beyond the loss's own parameters."""

    name: str
    optimizer: dict[str, Any]
    d_lr: float
    g_lr: float
    n_critic: int
    critic_norm: str
    same_batch: bool
    reuse_fakes: bool = False
    d_loss_weight: float = 1.0


@dataclass
class RemedyConfig:
    """Keys of the group ``remedy``."""

    ema_decay: float | None = None
    minibatch_std: bool = False
    pack: int = 1
    feature_matching: bool = False
    unroll: int = 0
    unroll_lr: float = 0.01


@dataclass
class RootConfig:
    """Keys that belong to no group."""

    seed: int
    device: str
    precision: str
    compile: bool
    deterministic: bool
    threads: int | None
    force: bool
    output_root: str
    logger: str = "csv"


GROUPS: dict[str, type] = {
    "train": TrainConfig,
    "eval": EvalConfig,
    "dataset": DatasetConfig,
    "remedy": RemedyConfig,
}

SCHEMAS = {"": RootConfig, **GROUPS, "loss": RecipeConfig}


def later_keys() -> dict[str, Any]:
    """Dotted keys that came after the first release, with their defaults: the fields that have one.

    A configuration that lacks such a key is an older one, and means the default.
    """
    return {
        f"{group}.{name}".lstrip("."): default
        for group, schema in SCHEMAS.items()
        for name, default in defaults(schema).items()
    }


def defaults(schema: type) -> dict[str, Any]:
    """The fields of a schema that have a default, with it."""
    return {field.name: field.default for field in fields(schema) if field.default is not MISSING}


def lookup(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key, None where there is none."""
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node
