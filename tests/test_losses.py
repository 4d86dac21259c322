"""Losses against hand-written numbers, torch's own losses and critics with a known gradient."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from ganbench.losses import (
    BCE,
    Hinge,
    LeastSquares,
    Loss,
    Minimax,
    Wasserstein,
    WassersteinClip,
    WassersteinGP,
    input_gradient,
)

REAL = torch.tensor([[2.0], [-0.5], [0.0]], dtype=torch.float64)
FAKE = torch.tensor([[-1.0], [3.0], [0.5]], dtype=torch.float64)
ALL = [BCE(), Minimax(), LeastSquares(), Hinge(), Wasserstein(), WassersteinClip(), WassersteinGP()]


def sp(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


R, F = [2.0, -0.5, 0.0], [-1.0, 3.0, 0.5]

CLOSED_FORMS = {
    "bce": (BCE(), sum(sp(-r) for r in R) / 3 + sum(sp(f) for f in F) / 3, sum(sp(-f) for f in F) / 3),
    "minimax": (
        Minimax(),
        sum(sp(-r) for r in R) / 3 + sum(sp(f) for f in F) / 3,
        -sum(sp(f) for f in F) / 3,
    ),
    # ½·(1 + 2.25 + 1)/3 + ½·(1 + 9 + .25)/3 and ½·(4 + 4 + .25)/3
    "lsgan": (LeastSquares(), 0.5 * 4.25 / 3 + 0.5 * 10.25 / 3, 0.5 * 8.25 / 3),
    "lsgan_abc": (LeastSquares(-1.0, 1.0, 0.0), 0.5 * 4.25 / 3 + 0.5 * 18.25 / 3, 0.5 * 10.25 / 3),
    # relu(1-r) = 0, 1.5, 1; relu(1+f) = 0, 4, 1.5
    "hinge": (Hinge(), 2.5 / 3 + 5.5 / 3, -2.5 / 3),
    "wgan": (Wasserstein(), 2.5 / 3 - 1.5 / 3, -2.5 / 3),
    "wgan_clip": (WassersteinClip(), 1 / 3, -2.5 / 3),
    "wgan_gp": (WassersteinGP(), 1 / 3, -2.5 / 3),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_values_follow_the_table(name: str) -> None:
    loss, d_loss, g_loss = CLOSED_FORMS[name]
    assert loss.d_loss(REAL, FAKE).item() == pytest.approx(d_loss, abs=1e-12)
    assert loss.g_loss(FAKE).item() == pytest.approx(g_loss, abs=1e-12)


@pytest.mark.parametrize("real_label, fake_label", [(1.0, 0.0), (0.9, 0.0), (0.9, 0.1)])
def test_smoothed_bce_is_the_cross_entropy_with_soft_labels(real_label: float, fake_label: float) -> None:
    expected = binary_cross_entropy_with_logits(REAL, torch.full_like(REAL, real_label))
    expected += binary_cross_entropy_with_logits(FAKE, torch.full_like(FAKE, fake_label))
    loss = BCE(real_label=real_label, fake_label=fake_label)
    assert loss.d_loss(REAL, FAKE).item() == pytest.approx(expected.item(), abs=1e-12)
    # Smoothing is the discriminator's alone.
    plain = binary_cross_entropy_with_logits(FAKE, torch.ones_like(FAKE)).item()
    assert loss.g_loss(FAKE).item() == pytest.approx(plain, abs=1e-12)


@pytest.mark.parametrize("real_label, fake_label", [(0.9, 0.0), (0.9, 0.1)])
def test_smoothed_lsgan_is_the_squared_distance_from_soft_labels(
    real_label: float, fake_label: float
) -> None:
    expected = 0.5 * mse_loss(REAL, torch.full_like(REAL, real_label))
    expected += 0.5 * mse_loss(FAKE, torch.full_like(FAKE, fake_label))
    loss = LeastSquares(real_label=real_label, fake_label=fake_label)
    assert loss.d_loss(REAL, FAKE).item() == pytest.approx(expected.item(), abs=1e-12)
    assert loss.g_loss(FAKE).item() == LeastSquares().g_loss(FAKE).item()


@pytest.mark.parametrize("logit", [-100.0, -30.0, 30.0, 100.0])
def test_bce_keeps_its_gradient_at_large_logits(logit: float) -> None:
    """In float32 a sigmoid saturates: what is wrong must still pull with weight 1, and stay finite."""
    x = torch.tensor([[logit]], requires_grad=True)
    (d_real,) = torch.autograd.grad(BCE().d_loss(x, torch.zeros(1, 1)), x)
    (d_fake,) = torch.autograd.grad(BCE().d_loss(torch.zeros(1, 1), x), x)
    (g,) = torch.autograd.grad(BCE().g_loss(x), x)
    assert d_real.item() == g.item() == pytest.approx(-1.0 if logit < 0 else 0.0, abs=1e-6)
    assert d_fake.item() == pytest.approx(1.0 if logit > 0 else 0.0, abs=1e-6)


@pytest.mark.parametrize("logit", [-30.0, -5.0, 0.0, 5.0])
def test_minimax_saturates_where_bce_does_not(logit: float) -> None:
    """The generator's gradient is -sigmoid(f): nothing where the discriminator knows the fake."""
    x = torch.tensor([[logit]], dtype=torch.float64, requires_grad=True)
    (minimax,) = torch.autograd.grad(Minimax().g_loss(x), x)
    (bce,) = torch.autograd.grad(BCE().g_loss(x), x)
    fooled = 1 / (1 + math.exp(-logit))
    assert minimax.item() == pytest.approx(-fooled, rel=1e-12)
    assert bce.item() == pytest.approx(fooled - 1, rel=1e-12)


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: type(loss).__name__)
def test_a_larger_logit_means_more_real(loss: Loss) -> None:
    real = torch.tensor([[0.2]], dtype=torch.float64, requires_grad=True)
    fake = torch.tensor([[0.3]], dtype=torch.float64, requires_grad=True)
    d_real, d_fake = torch.autograd.grad(loss.d_loss(real, fake), [real, fake])
    (g_fake,) = torch.autograd.grad(loss.g_loss(fake), fake)
    assert d_real.item() < 0 < d_fake.item(), "the discriminator raises real logits and lowers fake ones"
    assert g_fake.item() < 0, "the generator raises fake logits"


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: type(loss).__name__)
def test_is_a_frozen_scalar_function_of_flat_or_column_logits(loss: Loss) -> None:
    assert loss.d_loss(REAL, FAKE).shape == loss.g_loss(FAKE).shape == ()
    assert loss.d_loss(REAL[:, 0], FAKE[:, 0]).item() == pytest.approx(loss.d_loss(REAL, FAKE).item())
    with pytest.raises(dataclasses.FrozenInstanceError):
        loss.anything = 1.0  # type: ignore[attr-defined]


