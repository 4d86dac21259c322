"""The diversity figure: against closed forms, and what it does to the generators it is for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ganbench.data import Dataset
from ganbench.engine.diversity import COUNT, diversity, nearest_distance, probe_inputs, real_distance

SPAN = 2 * 200 / 255  # what a step of 200 grey levels is in [-1, 1]


def grey(*levels: int) -> Tensor:
    """Images 1×2×2 of one grey each."""
    return torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def test_nearest_distance_is_that_to_the_nearest_other_one() -> None:
    assert float(nearest_distance(grey(0, 200))) == pytest.approx(2 * SPAN)
    # 0 and 20 are near each other; 220 is nearest to 20. Four pixels: twice the difference.
    assert float(nearest_distance(grey(0, 20, 220))) == pytest.approx(2 * (20 + 20 + 200) * 2 / 255 / 3)


def test_copies_are_no_diversity_however_far_apart_their_originals_are() -> None:
    assert float(nearest_distance(grey(*[0, 255] * 4))) == 0.0


def test_real_images_are_as_varied_as_real_images(digits: Dataset) -> None:
    images = digits.train.images
    real = real_distance(images)
    assert real > 1
    others = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(1))[:COUNT]]
    assert diversity(others, real) == pytest.approx(1.0, abs=0.15)
    assert diversity(others[:1].expand(COUNT, -1, -1, -1), real) == 0.0
    assert diversity(others[:4].repeat(COUNT // 4, 1, 1, 1), real) == 0.0


def test_the_order_of_the_images_does_not_matter(digits: Dataset) -> None:
    """A dataset may be sorted by class; a batch of one class would be far less varied."""
    images = digits.train.images[torch.argsort(digits.train.labels, stable=True)]
    assert real_distance(images) == pytest.approx(real_distance(digits.train.images), rel=0.1)


def test_there_may_be_too_few_images_to_compare_with() -> None:
    assert math.isnan(real_distance(grey(*range(COUNT - 1))))
    assert not math.isnan(real_distance(grey(*range(COUNT))))
    assert math.isnan(diversity(grey(0, 255), real_distance(grey(*[7] * COUNT))))


def test_the_probe_is_fixed_and_leaves_the_training_noise_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    (z, labels), (again, _) = (probe_inputs(5, 10) for _ in range(2))
    assert torch.equal(z, again) and torch.equal(before, torch.get_rng_state())
    assert z.shape == (COUNT, 5) and labels.tolist() == [i % 10 for i in range(COUNT)]
