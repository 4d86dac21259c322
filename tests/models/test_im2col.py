"""Convolutions by products of patches: torch's values, and its derivatives of any order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ganbench.models import im2col

GEOMETRIES = {  # kernel, stride, padding, size of the input
    "a critic's": ((4, 4), (2, 2), (1, 1), (6, 6)),
    "a generator's": ((3, 3), (1, 1), (1, 1), (4, 5)),
    "uneven": ((2, 3), (2, 1), (0, 2), (6, 3)),
    "with rows and columns that no patch reaches": ((2, 2), (3, 4), (1, 0), (6, 7)),
    "a whole image": ((5, 5), (1, 1), (0, 0), (5, 5)),
}
geometries = pytest.mark.parametrize("kernel, stride, padding, size", GEOMETRIES.values(), ids=GEOMETRIES)
Pair = tuple[int, int]


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).requires_grad_()


def derivatives(of: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """The value and all derivatives of a scalar made of it, up to the third order."""
    found = [of(*inputs)]
    for _ in range(3):
        scalar = torch.stack([value.sigmoid().sum() for value in found[-len(inputs) :]]).sum()
        found += torch.autograd.grad(scalar, inputs, create_graph=True)
    return found


@geometries
@pytest.mark.parametrize("bias", [False, True])
def test_a_convolution(kernel: Pair, stride: Pair, padding: Pair, size: Pair, bias: bool) -> None:
    torch.manual_seed(0)
    inputs = [numbers(2, 3, *size), numbers(4, 3, *kernel), *([numbers(4)] if bias else [])]
    ours, torchs = (
        derivatives(lambda x, w, b=None: of(x, w, b, stride, padding), inputs)  # noqa: B023
        for of in (im2col.conv2d, functional.conv2d)
    )
    for found, expected in zip(ours, torchs, strict=True):
        assert torch.allclose(found, expected, rtol=1e-10, atol=1e-10)


@geometries
def test_a_transposed_convolution(kernel: Pair, stride: Pair, padding: Pair, size: Pair) -> None:
    torch.manual_seed(0)
    inputs = [numbers(2, 3, *size), numbers(3, 4, *kernel)]
    ours = derivatives(lambda x, w: im2col.conv_transpose2d(x, w, stride, padding), inputs)
    torchs = derivatives(lambda x, w: functional.conv_transpose2d(x, w, None, stride, padding), inputs)
    for found, expected in zip(ours, torchs, strict=True):
        assert torch.allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_an_empty_batch() -> None:
    x, w = numbers(0, 3, 6, 6), numbers(4, 3, 4, 4)
    maps = im2col.conv2d(x, w, numbers(4), (2, 2), (1, 1))
    assert maps.shape == (0, 4, 3, 3)
    (gradient,) = torch.autograd.grad(maps.sum(), w)
    assert torch.equal(gradient, torch.zeros_like(w))
    x = numbers(0, 4, 3, 3)
    (gradient,) = torch.autograd.grad(im2col.conv_transpose2d(x, w).sum(), w)
    assert torch.equal(gradient, torch.zeros_like(w))


def test_numerical_derivatives() -> None:
    torch.manual_seed(0)
    inputs = numbers(2, 2, 6, 6), numbers(3, 2, 4, 4), numbers(3)
    assert torch.autograd.gradgradcheck(lambda x, w, b: im2col.conv2d(x, w, b, (2, 2), (1, 1)), inputs)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_maps_lie_in_channels_last_layout_and_may_be_activated_in_place(
    memory_format: torch.memory_format,
) -> None:
    x, w = numbers(2, 3, 6, 6).detach().to(memory_format=memory_format).requires_grad_(), numbers(4, 3, 4, 4)
    maps = im2col.conv2d(x, w, None, (2, 2), (1, 1))
    assert maps.is_contiguous(memory_format=torch.channels_last)
    functional.leaky_relu(maps, 0.2, inplace=True).square().sum().backward()
    ours = x.grad, w.grad
    x.grad = w.grad = None
    functional.leaky_relu(functional.conv2d(x, w, None, 2, 1), 0.2).square().sum().backward()
    for found, expected in zip(ours, (x.grad, w.grad), strict=True):
        assert found is not None and expected is not None
        assert torch.allclose(found, expected, rtol=1e-12)


def test_gradients_that_a_pass_does_not_need_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    for function, name in ((im2col._WeightGradient, "weight"), (im2col._TransposedConvolution, "input")):
        monkeypatch.setattr(
            function,
            "apply",
            lambda *a, plain=function.apply, name=name: (computed.append(name), plain(*a))[1],
        )
    x, w = numbers(2, 3, 6, 6), numbers(4, 3, 4, 4)

    def loss(of: Callable[..., Tensor] = im2col.conv2d) -> Tensor:
        return of(x, w).square().sum() + of(2 * x, 2 * w).square().sum()  # of leaves, and of what is no leaf

    def asked(inputs: list[Tensor] | None) -> list[str]:
        computed.clear()
        loss().backward(inputs=inputs)
        return sorted(computed)

    assert asked(None) == ["input", "input", "weight", "weight"]
    assert asked([w]) == ["weight", "weight"]
    assert asked([x]) == ["input", "input"]
    for wanted in (x, w):  # torch does not tell of leaves then: none may be missing
        (found,) = torch.autograd.grad(loss(), [wanted])
        (expected,) = torch.autograd.grad(loss(functional.conv2d), [wanted])
        assert torch.allclose(found, expected, rtol=1e-12)


def test_the_first_derivative_of_a_gradient_penalty_computes_none_of_the_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed = []
    plain = im2col._WeightGradient.apply
    monkeypatch.setattr(im2col._WeightGradient, "apply", lambda *a: (computed.append(a), plain(*a))[1])
    x, w = numbers(2, 3, 6, 6), numbers(4, 3, 4, 4)
    maps = im2col.conv2d(2 * x, 2 * w).sigmoid()
    (gradient,) = torch.autograd.grad(maps.sum(), x, create_graph=True)
    assert not computed, "the penalty's first derivative is of the images alone"
    gradient.square().sum().backward(inputs=[w])
    assert len(computed) == 2, "one through the maps, one through the gradient"


def test_in_bfloat16_the_weights_gradient_is_as_near_as_that_of_torch() -> None:
    torch.manual_seed(0)
    x, w = torch.randn(64, 32, 14, 14), torch.randn(64, 32, 4, 4) / 30
    target = torch.randn(64, 64, 7, 7)

    def gradient(of: Callable[..., Tensor], dtype: torch.dtype) -> Tensor:
        kernels = w.to(dtype).requires_grad_()
        maps = of(x.to(dtype), kernels, None, (2, 2), (1, 1))
        (found,) = torch.autograd.grad((maps * target.to(dtype)).sum(), kernels)
        return found.double()

    exact = gradient(functional.conv2d, torch.float64)
    ours, torchs = (
        (gradient(of, torch.bfloat16) - exact).norm() / exact.norm()
        for of in (im2col.conv2d, functional.conv2d)
    )
    assert ours < 1.1 * torchs
    assert ours < 0.01
