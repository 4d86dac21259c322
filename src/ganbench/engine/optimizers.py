"""The optimisers of torch.optim: built with their fastest kernels, their saved states."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ganbench.config import Config, is_number, resolve_target, target_arguments
from ganbench.errors import ConfigError, told

WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
"""The methods, besides ``step``, that torch wraps for torch.compile."""

PLAIN_STEP = "_ganbench_step"

ZERO_STATE = (torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop)
"""Optimisers that torch.compile knows and whose state begins with zeros."""


def build_optimizer(
    node: Config,
    lr: float,
    parameters: Iterable[nn.Parameter],
    device: torch.device,
    captured: bool = False,
    compiled: bool = False,
) -> torch.optim.Optimizer:
    """The optimiser that `node` names, at the rate `lr`.

    `captured`: for steps that a CUDA graph holds; `compiled`: for `torch.compile`, whose kernels use a whole
    GPU, where torch's own, made for many more weights, use a few of its processors.

    Raises:
        ConfigError: it refuses its values.
    """
    _check_values(node)
    target = resolve_target(node["_target_"])
    chosen = {**target_arguments(node), "lr": lr}
    accepted = inspect.signature(target).parameters
    # One kernel instead of a dozen a parameter; the default chooses it on no device.
    alternatives = {"fused", "foreach", "differentiable"}
    left_to_us = "fused" in accepted and not alternatives & node.keys()
    if left_to_us and _has_fused(node["_target_"], device) and not (compiled and target in ZERO_STATE):
        chosen["fused"] = True
    # Its step count has to live on the device for a graph to raise it.
    if captured and "capturable" in accepted:
        chosen.setdefault("capturable", True)
    try:
        if "betas" in chosen:  # torch refuses an integer 0 beside 0.9
            chosen["betas"] = [float(beta) for beta in chosen["betas"]]
        return uncompiled(target)(params=list(parameters), **chosen)
    except Exception as error:  # somebody's own may fail in any way
        raise ConfigError(f"loss.optimizer: {node['_target_']} refuses its values: {told(error)}") from error


@functools.cache
def uncompiled(target: Callable[..., torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """An optimiser of torch's with its methods as they are written; anything else as it is.

    torch wraps them so that torch.compile leaves them out of its graphs, and imports its compiler for that
    when they are first called: a third of the time from a command to its first step. Where a step is compiled
    here, it is as a whole. Such an optimiser cannot be pickled; its state can.
    """
    if not (isinstance(target, type) and target.__module__.startswith("torch.optim.")):
        return target
    written = inspect.unwrap(target.step)  # type: ignore[attr-defined]

    def step(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        with torch.set_grad_enabled(self.defaults.get("differentiable", False)):
            return written(self, *args, **kwargs)

    methods = {name: inspect.unwrap(getattr(target, name)) for name in WRAPPED}
    own = {"step": step, PLAIN_STEP: step, "__module__": target.__module__}
    return type(target.__name__, (target,), {**methods, **own})


def plain_step(optimizer: torch.optim.Optimizer) -> None:
    """A step without what torch wraps around it in the constructor: hooks, and a note for profilers."""
    getattr(optimizer, PLAIN_STEP, optimizer.step)()


def can_be_captured(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a CUDA graph may hold its steps: all that changes from one to the next is on the device."""
    return isinstance(optimizer, torch.optim.SGD) or all(
        group.get("capturable") for group in optimizer.param_groups
    )


def can_be_compiled(optimizer: torch.optim.Optimizer) -> bool:
    """Whether torch.compile can make kernels of its step and `load_optimizer` keep its state in place.

    Not where a hook hangs on the step, as an average of the weights does: `plain_step` would not call it.
    """
    known = isinstance(optimizer, ZERO_STATE) and hasattr(optimizer, PLAIN_STEP)
    return known and not optimizer.defaults.get("fused") and not optimizer._optimizer_step_post_hooks


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any], compiled: bool = False) -> None:
    """Load a saved state, but keep the kernels and layouts of this run: a run may move between machines.

    Fused kernels walk weights and moments in memory order: a moment laid out otherwise would meet the wrong
    weight.
    `compiled` code knows a state by the tensors that hold it: they are kept, too.
    """
    held = {weight: dict(values) for weight, values in optimizer.state.items()} if compiled else {}
    own = {k: optimizer.defaults[k] for k in ("fused", "foreach", "capturable") if k in optimizer.defaults}
    optimizer.load_state_dict(
        {**state, "param_groups": [{**group, **own} for group in state["param_groups"]]}
    )
    for weight, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                values[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)
    for weight, values in held.items():
        loaded = optimizer.state[weight]
        for name, tensor in values.items():
            loaded[name] = tensor.copy_(loaded[name]) if name in loaded else tensor.zero_()


def _has_fused(target: str, device: torch.device) -> bool:
    """Whether every version of torch has on `device` the fused kernel of optimisers that take ``fused``."""
    on_cuda = ("torch.optim.Adam", "torch.optim.AdamW", "torch.optim.SGD")
    return device.type == "cpu" or (device.type == "cuda" and target in on_cuda)


def _check_values(node: Config) -> None:
    """Refuse settings of an optimiser that its own constructor lets pass."""
    for key, value in node.items():
        for number in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                raise ConfigError(f"loss.optimizer.{key}={value}: must be finite")
    betas = node.get("betas", (0, 0))
    if not isinstance(betas, (list, tuple)) or len(betas) != 2 or not all(map(is_number, betas)):
        raise ConfigError(f"loss.optimizer.betas={node['betas']}: must be two numbers, e.g. [0.5,0.999]")
