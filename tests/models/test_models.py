"""What all model pairs have in common: shapes, ranges, sizes and the use of labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from ganbench.config import instantiate
from ganbench.engine.gan import GAN, count_parameters, norms_of
from ganbench.models import mlp

MODELS = ("mlp", "dcgan", "cgan")
NORMS = ("none", "batch", "layer", "spectral")

# By hand from the layers, weights + biases + batch norm's gains and shifts.
GENERATORS = {
    "mlp": 100 * 256 + 256 + 256 * 512 + 512 + 512 * 784 + 784,
    "dcgan": 100 * 128 * 49 + 2 * 128 + 128 * 64 * 16 + 2 * 64 + 64 * 16 + 1,
    "cgan": 10 * 100 + 100 * 6272 + 6272
    + 128 * 512 * 9 + 512 + 2 * 128 + 128 * 256 * 9 + 256 + 2 * 64 + 64 * 9 + 1,
}  # fmt: skip
MLP_CRITIC = 784 * 512 + 512 + 512 * 256 + 256 + 256 + 1
DCGAN_CRITIC = 64 * 16 + 64 + 64 * 128 * 16 + 128 + 128 * 49 + 1
CGAN_CRITIC = 10 * 784 + 2 * 64 * 16 + 64 + 64 * 128 * 16 + 128 + 128 * 49 * 512 + 512 + 512 + 1
CGAN_SPECTRAL = 10 * 784 + 2 * 32 * 16 + 32 + 32 * 64 * 16 + 64 + 64 * 49 * 512 + 512 + 512 + 1
CRITICS = {
    ("mlp", "none"): MLP_CRITIC,
    ("mlp", "batch"): MLP_CRITIC + 2 * 256,
    ("mlp", "layer"): MLP_CRITIC,
    ("mlp", "spectral"): MLP_CRITIC,
    ("dcgan", "none"): DCGAN_CRITIC,
    ("dcgan", "batch"): DCGAN_CRITIC - 128 + 2 * 128,
    ("dcgan", "layer"): DCGAN_CRITIC,
    ("dcgan", "spectral"): DCGAN_CRITIC,
    ("cgan", "none"): CGAN_CRITIC,
    ("cgan", "batch"): CGAN_CRITIC + 2 * 128 + 2 * 512,
    ("cgan", "layer"): CGAN_CRITIC,
    ("cgan", "spectral"): CGAN_SPECTRAL,
}

# What each loss composes: the norm it asks for, or the model's own.
COMPOSED = {
    "mlp": ("none", "none", "none", "layer", "layer", "spectral"),
    "dcgan": ("batch", "batch", "batch", "layer", "layer", "spectral"),
    "cgan": ("spectral", "spectral", "spectral", "layer", "layer", "spectral"),
}
LOSSES = ("bce", "lsgan", "hinge", "wgan_clip", "wgan_gp", "sn_hinge")


def test_pinned_sums() -> None:
    """The sums above in figures, so that nobody changes both sides at once."""
    assert GENERATORS == {"mlp": 559_632, "dcgan": 759_681, "cgan": 1_520_937}
    assert (MLP_CRITIC, DCGAN_CRITIC, CGAN_CRITIC, CGAN_SPECTRAL) == (533_505, 138_561, 3_353_441, 1_648_385)


@pytest.mark.parametrize("model, norm", CRITICS)
def test_parameter_counts(model: str, norm: str, gan_of: Callable[..., GAN]) -> None:
    gan = gan_of(f"model={model}", f"loss.critic_norm={norm}")
    assert gan.parameter_counts() == {"generator": GENERATORS[model], "discriminator": CRITICS[model, norm]}
    assert norms_of(gan.discriminator) == ({norm} - {"none"})


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_composes_its_critic(loss: str, model: str, configure: Any) -> None:
    critic = configure(f"loss={loss}", f"model={model}")["model"]["discriminator"]
    norm = COMPOSED[model][LOSSES.index(loss)]
    assert critic["norm"] == norm
    if model == "cgan":
        expected = ([32, 64], 0.25) if norm == "spectral" else ([64, 128], 0.0)
        assert (critic["features"], critic["dropout"]) == expected


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("model, norm", CRITICS)
def test_shapes_range_and_dtype(model: str, norm: str, channels: int, configure: Any) -> None:
    parts = configure(f"model={model}", f"loss.critic_norm={norm}")["model"]
    generator = instantiate({**parts["generator"], "channels": channels})
    discriminator = instantiate({**parts["discriminator"], "channels": channels})
    labels = torch.tensor([0, 9, 3])
    images = generator(10 * torch.randn(3, 100), labels)
    assert images.shape == (3, channels, 28, 28) and images.dtype == torch.float32
    assert -1 <= images.min() < 0 < images.max() <= 1
    logits = discriminator(images, labels)
    assert logits.shape == (3, 1)
    assert logits.isfinite().all()


@pytest.mark.parametrize("size", [16, 32])
def test_mlp_makes_any_size(size: int) -> None:
    generator = mlp.Generator(z_dim=100, channels=1, image_size=size, widths=[8])
    images = generator(torch.randn(2, 100), torch.zeros(2))
    assert images.shape == (2, 1, size, size)
    assert mlp.Discriminator(channels=1, image_size=size)(images, torch.zeros(2)).shape == (2, 1)
    assert count_parameters(generator) == 100 * 8 + 8 + 8 * size**2 + size**2


def test_mlp_widths_are_configurable(gan_of: Callable[..., GAN]) -> None:
    gan = gan_of(
        "model=mlp", "model.generator.widths=[3,5,7]", "model.discriminator.widths=[]", "model.z_dim=2"
    )
    assert count_parameters(gan.generator) == 2 * 3 + 3 + 3 * 5 + 5 + 5 * 7 + 7 + 7 * 784 + 784
    assert count_parameters(gan.discriminator) == 784 + 1


@pytest.mark.parametrize("model", MODELS)
def test_only_the_conditional_model_looks_at_labels(
    model: str, gan_of: Callable[..., GAN], configure: Any
) -> None:
    conditional = configure(f"model={model}")["model"]["conditional"]
    assert conditional == (model == "cgan")
    gan = gan_of(f"model={model}")
    gan.generator.eval(), gan.discriminator.eval()
    z, x = torch.randn(1, 100).expand(2, -1), torch.randn(1, 1, 28, 28).expand(2, -1, -1, -1)
    labels = torch.tensor([1, 7])
    with torch.no_grad():
        images, logits = gan.generator(z, labels), gan.discriminator(x, labels)
    assert torch.allclose(images[0], images[1], atol=1e-6) != conditional
    assert torch.allclose(logits[0], logits[1], atol=1e-6) != conditional


@pytest.mark.parametrize("model", MODELS)
def test_spectral_norm_holds_on_every_critic_layer(model: str, gan_of: Callable[..., GAN]) -> None:
    """After enough power iterations the largest singular value of each layer is 1, to 1%."""
    critic = gan_of("loss=sn_hinge", f"model={model}").discriminator
    layers = [module for module in critic.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    assert len(layers) == {"mlp": 3, "dcgan": 3, "cgan": 4}[model]
    for layer in layers:
        assert parametrize.is_parametrized(layer, "weight")
        for _ in range(200):
            layer.weight  # noqa: B018  (in training mode each look is one power iteration)
        layer.eval()
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2).item()
        assert largest == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("model", MODELS)
def test_batch_and_layer_norm_spare_input_and_output(model: str, gan_of: Callable[..., GAN]) -> None:
    for norm, kind in (("batch", nn.modules.batchnorm._BatchNorm), ("layer", nn.LayerNorm)):
        layers = list(gan_of(f"model={model}", f"loss.critic_norm={norm}").discriminator.layers)
        learned = [i for i, layer in enumerate(layers) if isinstance(layer, (nn.Linear, nn.Conv2d))]
        normed = [isinstance(layers[i + 1], kind) for i in learned[:-1]]
        assert normed == [False] + [True] * (len(learned) - 2)
        assert learned[-1] == len(layers) - 1


@pytest.mark.parametrize("model", MODELS)
def test_layer_norm_has_no_weights_to_clip(model: str, gan_of: Callable[..., GAN]) -> None:
    critic = gan_of("loss=wgan_clip", f"model={model}").discriminator
    norms = [module for module in critic.modules() if isinstance(module, nn.LayerNorm)]
    assert norms and all(not list(norm.parameters()) for norm in norms)


@pytest.mark.parametrize("part", ["generator", "discriminator"])
@pytest.mark.parametrize("model", MODELS)
def test_eval_mode_is_deterministic(model: str, part: str, gan_of: Callable[..., GAN]) -> None:
    gan = gan_of(f"model={model}")
    network = getattr(gan, part).eval()
    x = torch.randn(4, 100) if part == "generator" else torch.randn(4, 1, 28, 28)
    labels = torch.arange(4)
    with torch.no_grad():
        assert torch.equal(network(x, labels), network(x, labels))
        # Nor does an image depend on its batch.
        assert torch.allclose(network(x, labels)[:1], network(x[:1], labels[:1]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", ["dcgan", "cgan"])
def test_discriminator_dropout_is_optional(model: str, configure: Any) -> None:
    x, labels = torch.randn(4, 1, 28, 28), torch.arange(4)
    for rate, varies in ((0.0, False), (0.5, True)):
        settings = configure(f"model={model}", "loss.critic_norm=none")["model"]["discriminator"]
        critic = instantiate({**settings, "dropout": rate})
        with torch.no_grad():
            same = torch.equal(critic(x, labels), critic(x, labels))
        assert same != varies


@pytest.mark.parametrize("model", MODELS)
def test_gradients_reach_every_parameter(model: str, gan_of: Callable[..., GAN]) -> None:
    gan = gan_of(f"model={model}", "loss.critic_norm=layer")
    labels = torch.arange(10)
    gan.discriminator(gan.generator(torch.randn(10, 100), labels), labels).sum().backward()
    for name, network in (("generator", gan.generator), ("discriminator", gan.discriminator)):
        for key, parameter in network.named_parameters():
            assert parameter.grad is not None, f"{name}.{key}"
            assert parameter.grad.isfinite().all(), f"{name}.{key}"
