"""The pairs at 64×64: sizes, shapes, initialisation, the label, and how their images are judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ganbench.config import compose, instantiate
from ganbench.data import Dataset, Split, build_dataset, resized
from ganbench.engine.gan import GAN, count_parameters, norms_of
from ganbench.metrics.features import JudgeExtractor

# By hand from the layers: weights and batch norm's gains and shifts, no biases.
BODY = 512 * 256 * 16 + 256 * 128 * 16 + 128 * 64 * 16 + 64 * 16 + 2 * (512 + 256 + 128 + 64)
INNER = 64 * 128 * 16 + 128 * 256 * 16 + 256 * 512 * 16 + 512 * 16 + 2 * (128 + 256 + 512)
COUNTS = {
    "dcgan64": (100 * 512 * 16 + BODY, 64 * 16 + INNER),
    "cdcgan64": (10 * 10 + 110 * 512 * 16 + BODY, 10 * 64 * 64 + 2 * 64 * 16 + INNER),
}


def build(model: str, gan_of: Callable[..., GAN], *overrides: str) -> GAN:
    return gan_of(f"model={model}", "dataset.image_size=64", *overrides)


@pytest.mark.parametrize("model", COUNTS)
def test_parameter_counts(model: str, gan_of: Callable[..., GAN]) -> None:
    counts = build(model, gan_of).parameter_counts()
    assert (counts["generator"], counts["discriminator"]) == COUNTS[model]


def test_pinned_sums() -> None:
    assert COUNTS == {"dcgan64": (3_574_656, 2_763_520), "cdcgan64": (3_656_676, 2_805_504)}


def test_parameter_count_of_the_wide_generator() -> None:
    settings = compose(["+experiment=dcgan64/fashion"])["model"]["generator"]
    with torch.device("meta"):
        count = count_parameters(instantiate(settings))
    norms = 2 * (1024 + 512 + 256 + 128)
    weights = 16 * (256 * 1024 + 1024 * 512 + 512 * 256 + 256 * 128 + 128)
    assert count == weights + norms == 15_210_240


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "spectral"])
@pytest.mark.parametrize("model", COUNTS)
def test_shapes_and_range(model: str, norm: str, configure: Any) -> None:
    parts = configure(f"model={model}", "dataset.image_size=64", f"loss.critic_norm={norm}")["model"]
    generator = instantiate({**parts["generator"], "channels": 3, "features": [8, 8, 8, 8]})
    discriminator = instantiate({**parts["discriminator"], "channels": 3, "features": [8, 8, 8, 8]})
    labels = torch.tensor([0, 9, 3])
    images = generator(10 * torch.randn(3, 100), labels)
    assert images.shape == (3, 3, 64, 64) and -1 <= images.min() < 0 < images.max() <= 1
    logits = discriminator(images, labels)
    assert logits.shape == (3, 1) and logits.isfinite().all()
    assert norms_of(discriminator) == {norm} - {"none"}
    logits.sum().backward()
    networks = (*generator.named_parameters(), *discriminator.named_parameters())
    assert [key for key, parameter in networks if parameter.grad is None] == []


@pytest.mark.parametrize("model", COUNTS)
def test_it_starts_from_small_normal_weights_and_has_no_biases(model: str, gan_of: Any) -> None:
    gan = build(model, gan_of)
    modules = [*gan.generator.modules(), *gan.discriminator.modules()]
    convolutions = [m for m in modules if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))]
    norms = [m for m in modules if isinstance(m, nn.BatchNorm2d)]
    assert (len(convolutions), len(norms)) == (10, 7)
    assert all(convolution.bias is None for convolution in convolutions)
    for module, mean in [*((m, 0.0) for m in convolutions), *((m, 1.0) for m in norms)]:
        error = 5 * 0.02 / module.weight.numel() ** 0.5
        assert module.weight.mean().item() == pytest.approx(mean, abs=error)
        assert module.weight.std().item() == pytest.approx(0.02, abs=error)


def test_the_label_is_concatenated_with_the_latent(gan_of: Any) -> None:
    """With an embedding of zeros the generator is that of dcgan64 on z padded with zeros."""
    generator = build("cdcgan64", gan_of).generator.eval()
    z, labels = torch.randn(2, 100), torch.tensor([3, 7])
    with torch.no_grad():
        images = generator(z[:1].expand(2, -1), labels)
        assert not torch.allclose(images[0], images[1], atol=1e-4)
        generator.embedding.weight.zero_()
        expected = generator.body.layers(torch.cat([z, torch.zeros(2, 10)], 1))
        assert torch.equal(generator(z, labels), expected)


def test_the_discriminator_sees_the_label_as_a_channel(gan_of: Any) -> None:
    critic = build("cdcgan64", gan_of).discriminator.eval()
    image = torch.randn(1, 1, 64, 64).expand(2, -1, -1, -1)
    with torch.no_grad():
        logits = critic(image, torch.tensor([3, 7]))
        label_map = critic.label_map[0].weight[[3, 7]].view(2, 1, 64, 64)
        assert torch.equal(logits, critic.body.layers(torch.cat([image, label_map], 1)).flatten(1))
    assert not torch.allclose(logits[0], logits[1], atol=1e-4)


def test_real_and_generated_images_reach_the_judge_the_same_way(configure: Any, digits: Dataset) -> None:
    """Both come at 64×64 and are brought to 28×28 by one antialiased downsampling."""
    large = build_dataset(configure("dataset.image_size=64")["dataset"])
    assert large.train.images.shape == (1297, 1, 64, 64)
    judge = JudgeExtractor("digits")
    images = large.test.images[:20]
    small = resized(images, 28)
    assert small.dtype == torch.uint8 and small.shape == (20, 1, 28, 28)
    assert torch.equal(judge(images, 20).features, judge(small, 20).features)
    # Up to 64 and down again costs little: the judge names the same classes as at 28.
    same = judge(images, 20).predicted == judge(digits.test.images[:20], 20).predicted
    assert same.float().mean() >= 0.9
    assert isinstance(large.test, Split) and large.test.sha256 != digits.test.sha256
