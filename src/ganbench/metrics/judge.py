"""The judge: a small classifier, one a dataset, whose features and logits score generated images.

Its weights ship in the package, each beside a JSON card that tells where they come from and pins
their sha256. `scripts/train_judge.py` makes both.
"""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganbench.data import to_float
from ganbench.errors import UserError
from ganbench.metrics.protocol import JUDGE_SIZE

NUM_FEATURES = 64
KINDS = (".json", ".safetensors")


class Judge(nn.Module):
    """Convolutional classifier of uint8 images, 64 penultimate features wide.

    Pixels are folded 2×2 into channels first, so that no layer works at full resolution: about
    12 million multiply-accumulates for an image of 28×28.

    `deeper` counts further residual blocks at the last width, for datasets that need them.

    Attributes:
        sha256: hex digest of the weights file, empty for untrained weights.
        card: what is known about these weights (dataset, seed, accuracies, versions).
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        widths: tuple[int, int, int] = (48, 96, 128),
        deeper: int = 0,
    ) -> None:
        super().__init__()
        self.sha256 = ""
        self.card: dict[str, Any] = {}
        self.in_channels = in_channels
        small, middle, large = widths
        self.body = nn.Sequential(
            nn.PixelUnshuffle(2),
            _Conv(4 * in_channels, small),
            _Residual(small),
            _Conv(small, middle, stride=2),
            _Residual(middle),
            _Conv(middle, large, stride=2),
            *(_Residual(large) for _ in range(deeper)),
        )
        self.neck = nn.Linear(large, NUM_FEATURES)
        self.head = nn.Linear(NUM_FEATURES, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features float32 N×64 and class logits float32 N×`num_classes` of uint8 images N×C×28×28.

        Raises:
            TypeError: no tensor of uint8; quantise images first with `ganbench.data.to_uint8`.
            ValueError: no images, or of another shape.
        """
        if not isinstance(images, Tensor) or images.dtype != torch.uint8:
            given = images.dtype if isinstance(images, Tensor) else type(images).__name__
            raise TypeError(f"the judge takes a torch tensor of uint8 images in 0..255, got {given}")
        shape = (self.in_channels, JUDGE_SIZE, JUDGE_SIZE)
        if images.ndim != 4 or not len(images) or images.shape[1:] != shape:
            wanted = f"N×{'×'.join(map(str, shape))} with N at least 1"
            raise ValueError(f"the judge takes images {wanted}, got {tuple(images.shape)}")
        x = to_float(images).contiguous(memory_format=torch.channels_last)
        features = nn.functional.silu(self.neck(self.body(x).mean((2, 3))))
        return features.float(), self.head(features).float()


class _Conv(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class _Residual(_Conv):
    def __init__(self, width: int) -> None:
        super().__init__(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def load_judge(dataset: str, variant: str = "judge", folder: Path | None = None) -> Judge:
    """The trained judge of `dataset`, on the CPU, in `eval()` mode, its parameters frozen.

    Two variants ship, ``judge`` and ``judge_b``, trained from different seeds: a ranking that
    changes between them is not stable. `folder` replaces the weights folder of the package.

    Raises:
        UserError: no such dataset or variant, or weights or card missing or altered.
    """
    place = folder or Path(str(files("ganbench.metrics") / "weights"))
    name = f"{dataset}_{variant}"
    names = _judges_in(place)
    if name not in names:
        raise UserError(
            f"eval.extractor={variant}: no judge {variant!r} for dataset {dataset!r}; there is, as "
            f"dataset_judge: {', '.join(names) or 'none'}; use eval.extractor=inception; "
            "training goes without scores by eval.enabled=false"
        )
    card = _read_card(place / f"{name}.json")
    weights = _read_verified(place / f"{name}.safetensors", card)

    from safetensors.torch import load

    judge = Judge(card["in_channels"], card["num_classes"], deeper=card.get("deeper", 0))
    judge.load_state_dict(load(weights))
    judge.sha256 = card["sha256"]
    judge.card = card
    return judge.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def _judges_in(place: Path) -> list[str]:
    """Names with a card or weights; where one of the two is missing, reading it says so."""
    return sorted({path.stem for path in place.glob("*") if path.suffix in KINDS})


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        lacking = {"sha256", "in_channels", "num_classes"} - card.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"judge card {path}: expected a readable JSON object, found {error}; reinstall ganbench"
        ) from error
    if lacking:
        raise UserError(
            f"judge card {path}: expected {', '.join(sorted(lacking))}, found no such key; reinstall ganbench"
        )
    return card


def _read_verified(path: Path, card: dict[str, Any]) -> bytes:
    """Bytes of the weights file: what is hashed is what is loaded."""
    expected = card["sha256"]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"judge weights {path}: expected sha256 {expected}, found no readable file "
            f"({error}); reinstall ganbench"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise UserError(
            f"judge weights {path}: expected sha256 {expected}, found {found}; "
            "the file is altered or truncated: reinstall ganbench"
        )
    return content
