"""Sub-pixel convolution against its definition, and its short cut against the long way."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, pixel_shuffle

from ganbench.models.layers import Project
from ganbench.models.subpixel import SubPixelConv2d, weights_unchanged


def test_sub_pixel_convolution_is_pixel_shuffle_of_reordered_channels() -> None:
    """`torch.nn.PixelShuffle` reads the channels as (channel, row, column), not (row, column, channel)."""
    torch.manual_seed(0)
    layer = SubPixelConv2d(3, 5)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    order = torch.arange(20).view(2, 2, 5).permute(2, 0, 1).flatten()
    x = torch.randn(2, 3, 6, 7)
    convolved = conv2d(x, layer.weight[order], layer.bias[order], padding=1)
    torch.testing.assert_close(layer(x), pixel_shuffle(convolved, 2))


def projected(bias: bool = True) -> tuple[Project, SubPixelConv2d]:
    torch.manual_seed(0)
    project, convolution = Project(5, 3, 4, bias), SubPixelConv2d(3, 2)
    nn.init.normal_(convolution.bias)
    return project, convolution


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("count", [4, 5, 6, 40])
def test_a_convolved_projection_is_the_convolution_of_the_projection(count: int, bias: bool) -> None:
    """Values and all gradients, for batches smaller and larger than the five latent values."""
    project, convolution = projected(bias)
    z = torch.randn(count, 5, requires_grad=True)
    inputs = [z, *project.parameters(), *convolution.parameters()]
    expected, found = convolution(project(z)), convolution.of_projection(project, z)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
        rtol=1e-5,
        atol=1e-4,  # sums of up to 40·64 products
    )


def test_what_weights_alone_decide_is_computed_once_while_they_are_unchanged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project, convolution = projected()
    computed = []
    compute = SubPixelConv2d.maps_of
    monkeypatch.setattr(
        SubPixelConv2d, "maps_of", lambda *arguments: (computed.append(1), compute(*arguments))[1]
    )
    z = torch.randn(6, 5)
    with weights_unchanged(convolution):
        with torch.no_grad():  # the fakes of the discriminator's step come first
            assert not convolution.of_projection(project, z).requires_grad
        expected = convolution.of_projection(project, z)
        (kept,) = torch.autograd.grad(expected.sum(), [convolution.weight])
    assert len(computed) == 1
    with torch.no_grad():
        convolution.weight.mul_(2)
    assert not torch.equal(convolution.of_projection(project, z), expected)
    with weights_unchanged(convolution):
        torch.testing.assert_close(convolution.of_projection(project, z), convolution(project(z)))
    (anew,) = torch.autograd.grad(convolution.of_projection(project, z).sum(), [convolution.weight])
    assert torch.equal(kept, anew)  # linear in the weights: their gradient does not depend on them
    assert len(computed) == 4


def test_maps_are_kept_for_each_projection_and_of_no_other_network() -> None:
    project, convolution = projected()
    other, stranger = Project(5, 3, 4), projected()[1]
    z = torch.randn(6, 5)
    with weights_unchanged(nn.Sequential(project, convolution)), torch.no_grad():
        for layer in (project, other, project):
            torch.testing.assert_close(convolution.of_projection(layer, z), convolution(layer(z)))
        for factor in (2.0, 3.0):  # this one's weights do change
            stranger.weight.mul_(factor)
            torch.testing.assert_close(stranger.of_projection(project, z), stranger(project(z)))


def test_sub_pixel_convolution_starts_as_nearest_neighbour_upscaling() -> None:
    torch.manual_seed(0)
    pixels = SubPixelConv2d(3, 4)(torch.randn(2, 3, 5, 5))
    blocks = pixels.unflatten(2, (5, 2)).unflatten(4, (5, 2))
    assert torch.equal(blocks, blocks[:, :, :, :1, :, :1].expand_as(blocks))
    assert blocks.std() > 0.1


def test_sub_pixel_convolution_draws_each_kernel_from_kaiming() -> None:
    """Standard deviation sqrt(2 / fan_in), five standard errors of the 256·64·9 independent draws."""
    torch.manual_seed(0)
    weight = SubPixelConv2d(64, 256).weight
    count = weight.numel() / 4
    expected = math.sqrt(2 / (64 * 9))
    assert weight.std().item() == pytest.approx(expected, abs=5 * expected / math.sqrt(2 * count))
    assert weight.mean().item() == pytest.approx(0, abs=5 * expected / math.sqrt(count))
