"""The optimisers of torch.optim: built with their fastest kernels and without torch.compile, saved states."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ganbench.config import Config, resolve_target, target_arguments
from ganbench.errors import ConfigError

WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
"""The methods, besides ``step``, that torch wraps for torch.compile."""


def build_optimizer(
    node: Config,
    lr: float,
    parameters: Iterable[nn.Parameter],
    device: torch.device,
    captured: bool = False,
) -> torch.optim.Optimizer:
    """The optimiser that `node` names, at the rate `lr`; `captured`: for steps that a CUDA graph holds.

    Raises:
        ConfigError: it refuses its values.
    """
    _require_finite(node)
    target = resolve_target(node["_target_"])
    chosen = {**target_arguments(node), "lr": lr}
    accepted = inspect.signature(target).parameters
    # One kernel instead of a dozen a parameter; the default chooses it on no device.
    alternatives = {"fused", "foreach", "differentiable"}
    if "fused" in accepted and not alternatives & node.keys() and _has_fused(node["_target_"], device):
        chosen["fused"] = True
    # Its step count has to live on the device for a graph to raise it.
    if captured and "capturable" in accepted:
        chosen.setdefault("capturable", True)
    try:
        return uncompiled(target)(params=list(parameters), **chosen)
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise ConfigError(f"loss.optimizer: {node['_target_']} refuses its values: {error}") from error


@functools.cache
def uncompiled(target: Callable[..., torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """An optimiser of torch's with its methods as they are written; anything else as it is.

    torch wraps them so that torch.compile leaves them out of its graphs, and imports its compiler for that
    when they are first called: a third of the time from a command to its first step. Nothing here compiles
    an optimiser. Such an optimiser cannot be pickled; its state can.
    """
    if not (isinstance(target, type) and target.__module__.startswith("torch.optim.")):
        return target
    written = inspect.unwrap(target.step)  # type: ignore[attr-defined]

    def step(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        with torch.set_grad_enabled(self.defaults.get("differentiable", False)):
            return written(self, *args, **kwargs)

    methods = {name: inspect.unwrap(getattr(target, name)) for name in WRAPPED}
    return type(target.__name__, (target,), {**methods, "step": step, "__module__": target.__module__})


def can_be_captured(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a CUDA graph may hold its steps: all that changes from one to the next is on the device."""
    return isinstance(optimizer, torch.optim.SGD) or all(
        group.get("capturable") for group in optimizer.param_groups
    )


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a saved state, but keep the kernels and layouts of this run: a run may move between machines.

    Fused kernels go through memory: moments in another layout than their weights would be those of others.
    """
    own = {k: optimizer.defaults[k] for k in ("fused", "foreach", "capturable") if k in optimizer.defaults}
    optimizer.load_state_dict(
        {**state, "param_groups": [{**group, **own} for group in state["param_groups"]]}
    )
    for weight, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                values[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _has_fused(target: str, device: torch.device) -> bool:
    """Whether every version of torch has on `device` the fused kernel of optimisers that take ``fused``."""
    on_cuda = ("torch.optim.Adam", "torch.optim.AdamW", "torch.optim.SGD")
    return device.type == "cpu" or (device.type == "cuda" and target in on_cuda)


def _require_finite(node: Config) -> None:
    """Refuse settings of an optimiser that its own constructor lets pass."""
    for key, value in node.items():
        for number in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                raise ConfigError(f"loss.optimizer.{key}={value}: must be finite")
    betas = node.get("betas", (0, 0))
    if not isinstance(betas, (list, tuple)) or len(betas) != 2:
        raise ConfigError(f"loss.optimizer.betas={node['betas']}: must be two numbers, e.g. [0.5,0.999]")
