"""Convolutions as matrix products of patches, for gradients that are differentiated again on CUDA.

The second derivative of torch's convolution is itself a convolution, with the gradient's map as its kernel:
14×14 values, say, for which cuDNN has no fast kernel. That of a matrix product is matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

_im2col = False


@contextmanager
def using_im2col(device: torch.device) -> Iterator[None]:
    """A block in which every `Conv2d` on CUDA computes by `im2col_conv2d`; elsewhere that is slower."""
    global _im2col
    before, _im2col = _im2col, device.type == "cuda"
    try:
        yield
    finally:
        _im2col = before


class Conv2d(nn.Conv2d):
    """A critic's convolution: `torch.nn.Conv2d`, and in a block of `using_im2col` a product of patches."""

    def forward(self, input: Tensor) -> Tensor:
        """Maps B×C×H×W to B×C'×H'×W'."""
        usual = self.groups == 1 and self.padding_mode == "zeros" and input.ndim == 4
        if _im2col and usual and not isinstance(self.padding, str):
            return im2col_conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation)
        return super().forward(input)


def im2col_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
) -> Tensor:
    """`torch.conv2d` of B×C×H×W as the product of all patches with all kernels, in channels-last layout."""
    images = pad(input, (padding[1], padding[1], padding[0], padding[0])).permute(0, 2, 3, 1)
    kernel = weight.shape[2:]
    height, width = (
        (images.shape[1 + axis] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
        for axis in (0, 1)
    )
    shifted = [
        images[:, top : top + stride[0] * height : stride[0], left : left + stride[1] * width : stride[1]]
        for top in range(0, dilation[0] * kernel[0], dilation[0])
        for left in range(0, dilation[1] * kernel[1], dilation[1])
    ]
    patches = torch.cat(shifted, dim=3).flatten(0, 2)
    kernels = weight.permute(2, 3, 1, 0).flatten(0, 2)
    pixels = patches @ kernels if bias is None else torch.addmm(bias, patches, kernels)
    return pixels.view(-1, height, width, weight.shape[0]).permute(0, 3, 1, 2)
