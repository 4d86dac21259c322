"""Images of known quality as if generated: what each metric says of them shows what it measures."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ganbench.data import Dataset, Split
from ganbench.metrics.features import Extractor
from ganbench.metrics.protocol import EvalSettings
from ganbench.metrics.reference import Reference, chosen
from ganbench.metrics.scoring import Scores, score_images

BLUR_SIGMA = 1.5


def control_sets(dataset: Dataset, count: int, seed: int) -> dict[str, Split]:
    """Sets of at most `count` images with the labels they would have been asked for.

    ``real``: the test images themselves. ``copied``: training images. ``blurred``: the test images
    under a Gaussian of σ = 1.5 pixels. ``class dropped``: the test images without the last class.
    ``one class``: those of the first class alone. ``shuffled labels``: the test images with wrong
    labels. ``noise``: uniform pixels.
    """
    test = chosen(dataset.test, count, seed)
    random = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 256, test.images.shape, generator=random, dtype=torch.uint8)
    shuffled = test.labels[torch.randperm(len(test), generator=random)]
    return {
        "real": test,
        "copied": chosen(dataset.train, count, seed),
        "blurred": Split(blur(test.images, BLUR_SIGMA), test.labels),
        "class dropped": test[test.labels != dataset.num_classes - 1],
        "one class": test[test.labels == 0],
        "shuffled labels": Split(test.images, shuffled),
        "noise": Split(noise, test.labels),
    }


def score_controls(
    dataset: Dataset, extractor: Extractor, settings: EvalSettings, reference: Reference, train: Reference
) -> dict[str, Scores]:
    """Scores of every control set, each scored as a conditional generator's images would be."""
    return {
        name: score_images(
            images.images,
            reference,
            extractor,
            replace(settings, num_samples=len(images)),
            images.labels,
            train,
        )
        for name, images in control_sets(dataset, settings.num_samples, settings.seed).items()
    }


def blur(images: Tensor, sigma: float) -> Tensor:
    """uint8 images N×C×H×W under a Gaussian of `sigma` pixels, borders repeated."""
    reach = round(4 * sigma)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    weights /= weights.sum()
    flat = images.float().flatten(0, 1).unsqueeze(1)
    padded = torch.nn.functional.pad(flat, [reach] * 4, mode="replicate")
    rows = torch.nn.functional.conv2d(padded, weights.view(1, 1, -1, 1))
    both = torch.nn.functional.conv2d(rows, weights.view(1, 1, 1, -1))
    return both.round().clamp(0, 255).to(torch.uint8).view(images.shape)
