"""The configuration: composition, validation at the boundary, and the identity of a run.

Everything a user can get wrong is refused here, before data is loaded, with the key, the rule, the value
and what would work. After `finalise` the configuration is a plain dict without interpolations.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import json
import math
import operator
import os
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from importlib import resources
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ganbench.errors import ConfigError
from ganbench.schema import GROUPS, ModelConfig, RecipeConfig, RootConfig, defaults, later_keys

if TYPE_CHECKING:
    from importlib.abc import Traversable

Config = dict[str, Any]

BUDGETS = ("steps", "epochs", "images")
NORM_CHOICES = ("auto", "none", "batch", "layer", "spectral")
EXTRACTORS = ("judge", "judge_b", "inception")
LOGGERS = ("csv", "tensorboard")
FAILURES = (
    "collapse",
    "strong_discriminator",
    "vanishing_gradients",
    "saturation",
    "oscillation",
    "divergence",
    "gradient_explosion",
)
"""What ``train.stop_on`` may name; `ganbench.engine.failures` has the rules."""


HOUSEKEEPING = (
    "force",
    "output_root",
    "dataset.root",
    "train.checkpoint_every",
    "train.stop_on",
    "eval.inception_weights",
)
"""Keys that change nothing a run contains, left out of its identity."""

TRUSTED = re.compile(r"(ganbench\.models\.\w+|ganbench\.losses|ganbench\.data|torch\.optim)\.[A-Za-z]\w*")
"""What a configuration that somebody else made may name: our own parts and torch's optimisers."""


RECIPE_KEYS = frozenset(field.name for field in fields(RecipeConfig))


def register_resolvers() -> None:
    """Make the resolvers that ``conf/`` uses known to OmegaConf; safe to call again."""
    OmegaConf.register_new_resolver(
        "ganbench.auto", lambda value, default: default if value == "auto" else value, replace=True
    )
    OmegaConf.register_new_resolver("ganbench.times", operator.mul, replace=True)
    OmegaConf.register_new_resolver("ganbench.pid", os.getpid, replace=True)


register_resolvers()


def group_files(group: str) -> dict[str, str]:
    """The text of every shipped file of a config group, by the name it is chosen with."""

    def walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if entry.is_dir():
                yield from walk(entry, f"{prefix}{entry.name}/")
            elif entry.name.endswith(".yaml"):
                yield prefix + entry.name.removesuffix(".yaml"), entry.read_text(encoding="utf-8")

    return dict(walk(resources.files("ganbench.conf") / group, ""))


def group_names(group: str) -> list[str]:
    """What a config group can be set to."""
    return list(group_files(group))


def purpose(text: str) -> str:
    """The first comment of a config file that is no directive: its purpose in one line."""
    comments = (line.lstrip("# ").rstrip() for line in text.splitlines() if line.startswith("#"))
    return next((comment for comment in comments if not comment.startswith("@package")), "")


def load_group(group: str, name: str) -> Config:
    """One shipped config file as a plain dict, e.g. ``load_group("dataset", "mnist")``.

    Raises:
        ConfigError: there is no such file.
    """
    files = group_files(group)
    if name not in files:
        raise ConfigError(f"{group}={name}: unknown; choose one of {', '.join(files)}")
    return dict(OmegaConf.to_container(OmegaConf.create(files[name]), resolve=True))  # type: ignore[arg-type]


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
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(hydra_message(error)) from error
    return finalise(composed, chosen)


def hydra_message(error: Exception) -> str:
    """Hydra's message without its search path, and a suggestion for an unknown key."""
    if isinstance(error, OverrideParseException):
        return f"{error.override!r}: cannot be read as KEY=VALUE; quote a value with special characters"
    text = str(error).split("Config search path:")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    message = lines[0] if lines else type(error).__name__
    if "Available options in" in text:
        at = next(i for i, line in enumerate(lines) if line.startswith("Available options in"))
        message += f". {lines[at]} {', '.join(lines[at + 1 :])}"
    elif message.startswith("Could not override"):
        message += _closest_key(message) + (f" {lines[1]}" if len(lines) > 1 else "")
    elif len(lines) > 1:
        message = "; ".join(lines)
    return message


