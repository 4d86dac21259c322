"""A generator and a discriminator with their optimisers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ganbench.config import (
    NORM_CHOICES,
    Config,
    converted,
    instantiate,
    loss_parameters,
    resolve_target,
    target_arguments,
)
from ganbench.engine.device import compiler_works
from ganbench.engine.optimizers import build_optimizer
from ganbench.engine.remedies import (
    Tap,
    averaged,
    batch_sizes,
    check_features,
    check_remedies,
    fit_discriminator,
)
from ganbench.errors import ConfigError, first_line
from ganbench.hardware import physical_memory
from ganbench.losses import Loss
from ganbench.models.weightless import without_weights

MISTAKES = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, NameError, AssertionError)
"""What somebody's own network or loss may raise that is wrong."""


@dataclass
class GAN:
    """Two networks, two optimisers, and what the loop has to know of them.

    `ema` is the generator with averaged weights, where the recipe asks for it.
    """

    generator: nn.Module
    discriminator: nn.Module
    g_opt: torch.optim.Optimizer
    d_opt: torch.optim.Optimizer
    z_dim: int
    num_classes: int
    ema: nn.Module | None = None

    def latents(self, count: int, device: torch.device) -> Tensor:
        """Standard normal latents of shape count×Z."""
        return torch.randn(count, self.z_dim, device=device)

    def random_labels(self, count: int, device: torch.device) -> Tensor:
        """Uniform labels int64 of length count."""
        return torch.randint(self.num_classes, (count,), device=device)

    def parts(self) -> dict[str, Any]:
        """The parts that have a state, by name."""
        parts = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "g_opt": self.g_opt,
            "d_opt": self.d_opt,
        }
        return parts if self.ema is None else {**parts, "ema": self.ema}

    def parameter_counts(self) -> dict[str, int]:
        """Trainable parameters of each network."""
        networks = {"generator": self.generator, "discriminator": self.discriminator}
        return {name: count_parameters(network) for name, network in networks.items()}


def build_gan(config: Config, device: torch.device) -> GAN:
    """Build both networks from the global random state, then their optimisers, on `device`.

    Raises:
        ConfigError: the optimiser refuses its values.
    """
    recipe, remedy = config["loss"], config["remedy"]
    # The layout that convolutions are fastest in, on every device.
    generator, plain = (
        instantiate(config["model"][part]).to(device, memory_format=torch.channels_last)
        for part in ("generator", "discriminator")
    )
    discriminator = fit_discriminator(plain, remedy).to(device)
    captured = config["compile"] and device.type == "cuda"
    # A step with a hook, which makes the average of the weights, is not compiled: torch's own kernel then.
    compiled = captured and compiler_works(device) and remedy["ema_decay"] is None

    def optimizer(network: nn.Module, lr: float) -> torch.optim.Optimizer:
        return build_optimizer(recipe["optimizer"], lr, network.parameters(), device, captured, compiled)

    g_opt = optimizer(generator, recipe["g_lr"])
    decay = remedy["ema_decay"]
    return GAN(
        generator,
        discriminator,
        g_opt,
        d_opt=optimizer(discriminator, recipe["d_lr"]),
        z_dim=config["model"]["z_dim"],
        num_classes=config["dataset"]["num_classes"],
        ema=None if decay is None else averaged(generator, g_opt, decay),
    )


def build_loss(config: Config) -> Loss:
    """The loss strategy that a configuration names.

    Raises:
        ConfigError: a parameter is not finite, or its class refuses it.
    """
    node = loss_parameters(config["loss"])
    strategy = resolve_target(node["_target_"])
    if isinstance(strategy, type) and is_dataclass(strategy):
        node = converted(strategy, node, "loss")
    for name, value in node.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"loss.{name}={value}: must be finite")
    try:
        return instantiate(node)
    except ValueError as error:
        raise ConfigError(f"loss.{error}") from error
    except TypeError as error:
        raise ConfigError(f"loss: {error}") from error


