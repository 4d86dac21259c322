"""Image grids as PNG bytes."""

from __future__ import annotations

import io
import math

import torch
from torch import Tensor

PADDING = 2


def grid(images: Tensor, columns: int) -> Tensor:
    """Tile uint8 images N×C×H×W row by row into one C×H'×W' with white lines between them."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    cell_height, cell_width = height + PADDING, width + PADDING
    sheet = torch.full(
        (channels, rows * cell_height + PADDING, columns * cell_width + PADDING), 255, dtype=torch.uint8
    )
    for index, image in enumerate(images.cpu()):
        top = index // columns * cell_height + PADDING
        left = index % columns * cell_width + PADDING
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def square_grid(images: Tensor) -> Tensor:
    """Tile N ≥ 1 images uint8 N×C×H×W in ⌈√N⌉ columns."""
    return grid(images, math.isqrt(len(images) - 1) + 1)


def png(sheet: Tensor, zoom: int = 2) -> bytes:
    """PNG bytes of a uint8 image C×H×W, enlarged `zoom` times: three channels of it as RGB, else one as grey.

    They say of themselves that ganbench made them, by which `is_ours` knows them.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    pixels = sheet.permute(1, 2, 0).cpu().numpy()
    image = Image.fromarray(pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels[:, :, 0])
    buffer = io.BytesIO()
    made_by = PngInfo()
    made_by.add_text("Software", "ganbench")
    size = (image.width * zoom, image.height * zoom)
    image.resize(size, Image.Resampling.NEAREST).save(buffer, "PNG", pnginfo=made_by)
    return buffer.getvalue()


def is_ours(content: bytes) -> bool:
    """Whether `png` made these bytes."""
    return content.startswith(b"\x89PNG") and b"tEXtSoftware\0ganbench" in content[:200]