@pytest.mark.parametrize("loss", ALL[:-1], ids=lambda loss: type(loss).__name__)
def test_only_the_gradient_penalty_has_a_penalty(loss: Loss) -> None:
    images = torch.zeros(2, 1, 4, 4)
    assert loss.penalty(lambda x: x.flatten(1).sum(1, keepdim=True), images, images) is None


def test_accuracy_boundary_lies_between_the_targets() -> None:
    assert {type(loss).__name__: loss.boundary for loss in ALL} == {
        "BCE": 0.0, "Minimax": 0.0, "LeastSquares": 0.5, "Hinge": 0.0,
        "Wasserstein": 0.0, "WassersteinClip": 0.0, "WassersteinGP": 0.0,
    }  # fmt: skip


def test_labels_move_the_boundary_and_keep_their_order() -> None:
    """Mao et al. 2017, eq. 8, has the labels -1 and 1; a larger logit means more real in every loss."""
    assert LeastSquares(fake_label=-1.0, real_label=1.0, generator_label=0.0).boundary == 0
    for loss in (BCE, LeastSquares):
        with pytest.raises(ValueError, match=r"real_label=0\.1: must be greater than fake_label=0\.9"):
            loss(real_label=0.1, fake_label=0.9)


def test_clipping_clamps_every_weight_to_the_bound() -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    before = [parameter.detach().clone() for parameter in network.parameters()]
    WassersteinClip(clip=0.05).constrain(network)
    for parameter, old in zip(network.parameters(), before, strict=True):
        assert torch.equal(parameter, old.clamp(-0.05, 0.05))
    assert max(p.abs().max().item() for p in network.parameters()) == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize("loss", [loss for loss in ALL if not isinstance(loss, WassersteinClip)], ids=repr)
def test_other_losses_leave_the_weights_alone(loss: Loss) -> None:
    network = nn.Linear(3, 1)
    before = network.weight.detach().clone()
    loss.constrain(network)
    assert torch.equal(network.weight, before)


