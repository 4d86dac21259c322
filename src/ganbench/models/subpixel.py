"""Sub-pixel convolution, and its short cut behind a projection of the latents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ganbench.models.convolution import conv2d
from ganbench.models.layers import Project


class SubPixelConv2d(nn.Conv2d):
    """3×3 convolution that doubles the image's size: B×C×H×W to B×`fan_out`×2H×2W.

    Shi et al. 2016, arXiv:1609.05158, eq. 4, but for the order of the convolution's channels: here (row,
    column, channel), so that in channels-last layout the shuffle moves whole pixels, three times as fast
    as `torch.nn.PixelShuffle`, which expects (channel, row, column).

    The four kernels of an output channel start alike, so the first images are nearest-neighbour upscaled,
    without a checkerboard (Aitken et al. 2017, arXiv:1707.02937).
    """

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__(fan_in, 4 * fan_out, 3, padding=1)
        kernels = nn.init.kaiming_normal_(torch.empty(fan_out, fan_in, 3, 3))
        with torch.no_grad():
            self.weight.view(4, *kernels.shape).copy_(kernels)
        self.bias: nn.Parameter = nn.Parameter(torch.zeros(4 * fan_out))

    def forward(self, x: Tensor) -> Tensor:
        """Maps B×C×H×W to B×`fan_out`×2H×2W."""
        return _shuffle(super().forward(x).permute(0, 2, 3, 1))

    def of_projection(self, project: Project, z: Tensor) -> Tensor:
        """`self(project(z))`, latents B×Z to B×`fan_out`×2S×2S, at less cost where B is larger than Z.

        Both are linear, and so is one after the other: the maps of the Z unit latents and of the bias are
        convolved instead of B samples', and each sample is a sum of them (hooks on either layer are not
        called then). In a block of `weights_unchanged` the maps are convolved once.
        """
        if len(z) <= project.in_features:
            return self(project(z))
        maps, constant = _kept(self, project)
        pixels = torch.addmm(constant, z, maps)
        return _shuffle(pixels.view(len(z), project.size, project.size, -1))

    def maps_of(self, project: Project) -> tuple[Tensor, Tensor]:
        """What each latent value adds to the convolution, Z×(S·S·4C), and what is there without any."""
        bias = project.weight.new_zeros(project.out_features) if project.bias is None else project.bias
        rows = torch.cat([project.weight.t(), bias[None]])
        images = rows.view(-1, project.size, project.size, project.channels).permute(0, 3, 1, 2)
        # With so few images patches pay, as they do not for the samples' own larger maps.
        maps = conv2d(images, self.weight, padding=(1, 1)).permute(0, 2, 3, 1)
        return maps[:-1].flatten(1), (maps[-1] + self.bias).flatten()


def _shuffle(pixels: Tensor) -> Tensor:
    """B×H×W×4C to a map B×C×2H×2W: rows with rows, columns with columns."""
    blocks = pixels.unflatten(3, (2, 2, -1)).transpose(2, 3)
    return blocks.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


_maps: dict[SubPixelConv2d, dict[Project, tuple[Tensor, Tensor]]] = {}
"""What is kept now, of the convolutions whose weights do not change now."""


@contextmanager
def weights_unchanged(generator: nn.Module) -> Iterator[None]:
    """A block in which the generator's weights do not change, nor the precision of what is made of them."""
    layers = [layer for layer in generator.modules() if isinstance(layer, SubPixelConv2d)]
    _maps.update((layer, {}) for layer in layers)
    try:
        yield
    finally:
        for layer in layers:
            _maps.pop(layer, None)


def _kept(layer: SubPixelConv2d, project: Project) -> tuple[Tensor, Tensor]:
    """`layer.maps_of(project)`, computed once in a block of `weights_unchanged`, else anew."""
    # A compiler takes one pass at a time: what it kept of one pass it would not find in the next.
    if torch.compiler.is_compiling() or layer not in _maps:
        return layer.maps_of(project)
    kept = _maps[layer]
    if project not in kept:
        with torch.enable_grad():  # the first pass may want no gradients where a later one does
            kept[project] = layer.maps_of(project)
    return kept[project]
