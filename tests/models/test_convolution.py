"""Which convolutions are products of patches, and that they are torch's all the same."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from ganbench.models import convolution, im2col
from ganbench.models.convolution import Conv2d, ConvTranspose2d, using_im2col
from ganbench.models.im2col import traceable_conv2d
from ganbench.models.layers import Project
from ganbench.models.subpixel import SubPixelConv2d

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

    ours = traceable_conv2d(images, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation)  # type: ignore[arg-type]
    for found, expected in zip(derivatives(ours), derivatives(layer(images)), strict=True):
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_a_block_decides_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    plain = im2col.traceable_conv2d
    monkeypatch.setattr(im2col, "traceable_conv2d", lambda *inputs: (used.append(1), plain(*inputs))[1])
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


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was computed by patches, on a processor that seems to have AMX."""
    used: list[str] = []
    for name in ("conv2d", "conv_transpose2d"):
        plain = getattr(im2col, name)
        monkeypatch.setattr(im2col, name, lambda *a, n=name, of=plain: (used.append(n), of(*a))[1])
    monkeypatch.setattr(convolution, "has_amx", lambda: True)
    return used


def bfloat16() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


CRITICS = Conv2d, nn.Conv2d, "conv2d"
GENERATORS = partial(ConvTranspose2d, bias=False), partial(nn.ConvTranspose2d, bias=False), "conv_transpose2d"


@pytest.mark.parametrize("ours, torchs, name", [CRITICS, GENERATORS], ids=["critic", "generator"])
def test_in_bfloat16_on_amx_weights_gradients_are_products_of_patches(
    ours: type[nn.Module], torchs: type[nn.Module], name: str, products: list[str]
) -> None:
    torch.manual_seed(0)
    layer = ours(32, 48, 4, 2, 1)
    other = torchs(32, 48, 4, 2, 1)
    other.load_state_dict(layer.state_dict())
    images = torch.randn(8, 32, 8, 8).requires_grad_()
    found, expected = [], []
    for network, results in ((layer, found), (other, expected)):
        with bfloat16():
            maps = network(images)
        assert maps.dtype == torch.bfloat16
        gradients = torch.autograd.grad(maps.float().sigmoid().sum(), [images, *network.parameters()])
        assert all(gradient.dtype == torch.float32 for gradient in gradients)
        results += [maps.float(), *gradients]
    assert products == [name]
    for one, another in zip(found, expected, strict=True):
        assert (one - another).norm() < 0.01 * another.norm()


def test_elsewhere_convolutions_are_torchs(products: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    layer, transposed = Conv2d(16, 4, 4, 2, 1), ConvTranspose2d(4, 16, 4, 2, 1, bias=False)
    images, maps = torch.randn(2, 16, 8, 8), torch.randn(2, 4, 4, 4)
    layer(images), transposed(maps)  # float32
    with bfloat16():
        layer.double()(images.double()), transposed.double()(maps.double())  # which autocast leaves alone
        layer.float(), transposed.float()
        Conv2d(15, 4, 4)(images[:, :15])
        Conv2d(16, 4, 3, dilation=2)(images)
        Conv2d(16, 4, 4).requires_grad_(False)(images)
        Conv2d(16, 4, 4, groups=2, bias=False)(images)
        Conv2d(16, 4, 3, padding="same")(images)
        Conv2d(16, 4, 3, padding=1, padding_mode="reflect")(images)
        layer(images[0]), transposed(maps[0])
        Conv2d(16, 4, 3)(images[:1].expand(-1, -1, 8, 8).repeat(1, 1, 48, 48))  # more than it is worth
        ConvTranspose2d(4, 16, 4)(maps)  # with a bias
        ConvTranspose2d(4, 16, 4, 2, 1, output_padding=1, bias=False)(maps)
        ConvTranspose2d(4, 16, 4, 2, 1, bias=False)(maps, output_size=[9, 9])
        torch.func.grad(lambda x: layer(x).float().sum())(images)
        torch.func.vmap(lambda x: layer(x[None]))(images)
        torch.compile(layer, backend="eager")(images)
        assert not products
        monkeypatch.setattr(convolution, "has_amx", lambda: False)
        layer(images)
        assert not products
    with torch.autocast("cpu", torch.float16):
        layer(images)
    assert not products


def test_the_convolved_projection_is_one_of_them(products: list[str]) -> None:
    project, layer = Project(10, 16, 7), SubPixelConv2d(16, 4)
    with bfloat16():
        layer.of_projection(project, torch.randn(20, 10)).float().sum().backward()
    assert products == ["conv2d"]
    assert layer.weight.grad is not None


def test_what_does_not_fit_is_refused_in_torchs_words(products: list[str]) -> None:
    layer, other = Conv2d(16, 4, 4), nn.Conv2d(16, 4, 4)
    with bfloat16():
        for shape in ((2, 17, 8, 8), (1, 2, 16, 8, 8)):
            images = torch.randn(shape)
            with pytest.raises(RuntimeError) as expected:
                other(images)
            with pytest.raises(RuntimeError) as found:
                layer(images)
            assert str(found.value) == str(expected.value)
        assert not products
        with pytest.raises(RuntimeError, match="maximum size for tensor at dimension 1 is 3 but size is 4"):
            layer(torch.randn(2, 16, 3, 8))
