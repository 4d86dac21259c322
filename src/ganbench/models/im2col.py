"""Convolutions as matrix products of patches (im2col), where those are faster than torch's own kernels.

`traceable_conv2d` is made of torch's operations alone, which compilers follow, for gradients that are
differentiated again on CUDA. The second derivative of torch's convolution is itself a convolution, with the
gradient's map as its kernel: 14×14 values, say, for which cuDNN has no fast kernel. That of a matrix product
is matrix products.

`conv2d` and `conv_transpose2d` are for bfloat16 on a CPU with AMX, where oneDNN takes up to five times as
long for the gradient of a convolution's weights as a product of patches does. They can be differentiated any
number of times, but backwards and outside torch.func's transforms only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

Pair = Sequence[int]


def traceable_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Tensor:
    """`torch.conv2d` of B×C×H×W as the product of all patches with all kernels, in channels-last layout."""
    images = _padded_pixels(input, padding)
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


def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Pair = (1, 1), padding: Pair = (0, 0)
) -> Tensor:
    """`torch.conv2d` of B×C×H×W; all of one dtype."""
    kernel = weight.shape[2:]
    left_over = [(input.shape[2 + i] + 2 * padding[i] - kernel[i]) % stride[i] for i in (0, 1)]
    return _Convolution.apply(input, weight, bias, None, _Geometry(kernel, stride, padding, left_over))


def conv_transpose2d(input: Tensor, weight: Tensor, stride: Pair = (1, 1), padding: Pair = (0, 0)) -> Tensor:
    """`torch.conv_transpose2d` of B×C×H×W; both of one dtype."""
    return _TransposedConvolution.apply(input, weight, _Geometry(weight.shape[2:], stride, padding, (0, 0)))


class _Geometry(NamedTuple):
    """The lengths of a convolution, of rows and of columns."""

    kernel: Pair
    stride: Pair
    padding: Pair
    left_over: Pair
    """Rows and columns at the input's end that no patch reaches: `output_padding` of the transpose."""


# A convolution, its transpose and the gradient of its weights are linear in both of their arguments, and the
# gradients of each are the two others. Patches go along where they are known already.


class _Convolution(Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        patches: Tensor | None,
        geometry: _Geometry,
    ) -> Tensor:
        """Maps B×C×H×W and kernels C'×C×kernel to B×C'×h×w, in channels-last layout."""
        if patches is None:
            patches = _im2col(input, geometry)
        ctx.save_for_backward(input, weight, patches)
        ctx.geometry = geometry
        height, width = _size(input, geometry)
        # Written into, for a view that is activated in place would take autograd a detour.
        maps = torch.empty(
            (len(input), len(weight), height, width),
            dtype=input.dtype,
            device=input.device,
            memory_format=torch.channels_last,
        )
        pixels = maps.permute(0, 2, 3, 1).view(-1, len(weight))
        kernels = weight.permute(0, 2, 3, 1).flatten(1).t()
        if bias is None:
            torch.mm(patches, kernels, out=pixels)
        else:
            torch.addmm(bias, patches, kernels, out=pixels)
        return maps

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Of maps B×C'×h×w: those of the input, the kernels and the bias."""
        input, weight, patches = ctx.saved_tensors
        of_input, of_weight = _wanted(ctx)
        return (
            _TransposedConvolution.apply(gradient, weight, ctx.geometry) if of_input else None,
            _WeightGradient.apply(gradient, input, patches, ctx.geometry) if of_weight else None,
            gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None,
            None,
            None,
        )


class _TransposedConvolution(Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, geometry: _Geometry) -> Tensor:
        """Maps B×C'×h×w and kernels C'×C×kernel to B×C×H×W."""
        ctx.save_for_backward(input, weight)
        ctx.geometry = geometry
        _, stride, padding, left_over = geometry
        return functional.conv_transpose2d(input, weight, None, stride, padding, left_over)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Of maps B×C×H×W: those of the input and the kernels."""
        input, weight = ctx.saved_tensors
        of_input, of_weight = _wanted(ctx)
        patches = _im2col(gradient.detach(), ctx.geometry)
        return (
            _Convolution.apply(gradient, weight, None, patches, ctx.geometry) if of_input else None,
            _WeightGradient.apply(input, gradient, patches, ctx.geometry) if of_weight else None,
            None,
        )


class _WeightGradient(Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, input: Tensor, patches: Tensor, geometry: _Geometry) -> Tensor:
        """Of `gradient` B×C'×h×w and `input` B×C×H×W: C'×C×kernel."""
        ctx.save_for_backward(gradient, input, patches)
        ctx.geometry = geometry
        pixels = gradient.permute(0, 2, 3, 1).flatten(0, 2)
        kernels = (pixels.t() @ patches).view(gradient.shape[1], *geometry.kernel, input.shape[1])
        return kernels.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, kernels: Tensor) -> tuple[Tensor | None, ...]:
        """Of kernels C'×C×kernel: those of `gradient` and `input`."""
        gradient, input, patches = ctx.saved_tensors
        of_gradient, of_input = _wanted(ctx)
        return (
            _Convolution.apply(input, kernels, None, patches, ctx.geometry) if of_gradient else None,
            _TransposedConvolution.apply(gradient, kernels, ctx.geometry) if of_input else None,
            None,
            None,
        )


def _wanted(ctx: Any) -> list[bool]:
    """Of which of its two arguments this backward pass needs the gradient.

    `needs_input_grad` says of which one could: without asking the engine, the penalties and the generator's
    updates would compute gradients of the critic's weights for nothing.
    """
    nodes = [node for node, _ in ctx.next_functions[:2]]
    return [needs and _executed(node) for needs, node in zip(ctx.needs_input_grad, nodes, strict=False)]


def _executed(node: Any) -> bool:
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:  # it does not tell of leaves in torch.autograd.grad
        return True


def _size(input: Tensor, geometry: _Geometry) -> list[int]:
    """Height and width of a convolution's output."""
    kernel, stride, padding, _ = geometry
    return [(input.shape[2 + i] + 2 * padding[i] - kernel[i]) // stride[i] + 1 for i in (0, 1)]


def _im2col(input: Tensor, geometry: _Geometry) -> Tensor:
    """All patches of B×C×H×W, (B·h·w)×(kernel·C)."""
    (rows, columns), stride, padding, _ = geometry
    # Contiguous, for then columns and channels of a patch are copied at once.
    images = _padded_pixels(input, padding).contiguous()
    patches = images.unfold(1, rows, stride[0]).unfold(2, columns, stride[1])
    return patches.permute(0, 1, 2, 4, 5, 3).flatten(0, 2).flatten(1)


def _padded_pixels(input: Tensor, padding: Pair) -> Tensor:
    """B×C×H×W, padded, as B×H×W×C."""
    sides = (padding[1], padding[1], padding[0], padding[0])
    return functional.pad(input, sides).permute(0, 2, 3, 1)
