"""From overrides to a resolved configuration, by Hydra and OmegaConf."""

from __future__ import annotations

import difflib
import operator
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ganbench.config.groups import group_files
from ganbench.config.messages import hydra_message
from ganbench.config.validation import BUDGETS, FAILURE_NAMES, NORM_CHOICES, PRECISIONS, validate
from ganbench.config.values import is_number, shown
from ganbench.errors import ConfigError, first_line
from ganbench.schema import GROUPS, Config, ModelConfig


def register_resolvers() -> None:
    """Make the resolvers that ``conf/`` uses known to OmegaConf; safe to call again."""
    OmegaConf.register_new_resolver(
        "ganbench.auto", lambda value, default: default if value == "auto" else value, replace=True
    )
    OmegaConf.register_new_resolver("ganbench.times", operator.mul, replace=True)
    # Cached: the jobs of a sweep that run in other processes share the folder of the one that started it.
    OmegaConf.register_new_resolver("ganbench.pid", os.getpid, use_cache=True, replace=True)


register_resolvers()


def compose(overrides: Iterable[str] = (), config_dir: str | None = None) -> Config:
    """Compose, validate and resolve a configuration as ``ganbench train OVERRIDES`` would.

    Raises:
        ConfigError: the configuration cannot be trained.
    """
    import hydra

    chosen = list(overrides)
    if config_dir:
        chosen.append(f"hydra.searchpath=[file://{os.path.abspath(config_dir)}]")
    try:
        with hydra.initialize_config_module("ganbench.conf", version_base="1.3"):
            composed = hydra.compose("config", chosen)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(hydra_message(error)) from error
    return finalise(composed, chosen)


def finalise(composed: DictConfig, overrides: Iterable[str] = ()) -> Config:
    """Resolve and validate a composed configuration; `overrides` are those of the command line.

    Raises:
        ConfigError: names the key, the rule, the value and what would work.
    """
    composed = composed.copy()
    OmegaConf.set_struct(composed, False)
    composed.pop("hydra", None)
    chosen = dict(text.lstrip("+").partition("=")[::2] for text in overrides)
    _check_overridden(composed, chosen)
    _settle_budget(composed, chosen)
    _check_before_resolving(composed)
    try:
        config = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'config'}: {first_line(error)}") from error
    assert isinstance(config, dict)
    automatic = config.get("precision") == "auto"
    if automatic:
        config["precision"] = "float32"  # until the device is known to be named well
    valid = validate(config)  # type: ignore[arg-type]
    if automatic:
        from ganbench.hardware import native_precision  # torch: only where it is asked for

        # Here and for good: a run resumes in its own arithmetic.
        valid["precision"] = native_precision(valid["device"])
    return valid


def to_yaml(config: Config) -> str:
    """The configuration as YAML text."""
    return OmegaConf.to_yaml(OmegaConf.create(config))


# --- before resolving -------------------------------------------------------------------------------


def _settle_budget(composed: DictConfig, chosen: Mapping[str, str]) -> None:
    """A budget named on the command line replaces the one that a file set."""
    named = [key for key in BUDGETS if f"train.{key}" in chosen]
    if any(composed.train.get(key) is not None for key in named):
        for key in BUDGETS:
            if key not in named:
                composed.train[key] = None


def _check_overridden(composed: DictConfig, chosen: Mapping[str, str]) -> None:
    """Refuse what the command line chooses and another choice makes void."""
    if "loss.optimizer.lr" in chosen and not any(
        OmegaConf.is_interpolation(composed.loss, rate) for rate in ("d_lr", "g_lr")
    ):
        raise ConfigError(
            f"loss.optimizer.lr={chosen['loss.optimizer.lr']}: has no effect, as loss.d_lr and loss.g_lr are "
            "set; set those"
        )
    for group in ("model", "loss", "dataset", "train", "eval"):
        if chosen.get(group, "").startswith("["):
            raise ConfigError(
                f"{group}={chosen[group]}: must be one name; sweep over several by -m {group}=A,B"
            )
    experiment, train = chosen.get("experiment", ""), chosen.get("train", "")
    if void := _train_keys("experiment", experiment) & _train_keys("train", train):
        raise ConfigError(
            f"train={train}: +experiment={experiment} sets {', '.join(sorted(void))} of train itself, and "
            "wins; give these instead, e.g. train.steps=20"
        )


def _train_keys(group: str, name: str) -> set[str]:
    """The keys of ``train`` that a shipped file sets, or one that it starts from.

    None for no choice or a file of somebody's own.
    """
    node = OmegaConf.create(group_files(group).get(name, "") if name else "")
    keys = set(OmegaConf.select(node, "train", default={}))
    bases = [entry for entry in OmegaConf.select(node, "defaults", default=[]) if isinstance(entry, str)]
    return keys.union(*(_train_keys(group, base) for base in bases))


def _check_before_resolving(composed: DictConfig) -> None:
    """Refuse what would otherwise end in an interpolation error that names another key."""
    for group in GROUPS:
        if group not in composed:
            raise ConfigError(f"{group}: cannot be left out; change keys of it by {group}.KEY=VALUE")
        if not isinstance(composed[group], DictConfig):
            keys = ", ".join(field.name for field in fields(GROUPS[group]))
            raise ConfigError(
                f"{group}={shown(composed[group])}: must be a group of keys; give them as "
                f"{group}.KEY=VALUE, KEY one of {keys}"
            )
    loss = composed.get("loss")
    if not isinstance(loss, DictConfig) or "_target_" not in loss:
        raise ConfigError("loss: needs _target_, the dotted path of a loss class")
    if not isinstance(loss.get("optimizer"), DictConfig) or "_target_" not in loss.optimizer:
        raise ConfigError(
            "loss.optimizer: needs _target_ and lr, e.g. {_target_: torch.optim.Adam, lr: 2e-4}"
        )
    # Both learning rates stand on it: without this the message would name one of them.
    rate = OmegaConf.select(composed, "loss.optimizer.lr")
    if not is_number(rate):
        raise ConfigError(f"loss.optimizer.lr={shown(rate)}: must be a positive, finite number")
    stop_on = composed.train.get("stop_on") if "train" in composed else None
    if isinstance(stop_on, str):
        known = stop_on if stop_on in FAILURE_NAMES else ",".join(FAILURE_NAMES)
        raise ConfigError(f"train.stop_on={stop_on}: must be a list; try 'train.stop_on=[{known}]'")
    precision = composed.get("precision")
    if precision not in (*PRECISIONS, "auto"):
        raise ConfigError(f"precision={shown(precision)}: must be one of {', '.join(PRECISIONS)}, auto")
    norm = loss.get("critic_norm")
    if norm not in NORM_CHOICES:
        raise ConfigError(f"loss.critic_norm={norm}: must be one of {', '.join(NORM_CHOICES)}")
    _refuse_idle_model_keys(composed)


def _refuse_idle_model_keys(composed: DictConfig) -> None:
    """A model's YAML may have keys of its own, but only such as something refers to."""
    model = composed.get("model")
    if not isinstance(model, DictConfig):
        return
    used = set(re.findall(r"\$\{model\.(\w+)", OmegaConf.to_yaml(composed)))
    known = [*(field.name for field in fields(ModelConfig)), *sorted(used)]
    for key in model:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean model.{close[0]}?" if close else f"known: {', '.join(known)}"
            raise ConfigError(f"model.{key!s}: unknown key, nothing refers to it; {hint}")
