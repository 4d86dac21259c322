"""What ``_target_`` names: resolved, called, checked against its signature, and whether it is trusted."""

from __future__ import annotations

import difflib
import hashlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from ganbench.errors import ConfigError, first_line
from ganbench.schema import Config, RecipeConfig, lookup

TRUSTED = re.compile(r"(ganbench\.models\.\w+|ganbench\.losses|ganbench\.data|torch\.optim)\.[A-Za-z]\w*")
"""What a configuration that somebody else made may name: our own parts and torch's optimisers."""

TARGETS: dict[str, frozenset[str]] = {
    "dataset.source": frozenset({"root"}),
    "model.generator": frozenset(),
    "model.discriminator": frozenset(),
    "loss": frozenset(),
    "loss.optimizer": frozenset({"params"}),
}
"""The nodes of a configuration that name what is called, each with the arguments given it besides its own."""

RECIPE_KEYS = frozenset(field.name for field in fields(RecipeConfig))


def loss_parameters(loss: Mapping[str, Any]) -> Config:
    """The part of the ``loss`` group that its class is built from: target and own parameters."""
    return {key: value for key, value in loss.items() if key not in RECIPE_KEYS}


def resolve_target(target: str, key: str = "_target_") -> Callable[..., Any]:
    """The callable that a dotted path names; `key` is where it was given.

    Raises:
        ConfigError: there is none.
    """
    try:
        found = pkgutil.resolve_name(target)
    except (Exception, SystemExit) as error:  # a module may do anything when it is imported
        raise ConfigError(
            f"{key}={target}: cannot be imported ({first_line(error)}); check the dotted path, and "
            "that its module lies on PYTHONPATH or, in training, in the folder given by --config-dir"
        ) from error
    if not callable(found):
        raise ConfigError(f"{key}={target}: must name a class or function, is {found!r}")
    return found


def instantiate(node: Mapping[str, Any], **extra: Any) -> Any:
    """Call the target that `node` names with the rest of its keys and `extra`.

    Raises:
        ConfigError: the target does not exist.
    """
    return resolve_target(str(node["_target_"]))(**target_arguments(node), **extra)


def require_trusted(node: Any) -> None:
    """Refuse a configuration whose targets lie outside ganbench's own parts and torch.optim.

    Raises:
        ConfigError: naming the first such target.
    """
    if isinstance(node, Mapping):
        target = node.get("_target_")
        if target is not None and not is_trusted(str(target)):
            raise ConfigError(
                f"_target_={target!r}: a run directory may only name ganbench's own models, losses and "
                "datasets and the optimisers of torch.optim; pass --trust, in Python trust=True, if you know "
                "who made it"
            )
        for value in node.values():
            require_trusted(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            require_trusted(value)


def is_trusted(target: str) -> bool:
    """Whether a dotted path names one of ganbench's own parts, or an optimiser of torch's."""
    if not TRUSTED.fullmatch(target):
        return False
    # A module also holds what it imports: the name must be defined where it claims to be.
    home = getattr(resolve_target(target), "__module__", "") or ""
    return home.startswith("torch.optim.") or home == target.rpartition(".")[0]


def is_own_model(node: Config) -> bool:
    """Whether a network's node names a class of `ganbench.models`."""
    return str(node["_target_"]).startswith("ganbench.models.")


def foreign_code(config: Config) -> dict[str, str]:
    """Hex sha256 of the source file of each target outside ganbench and torch.optim, by its dotted key.

    A configuration names such code but does not hold it. What has no source file has no hash.
    """
    found = {}
    for node in TARGETS:
        target = str(lookup(config, f"{node}._target_"))
        if not is_trusted(target):
            with suppress(TypeError, ValueError, OSError):
                source = inspect.getsourcefile(inspect.unwrap(resolve_target(target)))
                if source is not None:
                    found[f"{node}._target_"] = hashlib.sha256(Path(source).read_bytes()).hexdigest()
    return found


def check_targets(config: Config) -> None:
    """Bind the arguments of every target to its signature, so that a misspelt parameter is found now.

    Raises:
        ConfigError: no target, or arguments that it does not take.
    """
    for key, supplied in TARGETS.items():
        node = lookup(config, key)
        if "_target_" not in node:
            raise ConfigError(f"{key}: needs _target_, the dotted path of a class or function")
        target = resolve_target(str(node["_target_"]), f"{key}._target_")
        _bind(key, target, target_arguments(loss_parameters(node) if key == "loss" else node), supplied)


def _bind(key: str, target: Callable[..., Any], arguments: Config, supplied: frozenset[str]) -> None:
    called = getattr(target, "__name__", type(target).__name__)
    try:
        signature = inspect.signature(target)
    except ValueError as error:  # one written in C, say
        raise ConfigError(
            f"{key}._target_: {called} does not say what it takes; name a function of your own that calls it"
        ) from error
    parameters = signature.parameters
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    accepted = [name for name in parameters if name not in supplied and name != "self"]
    for name in arguments:
        if name not in accepted and not open_ended:
            close = difflib.get_close_matches(str(name), accepted, n=1)
            hint = f"did you mean {key}.{close[0]}?" if close else f"it takes {', '.join(accepted) or 'none'}"
            raise ConfigError(
                f"{key}.{name}: unknown key for {called}; {hint} (remove one with ~{key}.{name})"
            )
    try:
        signature.bind(**arguments, **dict.fromkeys(supplied))
    except TypeError as error:
        raise ConfigError(f"{key}: {called} {error}") from error


def target_arguments(node: Mapping[str, Any]) -> Config:
    """What a target is called with: the rest of its node."""
    return {key: value for key, value in node.items() if key != "_target_"}
