"""Optimisers: as torch steps them, without its compiler, and their states from elsewhere."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganbench.engine.optimizers import (
    ZERO_STATE,
    build_optimizer,
    can_be_captured,
    can_be_compiled,
    load_optimizer,
    plain_step,
    uncompiled,
)
from ganbench.errors import ConfigError

CPU = torch.device("cpu")
NAMES = sorted(
    name
    for name, found in vars(torch.optim).items()
    if isinstance(found, type)
    and issubclass(found, torch.optim.Optimizer)
    and found not in (torch.optim.Optimizer, torch.optim.LBFGS, torch.optim.SparseAdam)
)


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_those_of_torch(name: str) -> None:
    """Bit for bit, over a state that was saved and loaded on the way."""

    def trained(kind: type[torch.optim.Optimizer]) -> list[Tensor]:
        torch.manual_seed(0)
        weights = [nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(4, 4))]
        optimizer = kind(weights, lr=0.1)  # type: ignore[call-arg]
        for _ in range(4):
            optimizer.zero_grad()
            sum((weight**4).sum() for weight in weights).backward()  # type: ignore[union-attr]
            optimizer.step()
            optimizer.load_state_dict(optimizer.state_dict())
        return weights

    kind = getattr(torch.optim, name)
    assert issubclass(uncompiled(kind), kind) and uncompiled(kind).__name__ == name  # type: ignore[arg-type, attr-defined]
    for ours, theirs in zip(trained(uncompiled(kind)), trained(kind), strict=True):  # type: ignore[arg-type]
        assert torch.equal(ours, theirs)


def test_hooks_are_called() -> None:
    """The average of the generator's weights hangs on one."""
    optimizer = uncompiled(torch.optim.SGD)([nn.Parameter(torch.ones(1))], lr=0.1)
    called = []
    optimizer.register_step_post_hook(lambda *_: called.append(1))
    optimizer.step()
    optimizer.step()
    assert called == [1, 1]


def test_a_plain_step_is_one_without_hooks() -> None:
    weights = [nn.Parameter(torch.ones(3)) for _ in range(2)]
    for weight, step in zip(weights, (lambda optimizer: optimizer.step(), plain_step), strict=True):
        optimizer = uncompiled(torch.optim.Adam)([weight], lr=0.1)
        called: list[int] = []
        optimizer.register_step_post_hook(lambda *_, called=called: called.append(1))
        weight.grad = torch.arange(3.0)
        step(optimizer)
        assert called == ([] if step is plain_step else [1])
    assert torch.equal(*weights) and weights[0][1] < 1


@pytest.mark.parametrize(
    "name, settings",
    [
        *((kind.__name__, {}) for kind in ZERO_STATE),
        ("Adam", {"amsgrad": True, "weight_decay": 0.1}),
        ("RMSprop", {"momentum": 0.9, "centered": True}),
    ],
)
def test_compiled_code_finds_the_state_that_it_knows(name: str, settings: dict[str, Any]) -> None:
    """Loading writes into the tensors that hold a state, and what has none begins anew with zeros."""

    def trained(optimizer: torch.optim.Optimizer, weight: nn.Parameter, steps: int) -> Tensor:
        for _ in range(steps):
            weight.grad = weight.detach() ** 2
            optimizer.step()
        return weight.detach().clone()

    def begun() -> tuple[torch.optim.Optimizer, nn.Parameter]:
        weight = nn.Parameter(torch.linspace(1, 2, 6))
        node = {"_target_": f"torch.optim.{name}", **settings}
        return build_optimizer(node, 0.1, [weight], CPU, compiled=True), weight

    expected = trained(*begun(), steps=4)
    optimizer, weight = begun()
    fresh, start = copy.deepcopy(optimizer.state_dict()), weight.detach().clone()
    trained(optimizer, weight, 2)
    held = dict(optimizer.state[weight])
    later, middle = copy.deepcopy(optimizer.state_dict()), weight.detach().clone()
    for state, at, steps in ((fresh, start, 4), (later, middle, 2)):
        load_optimizer(optimizer, state, compiled=True)
        assert all(optimizer.state[weight][key] is tensor for key, tensor in held.items())
        with torch.no_grad():
            weight.copy_(at)
        assert torch.equal(trained(optimizer, weight, steps), expected)


def test_only_steps_without_kernels_of_their_own_are_compiled() -> None:
    def built(name: str, **chosen: bool) -> torch.optim.Optimizer:
        weights = [nn.Parameter(torch.ones(2))]
        return build_optimizer({"_target_": f"torch.optim.{name}"}, 0.1, weights, CPU, **chosen)

    assert built("Adam").defaults["fused"] and not can_be_compiled(built("Adam"))
    assert can_be_compiled(built("Adam", compiled=True))
    assert built("SGD", compiled=True).defaults["fused"], "not among those that are compiled"
    assert not can_be_compiled(torch.optim.Adam([nn.Parameter(torch.ones(2))])), "nobody's own"
    for optimizer in (built("RMSprop"), built("Adam", compiled=True)):
        optimizer.register_step_post_hook(lambda *_: None)
        assert not can_be_compiled(optimizer), "its hook would not be called"


