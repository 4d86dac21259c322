"""A recipe is held together before anything slow happens: its loss, its networks, its optimisers.

Somebody's own may fail in any way: what is caught here around a call of it is every `Exception`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import torch
from torch import Tensor, nn

from ganbench.config import NORM_CHOICES, Config, instantiate, is_own_model, target_arguments
from ganbench.engine.gan import build_loss, count_parameters, norms_of, shown_shape
from ganbench.engine.optimizers import build_optimizer
from ganbench.engine.remedies import Tap, batch_sizes, check_features, check_remedies
from ganbench.engine.sampling import evaluating
from ganbench.errors import ConfigError, UserError, told
from ganbench.hardware import physical_memory
from ganbench.losses import Loss
from ganbench.models.weightless import without_weights

log = logging.getLogger(__name__)


def check_recipe(config: Config) -> None:
    """Hold loss and networks together before anything slow happens.

    Raises:
        ConfigError: they cannot be built, do not fit each other, or contradict each other.
    """
    loss = build_loss(config)
    check_loss(loss, _smallest_batch(config))
    check_remedies(config, loss)
    _check_norms(check_networks(config, loss), config, loss)
    _check_optimizers(config)


def _check_norms(found: set[str], config: Config, loss: Loss) -> None:
    """Refuse normalisations of the discriminator that the loss refuses; tell of one asked for in vain."""
    asked, refused = config["loss"]["critic_norm"], loss.refused_norms
    if (asked == "none" and found) or asked not in ("auto", "none", *found):
        log.warning(
            "loss.critic_norm=%s: has no effect, as model.discriminator has %s; a model's YAML hands it on "
            'by norm: "${ganbench.auto:${loss.critic_norm},none}"',
            asked,
            f"{' and '.join(sorted(found))} norm" if found else "no norm that is known",
        )
    for norm in sorted(found & set(refused)):
        if not is_own_model(config["model"]["discriminator"]):
            raise ConfigError(
                f"model.discriminator: has {norm} norm, and {config['loss']['name']} cannot be trained with "
                f"that: {refused[norm]}; take it out, or use another loss"
            )
        fitting = [name for name in NORM_CHOICES if name != "auto" and name not in refused]
        key = "model.discriminator.norm" if asked not in ("auto", norm) else "loss.critic_norm"
        raise ConfigError(
            f"{key}={norm if asked != 'auto' else asked}: {config['loss']['name']} cannot be "
            f"trained with {norm} norm in the discriminator: {refused[norm]}; use one of "
            f"{', '.join(fitting)}"
        )


def _check_optimizers(config: Config) -> None:
    """Take a plain step with each."""
    for key in ("d_lr", "g_lr"):
        weight = torch.nn.Parameter(torch.zeros(1))
        node = config["loss"]["optimizer"]
        optimizer = build_optimizer(node, config["loss"][key], [weight], torch.device("cpu"))
        weight.grad = torch.zeros(1)
        try:
            optimizer.step()
        except Exception as error:
            raise ConfigError(
                f"loss.optimizer: {node['_target_']} cannot take a plain step ({told(error)}); use one that "
                "can, e.g. torch.optim.Adam"
            ) from error


def check_loss(loss: Loss, count: int = 2) -> None:
    """Hold a strategy to its contract, on as many logits as the smallest batch has.

    Raises:
        ConfigError: it is none; or a loss of it fails on logits N×1 and on N, is no single number, or depends
            on none of them.
    """
    if not isinstance(loss, Loss):
        raise ConfigError(f"{_named(loss)}: is no strategy; derive it from ganbench.losses.Loss")
    for method, inputs in (("d_loss", 2), ("g_loss", 1)):
        # A model may give either shape.
        faults = [_fault(getattr(loss, method), inputs, shape) for shape in ((count, 1), (count,))]
        if all(faults):
            raise ConfigError(f"{_named(loss)}: {method} {faults[0]}")


def _named(loss: Loss) -> str:
    return f"loss._target_={type(loss).__module__}.{type(loss).__qualname__}"


def _fault(method: Callable[..., Tensor], inputs: int, shape: tuple[int, ...]) -> str | None:
    """What is wrong with a loss of so many logits, and the way out; None if nothing is."""
    logits = [torch.linspace(-1, 1, shape[0]).view(shape).requires_grad_() for _ in range(inputs)]
    try:
        value = method(*logits)
    except Exception as error:
        return f"fails on logits of shape {shape} ({told(error)}); mend it, or use a larger train.batch_size"
    if fault := _no_number(value):
        return fault
    if not value.requires_grad:
        return "must depend on the logits, but is a constant to them; make it of them, and without .detach()"
    return None


def _no_number(value: object) -> str | None:
    """What is wrong with something that should be a tensor of one number; None if nothing is."""
    if isinstance(value, Tensor) and not value.ndim:
        return None
    given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    return (
        f"must give a tensor of one number and no dimension, gives {given}; end it with .mean(), and "
        "leave .item() out"
    )


def _check_penalty(loss: Loss, discriminator: nn.Module, config: Config) -> None:
    """Try a penalty on two samples; what needs more, on as many as the smallest batch has.

    Raises:
        ConfigError: it fails there, or is neither None nor one number.
    """
    try:
        value = _penalty_of(loss, discriminator, config, 2)
    except Exception:  # whatever it was, it is told if it comes again of a whole batch
        smallest = _smallest_batch(config)
        try:
            value = _penalty_of(loss, discriminator, config, smallest)
        except Exception as error:
            raise ConfigError(
                f"{_named(loss)}: penalty fails on a batch of {smallest} ({told(error)}); mend it, or use a "
                "larger train.batch_size"
            ) from error
    if value is not None and (fault := _no_number(value)):
        raise ConfigError(f"{_named(loss)}: penalty {fault}")


def _penalty_of(loss: Loss, discriminator: nn.Module, config: Config, count: int) -> Tensor | None:
    real, fake = torch.randn(2, count, *shown_shape(config))
    labels = torch.arange(count) % config["dataset"]["num_classes"]
    return loss.penalty(partial(discriminator, labels=labels), real, fake)


def _smallest_batch(config: Config) -> int:
    """Samples in the smallest batch of a training, as the discriminator counts them."""
    return max(1, min(batch_sizes(config).values()) // config["remedy"]["pack"])


def check_networks(config: Config, loss: Loss) -> set[str]:
    """Build the pair on the host, push a batch of two through, and name its critic's norms.

    Costs little, so that a wrong shape is found before data is loaded.

    Raises:
        ConfigError: a part cannot be built, gives another shape than the contract says, lacks the layer
            that a remedy needs, cannot judge a sample alone where a batch holds no more, or has a state that
            no file can hold; or the loss's penalty fails on it.
    """
    size, channels = config["dataset"]["image_size"], config["dataset"]["channels"]
    image_shape = (2, channels, size, size)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # torch's about empty layers, which are refused
        networks = {part: _built(config["model"][part], part) for part in ("generator", "discriminator")}
        labels = torch.tensor([0, config["dataset"]["num_classes"] - 1])
        z = torch.randn(2, config["model"]["z_dim"])
        images = _try(networks, "generator", z, labels)
        if images != image_shape:
            resized = len(images) == 4 and images[1] == channels and images[2] == images[3]
            raise ConfigError(
                f"dataset.image_size={size}: model {config['model']['name']} makes images of shape "
                f"{images[1:]}, the dataset's are {image_shape[1:]}; use "
                + (f"dataset.image_size={images[-1]}, or another model" if resized else "another model")
            )
        _warn_of_labels(networks["generator"], z, config)
        shown = torch.randn(2, *shown_shape(config))
        tap = Tap(networks["discriminator"])
        logits = _try(networks, "discriminator", shown, labels)
        if logits not in ((2, 1), (2,)):
            raise ConfigError(f"model.discriminator: must give one logit an image, gives {logits[1:]}")
        check_features(tap, config["remedy"])
        tap.remove()
        _check_alone(networks, config, {"generator": z[:1], "discriminator": shown[:1]})
        _check_penalty(loss, networks["discriminator"], config)
    _check_state(networks["generator"])
    return norms_of(networks["discriminator"])


def _warn_of_labels(generator: nn.Module, z: Tensor, config: Config) -> None:
    """Tell where a generator does with labels what ``model.conditional`` denies, asked as it is scored.

    Of one whose images differ from call to call, by noise that torch does not seed, nothing can be told.
    """
    conditional, last = config["model"]["conditional"], config["dataset"]["num_classes"] - 1
    made = []
    try:
        with evaluating(generator), torch.no_grad():
            for label in (0, 0, last):
                torch.default_generator.manual_seed(0)
                made.append(generator(z, torch.full((2,), label)))
    except Exception:  # one that cannot take a batch of one class is not wrong for that
        return
    first, again, other = made
    if not last or not torch.equal(first, again):
        return
    if conditional and torch.equal(first, other):
        log.warning(
            "model.conditional=true: model.generator makes the same images of classes 0 and %d; unless it "
            "learns to tell them apart, set model.conditional=false: scores by class say nothing of it",
            last,
        )
    if not conditional and not torch.equal(first, other):
        log.warning(
            "model.conditional=false: model.generator makes other images of class %d than of 0, and is "
            "scored by class 0 alone; set model.conditional=true",
            last,
        )


def _built(node: Config, part: str) -> nn.Module:
    """One network, whose weights are counted before there are any.

    Raises:
        ConfigError: it has none, or too many, or cannot be built.
    """
    # Spectral norm begins with arithmetic, and our models have as many weights without it.
    counted = {**node, "norm": "none"} if is_own_model(node) and node.get("norm") == "spectral" else node
    weightless = None
    # A constructor may need values where there are none; then its weights are counted when they are there.
    with suppress(Exception), without_weights():
        weightless = instantiate(counted)
    if isinstance(weightless, nn.Module):
        _require_trainable(weightless, part)
    try:
        network = instantiate(node)
    except UserError:
        raise
    except ValueError as error:
        raise ConfigError(f"model.{part}: {error}") from error
    except Exception as error:
        values = ", ".join(f"{key}={value}" for key, value in target_arguments(node).items())
        raise ConfigError(
            f"model.{part}: {node['_target_']} cannot be built from {values} "
            f"({told(error)}); check the type and size of each"
        ) from error
    if not isinstance(network, nn.Module):
        given = type(network).__name__
        raise ConfigError(f"model.{part}: {node['_target_']} must give a torch.nn.Module, gives {given}")
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
        except Exception as error:
            raise ConfigError(
                f"{name} has {size} images, {told[part]}one sample for the {part}, which fails on one alone "
                f"({error}); use a larger train.batch_size, train.drop_last=true, or no batch norm there"
            ) from error


def _check_state(generator: nn.Module) -> None:
    """Refuse a state that its file of weights, which holds tensors alone, could not keep."""
    for name, value in generator.state_dict().items():
        if not isinstance(value, Tensor):
            raise ConfigError(
                f"model.generator: its state {name} is of type {type(value).__name__}, and a file of weights "
                "holds tensors alone; make it a buffer"
            )


def _require_trainable(network: nn.Module, part: str) -> None:
    """Refuse layers without weights and networks that cannot fit into memory, or with nothing to train."""
    for name, parameter in network.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ConfigError(f"model.{part}: {name} has no shape yet; give the sizes of its layer")
        if not parameter.numel():
            raise ConfigError(f"model.{part}: {name} is empty, of shape {tuple(parameter.shape)}: widen it")
    if not count_parameters(network):
        raise ConfigError(f"model.{part}: has no parameter to train; give it one that asks for gradients")
    # Weights, gradients and two optimiser moments in float32.
    wanted, there = 16 * count_parameters(network), physical_memory()
    if wanted > there:
        raise ConfigError(
            f"model.{part}: needs {wanted / 2**30:,.0f} GiB to be trained, this machine has "
            f"{there / 2**30:,.0f} GiB; make model.z_dim or its layers smaller"
        )


def _try(networks: dict[str, nn.Module], part: str, inputs: Tensor, labels: Tensor) -> tuple[int, ...]:
    try:
        output = networks[part](inputs, labels)
    except Exception as error:
        raise ConfigError(
            f"model.{part}: fails on a batch of shape {tuple(inputs.shape)} and labels {labels.tolist()}: "
            f"{told(error)}; check model.z_dim, dataset.image_size, dataset.channels, "
            "dataset.num_classes and remedy.pack against it"
        ) from error
    if not isinstance(output, Tensor):
        raise ConfigError(
            f"model.{part}: must return a tensor, returns {type(output).__name__}; mend its forward"
        )
    if not output.requires_grad:
        raise ConfigError(
            f"model.{part}: what it returns depends on none of its parameters; make it of them, and without "
            ".detach() and torch.no_grad()"
        )
    return tuple(output.shape)
