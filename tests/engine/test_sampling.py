from __future__ import annotations

import pytest
import torch
from torch import nn

from ganbench.data import to_uint8
from ganbench.engine.sampling import evaluating, generate, latents


class Tiny(nn.Module):
    """Linear, batch norm, dropout, tanh to 1×2×2; the label shifts the image."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Unflatten(1, (1, 2, 2))
        )

    def forward(self, z, labels):
        return (self.body(z) + labels.view(-1, 1, 1, 1)).tanh()


def make(generator, count=10, labels=None, batch_size=4, seed=0):
    return generate(generator, latents(count, 3, seed), labels, seed, batch_size, "cpu")


def test_images_follow_from_the_seed_and_not_from_the_batch_size():
    generator = Tiny()
    one, other = make(generator, batch_size=3), make(generator, batch_size=10)
    assert torch.equal(one.images, other.images)
    assert one.images.dtype == torch.uint8
    assert one.images.shape == (10, 1, 2, 2)
    assert not torch.equal(one.images, make(generator, seed=1).images)


def test_images_are_the_eval_generator_quantised_once():
    generator = Tiny().eval()
    labels = torch.tensor([0, 1, 1])
    with torch.no_grad():
        expected = to_uint8(generator(latents(3, 3, seed=7), labels))
    made = generate(generator.train(), latents(3, 3, seed=7), labels, 7, 2, "cpu")
    assert torch.equal(made.images, expected)
    assert made.labels is labels


def test_modes_and_random_state_are_as_before():
    generator = Tiny().train()
    generator.body[1].eval()
    before = torch.get_rng_state()
    make(generator)
    assert torch.equal(torch.get_rng_state(), before)
    assert [part.training for part in generator.body] == [True, False, True, True]
    assert generator.training


def test_modes_come_back_after_an_error():
    generator = Tiny().train()
    with pytest.raises(ValueError, match="stop"), evaluating(generator):
        assert not generator.body[2].training
        raise ValueError("stop")
    assert generator.body[2].training


class Noisy(nn.Module):
    """Draws noise of its own, as some generators do."""

    def forward(self, z, labels):
        return torch.randn(len(z), 1, 2, 2)


def test_a_generator_with_noise_of_its_own_repeats_and_leaves_no_trace():
    before = torch.get_rng_state()
    first, second = make(Noisy()), make(Noisy())
    assert torch.equal(first.images, second.images)
    assert torch.equal(torch.get_rng_state(), before)


def train(steps, evaluate):
    """Parameters after some steps of a generator against a fixed target, and its statistics."""
    torch.manual_seed(0)
    generator = Tiny()
    optimizer = torch.optim.Adam(generator.parameters(), lr=0.1)
    for _ in range(steps):
        labels = torch.randint(2, (8,))
        loss = (generator(torch.randn(8, 3), labels) - 0.3).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if evaluate:
            make(generator)
    return generator.state_dict()


def test_training_is_bit_identical_with_evaluation_in_the_middle():
    with_it, without = train(5, True), train(5, False)
    assert with_it.keys() == without.keys()
    assert all(torch.equal(with_it[name], without[name]) for name in without)


class Broken(nn.Module):
    def forward(self, z, labels):
        images = torch.zeros(len(z), 1, 2, 2)
        images[0, 0, 0, 0] = torch.nan
        images[1, 0, 1, 1] = torch.inf
        return images


def test_images_with_nan_or_inf_are_counted():
    made = make(Broken(), count=8, batch_size=4)
    assert made.nonfinite == 4
    assert made.images[0, 0, 0, 0] == 128
    assert make(Tiny()).nonfinite == 0
