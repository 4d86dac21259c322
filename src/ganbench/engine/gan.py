"""A generator and a discriminator with their optimisers."""

from __future__ import annotations

import math
from dataclasses import dataclass, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ganbench.config import Config, converted, instantiate, is_own_model, loss_parameters, resolve_target
from ganbench.engine.device import compiler_works
from ganbench.engine.mixing import has_mixing_layer, mixes_samples
from ganbench.engine.optimizers import build_optimizer
from ganbench.engine.remedies import averaged, fit_discriminator
from ganbench.errors import ConfigError, UserError, told
from ganbench.losses import Loss


@dataclass
class GAN:
    """Two networks, two optimisers, and what the loop has to know of them.

    `g_mixes` and `d_mixes` say whether what a network makes of one sample depends on the others of its batch,
    as with batch norm. `ema` is the generator with averaged weights, where the recipe asks for it.
    """

    generator: nn.Module
    discriminator: nn.Module
    g_opt: torch.optim.Optimizer
    d_opt: torch.optim.Optimizer
    z_dim: int
    num_classes: int
    g_mixes: bool
    d_mixes: bool
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
    generator, plain = (instantiate(config["model"][part]) for part in ("generator", "discriminator"))
    discriminator = fit_discriminator(plain, remedy)

    def mixes(part: str, network: nn.Module, shape: tuple[int, ...]) -> bool:
        # Our own are known; trying them at each start would be for nothing.
        return has_mixing_layer(network) or (
            not is_own_model(config["model"][part])
            and mixes_samples(network, shape, config["dataset"]["num_classes"])
        )

    g_mixes = mixes("generator", generator, (config["model"]["z_dim"],))
    d_mixes = mixes("discriminator", discriminator, shown_shape(config))
    for network in (generator, discriminator):
        _channels_last(network.to(device))
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
        g_mixes=g_mixes,
        d_mixes=d_mixes,
        ema=None if decay is None else averaged(generator, g_opt, decay),
    )


def shown_shape(config: Config) -> tuple[int, int, int]:
    """C×H×W of what the discriminator judges: an image, or `remedy.pack` of them."""
    dataset = config["dataset"]
    return dataset["channels"] * config["remedy"]["pack"], dataset["image_size"], dataset["image_size"]


def _channels_last(network: nn.Module) -> None:
    """Lay a network's kernels out as convolutions are fastest, on every device."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.ndim == 4:  # not by contiguous(), which leaves kernels of one channel as they are
            tensor.data = tensor.data.to(tensor.device, memory_format=torch.channels_last)


def build_loss(config: Config) -> Loss:
    """The loss strategy that a configuration names.

    Raises:
        ConfigError: a parameter is not finite, or its class refuses it or fails.
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
    except UserError:
        raise
    except Exception as error:  # somebody's own may fail in any way
        raise ConfigError(
            f"loss._target_={node['_target_']}: fails when it is built ({told(error)}); mend it, or check "
            "its parameters"
        ) from error


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


def trainable_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that ask for gradients; those of a fixed feature extractor, say, do not."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def count_parameters(network: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in trainable_parameters(network))