def test_a_step_imports_no_compiler() -> None:
    """Seconds of the time to the first step."""
    script = """
import sys, torch
from ganbench.engine.optimizers import build_optimizer
weight = torch.nn.Parameter(torch.ones(2))
for name in ("Adam", "RMSprop", "SGD"):
    node = {"_target_": f"torch.optim.{name}"}
    optimizer = build_optimizer(node, 0.1, [weight], torch.device("cpu"))
    optimizer.zero_grad()
    weight.square().sum().backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_other_classes_stay_as_they_are() -> None:
    class Own(torch.optim.SGD):
        pass

    assert uncompiled(Own) is Own
    assert uncompiled(dict) is dict  # type: ignore[arg-type, comparison-overlap]


def keyword_only(*, params: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=lr)


def test_an_optimiser_of_the_users_is_called_by_keyword() -> None:
    weight = nn.Parameter(torch.ones(1))
    built = build_optimizer({"_target_": f"{__name__}.keyword_only"}, 0.25, [weight], CPU)
    assert built.param_groups[0]["params"] == [weight] and built.param_groups[0]["lr"] == 0.25


def test_a_closure_is_evaluated() -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer = uncompiled(torch.optim.SGD)([weight], lr=0.5)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure=closure) == 1.0  # type: ignore[arg-type]
    assert weight.item() == 0.0 and weight.requires_grad and torch.is_grad_enabled()


def test_refused_values_are_named() -> None:
    weight = nn.Parameter(torch.ones(1))
    for node, message in (
        ({"momentum": -1.0}, "torch.optim.SGD refuses its values: ValueError: Invalid momentum"),
        ({"weight_decay": float("nan")}, r"loss.optimizer.weight_decay=nan: must be finite"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_optimizer({"_target_": "torch.optim.SGD", **node}, 0.1, [weight], CPU)


@pytest.mark.parametrize("name", ["Adam", "RMSprop"])
def test_an_optimiser_moves_between_machines(name: str) -> None:
    """One for a CUDA graph leaves a state that a plain one goes on from, with its own kernels."""

    def build(**kernels: bool) -> torch.optim.Optimizer:
        weight = nn.Parameter(torch.ones(3))
        weight.grad = torch.full((3,), 0.5)
        return getattr(torch.optim, name)([weight], lr=0.1, **kernels)

    plain, there = build(), build()
    for optimizer in (plain, there):
        optimizer.step()
    state = there.state_dict()
    state["param_groups"] = [{**group, "capturable": True} for group in state["param_groups"]]
    here = build(foreach=True)
    here.param_groups[0]["params"][0].data.copy_(plain.param_groups[0]["params"][0].data)
    load_optimizer(here, state)
    assert not here.param_groups[0]["capturable"] and here.param_groups[0]["foreach"]
    plain.step()
    here.step()
    assert torch.allclose(here.param_groups[0]["params"][0], plain.param_groups[0]["params"][0])


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop", "SGD"])
def test_moments_saved_in_another_layout_stay_those_of_their_weights(name: str) -> None:
    """Fused kernels go through memory, and a state keeps the layout it was saved in."""

    def build() -> torch.optim.Optimizer:
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(3, 4, 2, 2).to(memory_format=torch.channels_last))
        weight.grad = torch.randn(3, 4, 2, 2).to(memory_format=torch.channels_last)
        extra = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
        fused = {} if name == "RMSprop" else {"fused": True}
        optimizer = getattr(torch.optim, name)([weight], lr=0.1, **extra, **fused)
        optimizer.step()
        return optimizer

    kept, resumed = build(), build()
    saved = resumed.state_dict()
    assert any(isinstance(value, Tensor) and value.ndim == 4 for value in saved["state"][0].values())
    saved["state"] = {
        0: {k: v.contiguous() if isinstance(v, Tensor) else v for k, v in saved["state"][0].items()}
    }
    load_optimizer(resumed, saved)
    for optimizer in (kept, resumed):
        optimizer.step()
    weights = [optimizer.param_groups[0]["params"][0] for optimizer in (kept, resumed)]
    assert torch.equal(*weights)


def test_what_a_graph_may_hold() -> None:
    weights = [nn.Parameter(torch.ones(1))]
    optim = torch.optim
    assert can_be_captured(optim.SGD(weights, lr=1.0, momentum=0.9))
    assert can_be_captured(optim.Adam(weights, lr=1.0, capturable=True))
    assert not can_be_captured(optim.Adam(weights, lr=1.0))
    assert not can_be_captured(optim.Adagrad(weights, lr=1.0))


def test_betas_may_be_integers() -> None:
    """torch itself refuses 0 beside 0.9, and nobody types 0.0."""
    node = {"_target_": "torch.optim.Adam", "betas": [0, 0.9], "lr": 1e-3}
    optimizer = build_optimizer(node, 1e-3, [nn.Parameter(torch.zeros(2))], CPU)
    betas = list(optimizer.defaults["betas"])
    assert betas == [0.0, 0.9] and isinstance(betas[0], float)