def finalise(composed: DictConfig, overrides: Iterable[str] = ()) -> Config:
    """Resolve and validate a composed configuration; `overrides` are those of the command line.

    Raises:
        ConfigError: names the key, the rule, the value and what would work.
    """
    composed = composed.copy()
    OmegaConf.set_struct(composed, False)
    composed.pop("hydra", None)
    _settle_budget(composed, overrides)
    _check_before_resolving(composed)
    try:
        config = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'config'}: {_first_line(error)}") from error
    assert isinstance(config, dict)
    return validate(config)  # type: ignore[arg-type]


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
    checked["model"] = {
        **config["model"],
        **typed(ModelConfig, _only(config["model"], ModelConfig), "model"),
    }
    loss = config["loss"]
    checked["loss"] = {**loss, **typed(RecipeConfig, _only(loss, RecipeConfig), "loss")}
    _check_ranges(checked)
    _check_budget(checked["train"])
    _check_targets(checked)
    return checked


def loss_parameters(loss: Mapping[str, Any]) -> Config:
    """The part of the ``loss`` group that its class is built from: target and own parameters."""
    return {key: value for key, value in loss.items() if key not in RECIPE_KEYS}


def instantiate(node: Mapping[str, Any], **extra: Any) -> Any:
    """Call the target that `node` names with the rest of its keys and `extra`.

    Raises:
        ConfigError: the target does not exist.
    """
    return resolve_target(str(node["_target_"]))(**_arguments(node), **extra)


