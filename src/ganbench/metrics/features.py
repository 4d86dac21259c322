"""What turns images into features: the extractor contract and the judge behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ganbench.data import resized
from ganbench.errors import UserError
from ganbench.metrics.judge import load_judge
from ganbench.metrics.protocol import JUDGE_SIZE


@dataclass(frozen=True)
class Features:
    """Features float32 N×D and logits float32 N×K of the same images, on the host."""

    features: Tensor
    logits: Tensor

    def __getitem__(self, chosen: slice) -> Features:
        return Features(self.features[chosen], self.logits[chosen])

    @property
    def predicted(self) -> Tensor:
        """Most likely class int64 N."""
        return self.logits.argmax(dim=1)


class Extractor(Protocol):
    """A fixed network that scores are based on.

    `sha256` (of its weights) goes into every record. `num_classes` is the number of classes of the
    dataset that its logits stand for, None where they stand for something else. `channels` are the numbers
    of channels that it takes. `dataset_sha256` is that of the dataset it was trained on, None where that is
    of no account.
    """

    sha256: str
    num_classes: int | None
    dataset_sha256: str | None
    channels: tuple[int, ...]

    def __call__(self, images: Tensor, batch_size: int) -> Features:
        """Features of uint8 images N×C×H×W, in batches of at most `batch_size`."""


class JudgeExtractor:
    """The dataset's own classifier: 64 features, one logit a class.

    Images of another size than 28×28 are resized with antialiasing first, real and generated alike.
    """

    def __init__(self, dataset: str, variant: str = "judge", device: str | torch.device = "cpu") -> None:
        """`variant` is ``judge`` or ``judge_b``.

        Raises:
            UserError: there is no such judge, or its weights are altered.
        """
        self.device = torch.device(device)
        judge = load_judge(dataset, variant)
        self.sha256 = judge.sha256
        self.num_classes: int | None = judge.head.out_features
        self.channels: tuple[int, ...] = (judge.in_channels,)
        self.dataset_sha256: str | None = judge.card.get("dataset_sha256")
        self._network = judge.to(self.device)

    def __call__(self, images: Tensor, batch_size: int) -> Features:
        """Features float32 N×64 and logits N×K of uint8 images N×C×H×W."""
        with full_precision(self.device):
            batches = (resized(part, JUDGE_SIZE).to(self.device) for part in images.split(batch_size))
            return gathered(map(self._network, batches))


def require_channels(name: str, taken: tuple[int, ...], found: int) -> None:
    """Hold images of `found` channels against what an extractor takes.

    Raises:
        UserError: it takes others.
    """
    if found not in taken:
        raise UserError(
            f"eval.extractor={name}: takes images of {' or '.join(map(str, taken))} channels, got {found}; "
            "use another extractor; training goes without scores by eval.enabled=false"
        )


def load_extractor(
    name: str, dataset: str, device: str | torch.device = "cpu", inception_weights: str | None = None
) -> Extractor:
    """The extractor that ``eval.extractor`` names: judge, judge_b or inception.

    Raises:
        UserError: no such judge, or no Inception weights to be had.
    """
    if name == "inception":
        from ganbench.metrics.inception import InceptionExtractor

        return InceptionExtractor(Path(inception_weights) if inception_weights else None, device)
    return JudgeExtractor(dataset, name, device)


def gathered(batches: Iterable[tuple[Tensor, Tensor]]) -> Features:
    """Batches of (features, logits) on any device as one `Features` on the host."""
    features, logits = zip(*((f.float().cpu(), k.float().cpu()) for f, k in batches), strict=True)
    return Features(torch.cat(features), torch.cat(logits))


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Inference in plain float32, whatever the training around it uses.

    TF32 convolutions are the default on CUDA and cost features three digits; autocast costs more.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(torch.autocast(device.type, enabled=False))
        if device.type == "cuda":
            stack.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
            stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            torch.set_float32_matmul_precision("highest")
        yield
