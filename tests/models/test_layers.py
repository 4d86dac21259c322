"""Initialisation and dropout against their definitions."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d

from ganbench.engine.gan import GAN
from ganbench.models.layers import Dropout, Flatten, LayerNorm, Project, layer_widths, normalised


def test_a_model_says_how_many_widths_it_takes() -> None:
    assert layer_widths([8, 4], 128, 64) == [8, 4]
    with pytest.raises(ValueError, match=r"features=\[8\]: must be 2 numbers, .* try \[128, 64\]"):
        layer_widths([8], 128, 64)


def test_projection_is_the_transposed_convolution_of_a_single_pixel() -> None:
    project = Project(5, 3, 4)
    z = torch.randn(2, 5)
    weight = project.weight.view(4, 4, 3, 5).permute(3, 2, 0, 1)
    bias = project.bias.view(4, 4, 3).permute(2, 0, 1)
    expected = conv_transpose2d(z[:, :, None, None], weight) + bias
    torch.testing.assert_close(project(z), expected)
    assert project(z).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("norm", ["batch", "spectral"])
def test_dcgan_starts_from_small_normal_weights(norm: str, gan_of: Callable[..., GAN]) -> None:
    """N(0, .02) for convolutions, N(1, .02) for batch norm's gains, zero biases; five standard errors."""
    gan = gan_of("model=dcgan", f"loss.critic_norm={norm}")
    checked = 0
    for network in (gan.generator, gan.discriminator):
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                parametrized = getattr(module, "parametrizations", None)
                weight, mean = parametrized.weight.original if parametrized else module.weight, 0.0
            elif isinstance(module, nn.BatchNorm2d):
                weight, mean = module.weight, 1.0
            else:
                continue
            count = weight.numel()
            assert weight.mean().item() == pytest.approx(mean, abs=5 * 0.02 / math.sqrt(count))
            assert weight.std().item() == pytest.approx(0.02, abs=5 * 0.02 / math.sqrt(2 * count))
            assert module.bias is None or not module.bias.any()
            checked += 1
    assert checked == {"batch": 9, "spectral": 8}[norm]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_flatten_gives_a_gradient_the_layout_of_its_input(layout: torch.memory_format) -> None:
    x = torch.randn(3, 4, 5, 5).to(memory_format=layout).requires_grad_()
    maps, weights, layouts = 2 * x, torch.randn(100), list[tuple[int, ...]]()
    flat = Flatten()(maps)
    maps.register_hook(lambda gradient: layouts.append(gradient.stride()))
    (gradient,) = torch.autograd.grad((flat @ weights).sum(), x)
    assert torch.equal(flat, maps.flatten(1))
    assert layouts == [maps.stride()]
    assert torch.equal(gradient, 2 * weights.view(4, 5, 5).expand(3, -1, -1, -1))


def test_flatten_follows_batched_gradients() -> None:
    x = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    weights = torch.randn(48, 5)

    def features(x: Tensor) -> Tensor:
        return Flatten()(torch.tanh(x)) @ weights

    each = torch.func.vmap(torch.func.grad(lambda image: features(image[None]).sum()))(x)
    whole = torch.func.jacrev(lambda x: features(x).sum(0))(x)
    expected = (1 - torch.tanh(x).square())[None] * weights.t().reshape(5, 1, 3, 4, 4)
    assert torch.allclose(whole, expected, atol=1e-6)
    assert torch.allclose(each, expected.sum(0), atol=1e-6)
    leaf = x.clone().requires_grad_()
    (batched,) = torch.autograd.grad(features(leaf).sum(0), leaf, torch.eye(5), is_grads_batched=True)
    assert torch.allclose(batched, expected, atol=1e-6)


def test_flatten_can_be_differentiated_twice() -> None:
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: Flatten()(torch.tanh(x)).square(), x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("cuda", [False, True])
def test_layer_norm_is_torchs_in_whatever_order(
    cuda: bool, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = (3 * torch.randn(2, 3, 4, 4) + 1).to(memory_format=layout)
    expected = torch.nn.functional.layer_norm(x, (3, 4, 4))
    monkeypatch.setattr(Tensor, "is_cuda", cuda)
    found = LayerNorm((3, 4, 4))(x)
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)
    if cuda and layout is torch.channels_last:
        assert found.stride() == x.stride()


@pytest.mark.parametrize("p", [0.125, 0.25, 0.5])
def test_dropout_keeps_rate_and_mean(p: float) -> None:
    """Five standard errors of 200,001 independent elements (an odd number: the last draw is cut)."""
    torch.manual_seed(0)
    count = 200_001
    y = Dropout(p)(torch.ones(count))
    assert sorted(y.unique().tolist()) == pytest.approx([0.0, 1 / (1 - p)], abs=1e-6)
    error = 5 * math.sqrt(p * (1 - p) / count)
    assert (y == 0).double().mean().item() == pytest.approx(p, abs=error)
    assert y.double().mean().item() == pytest.approx(1.0, abs=error / (1 - p))


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (4, 6)])
def test_dropout_keeps_the_layout(shape: tuple[int, ...]) -> None:
    """Also of a view that is not dense in memory."""
    torch.manual_seed(0)  # of a dozen elements all could be kept
    x = torch.ones(shape)
    for y in (x, x.transpose(0, 1), x.to(memory_format=torch.channels_last) if x.ndim == 4 else x, x[:, ::2]):
        dropped = Dropout(0.5)(y)
        assert set(dropped.unique().tolist()) == {0.0, 2.0}
        assert dropped.stride() == torch.empty_like(y).stride()


def test_dropout_draws_the_elements_independently() -> None:
    """Elements that share a 64-bit draw must not depend on each other; nor may a byte be poorer."""
    torch.manual_seed(0)
    kept = (Dropout(0.25)(torch.ones(50_000, 8)) > 0).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(8, dtype=torch.float64)
    assert correlation.abs().max().item() < 5 / math.sqrt(50_000)
    assert (kept.mean(dim=0) - 0.75).abs().max().item() < 5 * math.sqrt(0.25 * 0.75 / 50_000)


def test_dropout_masks_the_gradient_alike() -> None:
    torch.manual_seed(0)
    x = torch.randn(1000, requires_grad=True)
    y = Dropout(0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad, (y != 0).float() * 2)


@pytest.mark.parametrize("p, training", [(0.5, False), (0.0, True)])
def test_dropout_passes_everything(p: float, training: bool) -> None:
    x = torch.randn(10)
    state = torch.get_rng_state()
    assert Dropout(p).train(training)(x) is x
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("p", [-0.1, 0.001, 1 / 512, 0.999, 1.0, 2.0])
def test_dropout_refuses_impossible_rates(p: float) -> None:
    with pytest.raises(ValueError, match=r"dropout=.*0 or lie between 0\.0020 and 0\.9961"):
        Dropout(p)


def test_unknown_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="norm=group: must be one of none, batch, layer, spectral"):
        normalised(nn.Linear(2, 2), "group", (2,))