def check_recipe(config: Config) -> None:
    """Hold loss and networks together before anything slow happens.

    Raises:
        ConfigError: they cannot be built, do not fit each other, or contradict each other.
    """
    loss = build_loss(config)
    check_loss(loss, max(1, min(batch_sizes(config).values()) // config["remedy"]["pack"]))
    check_remedies(config, loss)
    refused = loss.refused_norms
    for norm in sorted(check_networks(config) & set(refused)):
        fitting = [name for name in NORM_CHOICES if name != "auto" and name not in refused]
        asked = config["loss"]["critic_norm"]
        key = "model.discriminator.norm" if asked not in ("auto", norm) else "loss.critic_norm"
        raise ConfigError(
            f"{key}={norm if asked != 'auto' else asked}: {config['loss']['name']} cannot be "
            f"trained with {norm} norm in the discriminator: {refused[norm]}; use one of "
            f"{', '.join(fitting)}"
        )
    for key in ("d_lr", "g_lr"):
        weight = torch.nn.Parameter(torch.zeros(1))
        node = config["loss"]["optimizer"]
        optimizer = build_optimizer(node, config["loss"][key], [weight], torch.device("cpu"))
        weight.grad = torch.zeros(1)
        try:
            optimizer.step()
        except (TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"loss.optimizer: {node['_target_']} cannot take a plain step ({error}); use one that can, "
                "e.g. torch.optim.Adam"
            ) from error


def check_loss(loss: Loss, count: int = 2) -> None:
    """Hold a strategy to its contract, on as many logits as the smallest batch has.

    Raises:
        ConfigError: it is none; or a loss of it fails on logits N×1 and on N, is no single number, or depends
            on none of them.
    """
    name = f"{type(loss).__module__}.{type(loss).__qualname__}"
    if not isinstance(loss, Loss):
        raise ConfigError(f"loss._target_={name}: is no strategy; derive it from ganbench.losses.Loss")
    for method, inputs in (("d_loss", 2), ("g_loss", 1)):
        # A model may give either shape.
        faults = [_fault(getattr(loss, method), inputs, shape) for shape in ((count, 1), (count,))]
        if all(faults):
            raise ConfigError(f"loss._target_={name}: {method} {faults[0]}")


def _fault(method: Callable[..., Tensor], inputs: int, shape: tuple[int, ...]) -> str | None:
    """What is wrong with a loss of so many logits, and the way out; None if nothing is."""
    logits = [torch.linspace(-1, 1, shape[0]).view(shape).requires_grad_() for _ in range(inputs)]
    try:
        value = method(*logits)
    except MISTAKES as error:
        return (
            f"fails on logits of shape {shape} ({type(error).__name__}: {first_line(error)}); "
            "mend it, or use a larger train.batch_size"
        )
    if not isinstance(value, Tensor) or value.ndim:
        given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        return (
            f"must give a tensor of one number and no dimension, gives {given}; end it with .mean(), and "
            "leave .item() out"
        )
    if not value.requires_grad:
        return "must depend on the logits, but is a constant to them; make it of them, and without .detach()"
    return None


def check_networks(config: Config) -> set[str]:
    """Build the pair on the host, push a batch of two through, and name its critic's norms.

    Costs little, so that a wrong shape is found before data is loaded.

    Raises:
        ConfigError: a part cannot be built, gives another shape than the contract says, lacks the layer
            that a remedy needs, or cannot judge a sample alone where a batch holds no more.
    """
    size, channels = config["dataset"]["image_size"], config["dataset"]["channels"]
    image_shape = (2, channels, size, size)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # torch's about empty layers, which are refused
        networks = {part: _built(config["model"][part], part) for part in ("generator", "discriminator")}
        labels = torch.zeros(2, dtype=torch.int64)
        z = torch.randn(2, config["model"]["z_dim"])
        images = _try(networks, "generator", z, labels)
        if images != image_shape:
            resized = len(images) == 4 and images[1] == channels and images[2] == images[3]
            raise ConfigError(
                f"dataset.image_size={size}: model {config['model']['name']} makes images of shape "
                f"{images[1:]}, the dataset's are {image_shape[1:]}; use "
                + (f"dataset.image_size={images[-1]}, or another model" if resized else "another model")
            )
        packed = (2, channels * config["remedy"]["pack"], size, size)
        tap = Tap(networks["discriminator"])
        logits = _try(networks, "discriminator", torch.randn(packed), labels)
        if logits not in ((2, 1), (2,)):
            raise ConfigError(f"model.discriminator: must give one logit an image, gives {logits[1:]}")
        check_features(tap, config["remedy"])
        _check_alone(networks, config, {"generator": z[:1], "discriminator": torch.randn(1, *packed[1:])})
    return norms_of(networks["discriminator"])


def _built(node: Config, part: str) -> nn.Module:
    """One network, whose weights are counted before there are any.

    Raises:
        ConfigError: it has none, or too many, or cannot be built.
    """
    # Spectral norm begins with arithmetic, and our models have as many weights without it.
    counted = {**node, "norm": "none"} if is_own_model(node) and node.get("norm") == "spectral" else node
    # A constructor may need values where there are none; then its weights are counted when they are there.
    with suppress(*MISTAKES), without_weights():
        _require_trainable(instantiate(counted), part)
    try:
        network = instantiate(node)
    except ValueError as error:
        raise ConfigError(f"model.{part}: {error}") from error
    except MISTAKES as error:
        values = ", ".join(f"{key}={value}" for key, value in target_arguments(node).items())
        raise ConfigError(
            f"model.{part}: {node['_target_']} cannot be built from {values} "
            f"({first_line(error)}); check the type and size of each"
        ) from error
    _require_trainable(network, part)
    return network


def _check_alone(networks: dict[str, nn.Module], config: Config, inputs: dict[str, Tensor]) -> None:
    """Refuse batches that hold one sample for a network whose batch norm finds no variance in one.

    A sample is a latent, an image or a pack; `inputs` has one for each network.
    """
    count = config["remedy"]["pack"]
    most = {"generator": 1, "discriminator": count}
    told = {"generator": "", "discriminator": f"with remedy.pack={count} "}
    alone = [
        (name, size, part)
        for name, size in batch_sizes(config).items()
        for part in networks
        if size <= most[part]
    ]
    for name, size, part in alone:
        try:
            with torch.no_grad():
                networks[part](inputs[part], torch.zeros(1, dtype=torch.int64))
        except MISTAKES as error:
            raise ConfigError(
                f"{name} has {size} images, {told[part]}one sample for the {part}, which fails on one alone "
                f"({error}); use a larger train.batch_size, train.drop_last=true, or no batch norm there"
            ) from error


def _require_trainable(network: nn.Module, part: str) -> None:
    """Refuse layers without weights and networks that cannot fit into memory."""
    for name, parameter in network.named_parameters():
        if not parameter.numel():
            raise ConfigError(f"model.{part}: {name} is empty, of shape {tuple(parameter.shape)}: widen it")
    # Weights, gradients and two optimiser moments in float32.
    wanted, there = 16 * count_parameters(network), physical_memory()
    if wanted > there:
        raise ConfigError(
            f"model.{part}: needs {wanted / 2**30:,.0f} GiB to be trained, this machine has "
            f"{there / 2**30:,.0f} GiB; make model.z_dim or its layers smaller"
        )


def norms_of(network: nn.Module) -> set[str]:
    """The kinds of normalisation found in a network: batch, layer, spectral."""
    found = set()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            found.add("batch")
        elif isinstance(module, nn.LayerNorm):
            found.add("layer")
        if parametrize.is_parametrized(module):
            kinds = {type(p).__name__ for chain in module.parametrizations.values() for p in chain}  # type: ignore[operator]
            if "_SpectralNorm" in kinds:
                found.add("spectral")
        if any(type(hook).__name__ == "SpectralNorm" for hook in module._forward_pre_hooks.values()):
            found.add("spectral")
    return found


def is_own_model(node: Config) -> bool:
    """Whether a network's node names a class of `ganbench.models`."""
    return str(node["_target_"]).startswith("ganbench.models.")


def trainable_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that ask for gradients; those of a fixed feature extractor, say, do not."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def count_parameters(network: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in trainable_parameters(network))


def _try(networks: dict[str, nn.Module], part: str, inputs: Tensor, labels: Tensor) -> tuple[int, ...]:
    try:
        with torch.no_grad():
            output = networks[part](inputs, labels)
    except MISTAKES as error:
        reason = first_line(error)
        raise ConfigError(
            f"model.{part}: fails on a batch of shape {tuple(inputs.shape)}: {reason}; check "
            "model.z_dim, dataset.image_size, dataset.channels and remedy.pack against it"
        ) from error
    if not isinstance(output, Tensor):
        raise ConfigError(
            f"model.{part}: must return a tensor, returns {type(output).__name__}; mend its forward"
        )
    return tuple(output.shape)