def linear_critic(shape: tuple[int, ...], norm: float) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """D(x) = <w, x> with ‖w‖ = `norm`: its gradient is w everywhere."""
    weight = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weight = (weight * (norm / weight.norm())).requires_grad_()
    return lambda x: (x * weight).flatten(1).sum(1, keepdim=True), weight


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("norm", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("gp_weight", [10.0, 2.5])
def test_gradient_penalty_of_a_linear_critic(channels: int, norm: float, gp_weight: float) -> None:
    """The penalty is two-sided: w·(‖w‖ - 1)², and its own gradient is 2w·(‖w‖ - 1)·w/‖w‖."""
    shape = (channels, 4, 4)
    critic, weight = linear_critic(shape, norm)
    real, fake = torch.randn(5, *shape, dtype=torch.float64), torch.randn(5, *shape, dtype=torch.float64)
    penalty = WassersteinGP(gp_weight=gp_weight).penalty(critic, real, fake)
    assert penalty.item() == pytest.approx(gp_weight * (norm - 1) ** 2, abs=1e-9)
    (grad,) = torch.autograd.grad(penalty, weight)
    expected = 2 * gp_weight * (norm - 1) * weight.detach() / norm
    assert torch.allclose(grad, expected, rtol=0, atol=1e-9)


def test_gradient_penalty_is_per_sample() -> None:
    """D(x) = ½‖x‖² has the gradient x: with real = fake = x̂ the penalty is the mean over samples."""
    images = torch.zeros(2, 3, 2, 2, dtype=torch.float64)
    images[0, 0, 0, 0], images[1, 2, 1, 1] = 3.0, 0.5
    penalty = WassersteinGP().penalty(lambda x: 0.5 * x.square().flatten(1).sum(1), images, images)
    assert penalty.item() == pytest.approx(10 * ((3 - 1) ** 2 + (0.5 - 1) ** 2) / 2, abs=1e-9)


def test_gradient_penalty_looks_at_lines_between_real_and_fake() -> None:
    """Each x̂ is one point of its own line, the same fraction for every pixel, spread over all of it."""
    real, fake = torch.full((400, 2, 3, 3), -1.0), torch.full((400, 2, 3, 3), 1.0)
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.flatten(1).sum(1)

    WassersteinGP().penalty(critic, real, fake)
    flat = seen[0].flatten(1)
    assert torch.equal(flat, flat[:, :1].expand_as(flat))
    fractions = (flat[:, 0] + 1) / 2
    assert 0 <= fractions.min() < 0.05 and 0.95 < fractions.max() <= 1
    # Mean and variance of a uniform fraction: 1/2 and 1/12, five standard errors of 400 draws.
    assert fractions.mean().item() == pytest.approx(0.5, abs=5 * math.sqrt(1 / 12 / 400))
    assert fractions.var().item() == pytest.approx(1 / 12, abs=0.02)


@pytest.mark.parametrize("channels", [1, 3])
def test_gradient_penalty_of_a_flat_critic_is_finite(channels: int) -> None:
    """At a zero gradient sqrt(Σg²) has no derivative: the penalty is 10 and pulls with no NaN."""
    weight = torch.zeros(channels, 4, 4, requires_grad=True)
    images = torch.randn(3, channels, 4, 4)
    penalty = WassersteinGP().penalty(lambda x: (x * weight).flatten(1).sum(1), images, -images)
    assert penalty.item() == pytest.approx(10.0, abs=1e-6)
    (grad,) = torch.autograd.grad(penalty, weight)
    assert torch.equal(grad, torch.zeros_like(grad))


@pytest.mark.parametrize("asks", [False, True])
def test_input_gradient_is_that_of_each_image_and_goes_on(asks: bool) -> None:
    """Of w·x² per image: 2wx, whose sum of squares has the gradient 8wx² in w."""
    weight = torch.tensor(3.0, requires_grad=True)
    images = torch.tensor([[1.0, -2.0], [0.5, 4.0]]).view(2, 1, 1, 2).requires_grad_(asks)
    grad = input_gradient(lambda x: weight * x.square().flatten(1).sum(1, keepdim=True), images)
    assert torch.equal(grad, 6 * images)
    assert images.requires_grad == asks and images.grad is None
    (second,) = torch.autograd.grad(grad.square().sum(), weight)
    assert second.item() == pytest.approx(8 * 3 * images.detach().square().sum().item())


def test_gradient_penalty_leaves_the_images_without_gradient() -> None:
    critic, _ = linear_critic((1, 2, 2), 2.0)
    real, fake = torch.randn(2, 1, 2, 2).double(), torch.randn(2, 1, 2, 2).double()
    WassersteinGP().penalty(critic, real, fake).backward()
    assert real.grad is None and fake.grad is None and not real.requires_grad and not fake.requires_grad


DEFAULTS = {
    "minimax": (Minimax(1.0, 0.0), "Adam", 2e-4, [0.5, 0.999], 1, "auto"),
    "bce": (BCE(1.0, 0.0), "Adam", 2e-4, [0.5, 0.999], 1, "auto"),
    "lsgan": (LeastSquares(0.0, 1.0, 1.0), "Adam", 2e-4, [0.5, 0.999], 1, "auto"),
    "hinge": (Hinge(), "Adam", 2e-4, [0.5, 0.999], 1, "auto"),
    "wgan_clip": (WassersteinClip(0.01), "RMSprop", 5e-5, None, 5, "layer"),
    "wgan_gp": (WassersteinGP(10.0), "Adam", 1e-4, [0.0, 0.9], 5, "layer"),
    "sn_hinge": (Hinge(), "Adam", 2e-4, [0.5, 0.999], 1, "spectral"),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_each_recipe_is_configured_as_published(name: str, configure: Any, loss_of: Any) -> None:
    loss, optimizer, lr, betas, n_critic, norm = DEFAULTS[name]
    recipe = configure(f"loss={name}")["loss"]
    assert loss_of(name) == loss
    assert recipe["optimizer"] == {
        "_target_": f"torch.optim.{optimizer}", "lr": lr, **({"betas": betas} if betas else {})
    }  # fmt: skip
    assert (recipe["d_lr"], recipe["g_lr"]) == (lr, lr)
    assert (recipe["n_critic"], recipe["critic_norm"], recipe["same_batch"]) == (n_critic, norm, False)