def require_trusted(node: Any) -> None:
    """Refuse a configuration whose targets lie outside ganbench's own parts and torch.optim.

    Raises:
        ConfigError: naming the first such target.
    """
    if isinstance(node, Mapping):
        target = node.get("_target_")
        if target is not None and not _is_trusted(str(target)):
            raise ConfigError(
                f"_target_={target!r}: a run directory may only name ganbench's own models, losses and "
                "datasets and the optimisers of torch.optim; pass --trust if you know who made it"
            )
        for value in node.values():
            require_trusted(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            require_trusted(value)


def identity(config: Config) -> str:
    """Hex sha256 of the configuration without its housekeeping keys.

    Nor does a later key count while it has its default: what it names is then what a run did before
    the key existed, and the run keeps its name.
    """
    idle = [key for key, default in later_keys().items() if _get(config, key) == default]
    counted = without(config, [*HOUSEKEEPING, *idle])
    told = {key: value for key, value in counted.items() if value != {}}
    return hashlib.sha256(_canonical_json(told).encode()).hexdigest()


def run_name(config: Config) -> str:
    """``<dataset>/<model>/<loss>/s<seed>-<hash8>``, the run's place below ``output_root``."""
    names = [config[group]["name"] for group in ("dataset", "model", "loss")]
    return "/".join([*names, f"s{config['seed']}-{identity(config)[:8]}"])


def without(config: Config, keys: Iterable[str]) -> Config:
    """A copy without the dotted `keys`."""
    copy = json.loads(json.dumps(config))
    for key in keys:
        *parents, last = key.split(".")
        node = copy
        for parent in parents:
            node = node.get(parent, {})
        node.pop(last, None)
    return copy


def to_yaml(config: Config) -> str:
    """The configuration as YAML text."""
    return OmegaConf.to_yaml(OmegaConf.create(config))


def resolve_target(target: str) -> Callable[..., Any]:
    """The callable that a dotted path names.

    Raises:
        ConfigError: there is none.
    """
    try:
        found = pkgutil.resolve_name(target)
    except Exception as error:
        raise ConfigError(
            f"_target_={target}: cannot be imported ({_first_line(error)}); check the dotted path, and "
            "that its module lies in the folder given by --config-dir or on PYTHONPATH"
        ) from error
    if not callable(found):
        raise ConfigError(f"_target_={target}: must name a class or function, is {found!r}")
    return found


# --- before resolving -------------------------------------------------------------------------------


def _settle_budget(composed: DictConfig, overrides: Iterable[str]) -> None:
    """A budget named on the command line replaces the one that a file set."""
    named = {match[1] for text in overrides if (match := re.match(r"\+*train\.(\w+)=", text))}
    given = [key for key in BUDGETS if key in named and composed.train.get(key) is not None]
    if given:
        for key in BUDGETS:
            if key not in named:
                composed.train[key] = None


def _check_before_resolving(composed: DictConfig) -> None:
    """Refuse what would otherwise end in an interpolation error that names another key."""
    loss = composed.get("loss")
    if not isinstance(loss, DictConfig) or "_target_" not in loss:
        raise ConfigError("loss: needs _target_, the dotted path of a loss class")
    if not isinstance(loss.get("optimizer"), DictConfig) or "_target_" not in loss.optimizer:
        raise ConfigError(
            "loss.optimizer: needs _target_ and lr, e.g. {_target_: torch.optim.Adam, lr: 2e-4}"
        )
    # Both learning rates stand on it: without this the message would name one of them.
    rate = OmegaConf.select(composed, "loss.optimizer.lr")
    if not _is_number(rate):
        raise ConfigError(f"loss.optimizer.lr={_shown(rate)}: must be a positive, finite number")
    stop_on = composed.train.get("stop_on") if "train" in composed else None
    if isinstance(stop_on, str):
        raise ConfigError(f"train.stop_on={stop_on}: must be a list; try train.stop_on=[{stop_on}]")
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


# --- types and ranges -------------------------------------------------------------------------------


def typed(schema: type, values: Mapping[str, Any], group: str, known: Iterable[str] = ()) -> Config:
    """`values` in the types that the dataclass `schema` declares, its defaults for what they lack.

    Raises:
        ConfigError: an unknown or missing key, or a value of another type.
    """
    prefix = f"{group}." if group else ""
    names = [field.name for field in fields(schema)]
    values = {**defaults(schema), **values}
    for key in values:
        if key not in names:
            close = difflib.get_close_matches(str(key), [*names, *known], n=1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"known: {', '.join(names) or 'none'}"
            raise ConfigError(f"{prefix}{key}: unknown key; {hint}")
    for name in names:
        if name not in values:
            raise ConfigError(f"{prefix}{name}: missing; give it a value")
    return converted(schema, values, group)


def converted(schema: type, values: Mapping[str, Any], group: str) -> Config:
    """`values` in the types that the dataclass `schema` declares; those of no field stay as they are.

    So do all of a schema with types that a configuration cannot hold.

    Raises:
        ConfigError: a value of another type.
    """
    prefix = f"{group}." if group else ""
    try:
        node = OmegaConf.structured(schema)
    except OmegaConfBaseException:
        return dict(values)
    OmegaConf.set_readonly(node, False)  # that of a frozen dataclass is
    given = [field for field in fields(schema) if field.name in values]
    for field in given:
        value, wanted = values[field.name], _TYPES.get(str(getattr(field.type, "__name__", field.type)))
        refusal = ConfigError(f"{prefix}{field.name}={_shown(value)}: must be {wanted or field.type}")
        if wanted and wanted.startswith("an integer") and isinstance(value, bool):
            raise refusal
        try:
            node.merge_with({field.name: value})
        except OmegaConfBaseException as error:
            raise refusal from error
    plain = OmegaConf.to_container(node)
    return {**values, **{field.name: plain[field.name] for field in given}}  # type: ignore[call-overload,index]


_TYPES = {
    "int": "an integer",
    "int | None": "an integer or null",
    "float": "a number",
    "float | None": "a number or null",
    "bool": "true or false",
    "str": "text",
    "str | None": "text or null",
    "list[int] | None": "a list of integers or null",
}


def _shown(value: Any) -> str:
    return "null" if value is None else f"{value}"


def _only(values: Mapping[str, Any], schema: type) -> Config:
    names = {field.name for field in fields(schema)}
    return {key: value for key, value in values.items() if key in names}


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
    "eval.seed": 2**63 - 1,
    "threads": 1024,
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

_ONE_OF = {
    "precision": ("float32", "bfloat16"),
    "logger": LOGGERS,
    "eval.extractor": EXTRACTORS,
    "eval.reference_split": ("test", "train"),
    "loss.critic_norm": NORM_CHOICES,
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def _check_ranges(config: Config) -> None:
    for key, least in _AT_LEAST.items():
        value = _get(config, key)
        if value is not None and value < least:
            raise ConfigError(f"{key}={value}: must be an integer of at least {least}; try {key}={least}")
    for key, most in _AT_MOST.items():
        value = _get(config, key)
        if value is not None and value > most:
            raise ConfigError(f"{key}={value}: must be at most {most}")
    for key in _POSITIVE:
        value = _get(config, key)
        if value is not None and not (_is_number(value) and 0 < value < math.inf):
            raise ConfigError(f"{key}={value}: must be a positive, finite number")
    for key, choices in _ONE_OF.items():
        if _get(config, key) not in choices:
            raise ConfigError(f"{key}={_get(config, key)}: must be one of {', '.join(choices)}")
    for group in ("dataset", "model", "loss"):
        name = config[group]["name"]
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{group}.name={name!r}: names a folder, so letters, digits, '_', '-', '.', '+' only"
            )
    decay = config["remedy"]["ema_decay"]
    if decay is not None and not 0 <= decay < 1:
        raise ConfigError(f"remedy.ema_decay={decay}: must be null or lie in [0, 1); try 0.999")
    labels, num_classes = config["train"]["sample_labels"], config["dataset"]["num_classes"]
    if labels is not None and not (labels and all(0 <= label < num_classes for label in labels)):
        raise ConfigError(
            f"train.sample_labels={labels}: must be null or a list of classes from 0 to {num_classes - 1}"
        )
    for failure in config["train"]["stop_on"] or ():
        if failure not in FAILURES:
            raise ConfigError(
                f"train.stop_on={failure}: unknown failure; a list of any of {', '.join(FAILURES)}, or null"
            )
    batch_size, num_train = config["train"]["batch_size"], config["dataset"]["num_train"]
    if batch_size > num_train:
        raise ConfigError(
            f"train.batch_size={batch_size}: must be at most the {num_train} training images of "
            f"{config['dataset']['name']}"
        )


def _check_budget(train: Config) -> None:
    given = {key: train[key] for key in BUDGETS if train[key] is not None}
    if len(given) != 1:
        shown = ", ".join(f"train.{key}={value}" for key, value in given.items()) or "none of them"
        raise ConfigError(
            "give exactly one of train.steps, train.epochs, train.images; "
            f"given: {shown} (switch one off with =null)"
        )


# --- targets -------------------------------------------------------------------------------------------


def _check_targets(config: Config) -> None:
    """Bind the arguments of every target to its signature, so that a misspelt parameter is found now."""
    nodes = {
        "dataset.source": (config["dataset"]["source"], {"root"}),
        "model.generator": (config["model"]["generator"], set()),
        "model.discriminator": (config["model"]["discriminator"], set()),
        "loss": (loss_parameters(config["loss"]), set()),
        "loss.optimizer": (config["loss"]["optimizer"], {"params"}),
    }
    for key, (node, supplied) in nodes.items():
        if "_target_" not in node:
            raise ConfigError(f"{key}: needs _target_, the dotted path of a class or function")
        _bind(key, resolve_target(str(node["_target_"])), _arguments(node), supplied)


def _bind(key: str, target: Callable[..., Any], arguments: Config, supplied: set[str]) -> None:
    parameters = inspect.signature(target).parameters
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    accepted = [name for name in parameters if name not in supplied and name != "self"]
    for name in arguments:
        if name not in accepted and not open_ended:
            close = difflib.get_close_matches(str(name), accepted, n=1)
            hint = f"did you mean {key}.{close[0]}?" if close else f"it takes {', '.join(accepted)}"
            raise ConfigError(
                f"{key}.{name}: unknown key for {target.__name__}; {hint} (remove one with ~{key}.{name})"
            )
    try:
        inspect.signature(target).bind(**arguments, **dict.fromkeys(supplied))
    except TypeError as error:
        raise ConfigError(f"{key}: {target.__name__} {error}") from error


# --- helpers ----------------------------------------------------------------------------------------


def _closest_key(message: str) -> str:
    wanted = message.split("'")[1] if "'" in message else ""
    import hydra

    with hydra.initialize_config_module("ganbench.conf", version_base="1.3"):
        known = list(_dotted_keys(hydra.compose("config")))
    close = difflib.get_close_matches(wanted, known, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _dotted_keys(node: DictConfig, prefix: str = "") -> list[str]:
    keys = []
    for key in map(str, node):
        keys.append(f"{prefix}{key}")
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
            keys += _dotted_keys(child, f"{prefix}{key}.")
    return keys


def _arguments(node: Mapping[str, Any]) -> Config:
    return {key: value for key, value in node.items() if key != "_target_"}


def _is_trusted(target: str) -> bool:
    if not TRUSTED.fullmatch(target):
        return False
    # A module also holds what it imports: the name must be defined where it claims to be.
    home = getattr(resolve_target(target), "__module__", "") or ""
    return home.startswith("torch.optim.") or home == target.rpartition(".")[0]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _get(config: Config, key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _canonical_json(value: Any) -> str:
    return json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"))


def _canonical(value: Any) -> Any:
    """10 and 10.0 are one value, so that a digit after the point does not make another run."""
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
