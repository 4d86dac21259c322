"""Convolutions as products of patches: the same values and derivatives, first and second."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ganbench.models import convolution
from ganbench.models.convolution import Conv2d, im2col_conv2d, using_im2col

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

SHAPES = {
    "a critic's": ({"kernel_size": 4, "stride": 2, "padding": 1}, (12, 12)),
    "odd": ({"kernel_size": 3, "padding": 1}, (7, 9)),
    "uneven": ({"kernel_size": (2, 3), "stride": (2, 1), "padding": (0, 2), "bias": False}, (9, 6)),
    "dilated": ({"kernel_size": 3, "dilation": (2, 1), "stride": 2}, (9, 8)),
    "a whole image": ({"kernel_size": 5}, (5, 5)),
}


@pytest.mark.parametrize("settings, size", SHAPES.values(), ids=SHAPES)
def test_values_and_derivatives_are_those_of_torch(
    settings: dict[str, object], size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, **settings).double()  # type: ignore[arg-type]
    images = torch.randn(4, 2, *size, dtype=torch.float64).requires_grad_()
    inputs = [images, *layer.parameters()]

    def derivatives(output: Tensor) -> list[Tensor]:
        first = torch.autograd.grad(output.sigmoid().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(first[0].square().sum(), inputs)
        return [output, *first, *second]

    ours = im2col_conv2d(images, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation)  # type: ignore[arg-type]
    for found, expected in zip(derivatives(ours), derivatives(layer(images)), strict=True):
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_a_block_decides_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    plain = convolution.im2col_conv2d
    monkeypatch.setattr(convolution, "im2col_conv2d", lambda *inputs: (used.append(1), plain(*inputs))[1])
    layer, images = Conv2d(1, 2, 3), torch.randn(1, 1, 5, 5)
    expected = layer(images)
    with using_im2col(CPU):
        layer(images)
    assert not used, "only CUDA's convolutions are slow at it"
    with pytest.raises(ZeroDivisionError), using_im2col(CUDA):
        assert torch.allclose(layer(images), expected, atol=1e-6)
        assert len(used) == 1
        for other in (
            Conv2d(2, 2, 3, groups=2),
            Conv2d(2, 2, 3, padding="same"),
            Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        ):
            other(torch.randn(1, 2, 5, 5))
        layer(images[0])
        assert len(used) == 1, "not for what it cannot do"
        raise ZeroDivisionError
    layer(images)
    assert len(used) == 1
