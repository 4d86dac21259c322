"""Remedies against mode collapse, each off by default, each composable with the others.

Each is a part of its own around the two networks, the loss or the optimiser, so that the training step
knows two things only: how images are packed for the discriminator, and what the generator descends.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ganbench.config import Config
from ganbench.engine.device import float32
from ganbench.errors import ConfigError
from ganbench.losses import Loss

LabelledCritic = Callable[[Tensor, Tensor], Tensor]
Batch = tuple[Tensor, Tensor]
"""Images as the discriminator sees them, and their labels."""

GeneratorObjective = Callable[[LabelledCritic, Batch, Batch], Tensor]
"""From a critic, a real and a generated batch to the scalar that the generator minimises."""

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

EPSILON = 1e-8


# --- around the discriminator -----------------------------------------------------------------------


def pack(images: Tensor, count: int) -> Tensor:
    """Join `count` images each along their channels, B×C×H×W to (B/count)×(count·C)×H×W.

    PacGAN: the discriminator judges several images of one kind at once, and sees what a collapsed
    generator's have in common (Lin et al. 2018, arXiv:1712.04086, section 3).
    """
    return images if count == 1 else images.unflatten(0, (-1, count)).flatten(1, 2)


class Tap:
    """What enters the last layer of a discriminator, the one that makes the logits: its features.

    That is the linear or convolutional layer which a forward pass calls last; the order in which a network
    has registered its layers says nothing.
    """

    def __init__(self, discriminator: nn.Module) -> None:
        self._features: Tensor | None = None
        self._hooks = [
            module.register_forward_pre_hook(self._keep, with_kwargs=True)
            for module in discriminator.modules()
            if isinstance(module, LAYERS)
        ]

    def remove(self) -> None:
        """Look at no further pass."""
        for hook in self._hooks:
            hook.remove()

    def _keep(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._features = inputs[0] if inputs else named["input"]

    def take(self) -> Tensor:
        """Features B×F of the last forward pass, once.

        Raises:
            ValueError: it has called no linear or convolutional layer.
        """
        if self._features is None:
            raise ValueError("no linear or convolutional layer was called")
        features, self._features = self._features.flatten(1), None
        return features


class MinibatchStd(nn.Module):
    """A discriminator that also sees how much its batch varies.

    Minibatch standard deviation, Karras et al. 2018, arXiv:1710.10196, section 3.
    The standard deviation of each feature over the batch, averaged over the features, is one more input
    of the last layer; as that layer is linear, a learned multiple of it is added to the logits. It starts
    at 0, where the discriminator is the plain one.
    """

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.tap = Tap(discriminator)
        self.body = discriminator
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Images B×C×H×W to logits B×1 that depend on the whole batch."""
        logits = self.body(x, labels)
        # The root of a variance of 0, which a collapsed batch has, would have no gradient.
        std = (self.tap.take().var(dim=0, correction=0) + EPSILON).sqrt()
        return logits + self.weight * std.mean()


def fit_discriminator(discriminator: nn.Module, remedy: Config) -> nn.Module:
    """The discriminator with what `remedy` adds to it."""
    return MinibatchStd(discriminator) if remedy["minibatch_std"] else discriminator


# --- what the generator descends --------------------------------------------------------------------


@dataclass(frozen=True)
class Adversarial:
    """The loss's own objective: no remedy."""

    loss: Loss

    def __call__(self, critic: LabelledCritic, real: Batch, fake: Batch) -> Tensor:
        """The generator's loss of the fake logits."""
        return self.loss.g_loss(critic(*fake).float())


class FeatureMatching:
    """‖E f(x) - E f(G(z))‖², f the input of the discriminator's last layer, in place of the loss's objective.

    Salimans et al. 2016, arXiv:1606.03498, section 3.1; the means are those of one batch.
    """

    def __init__(self, discriminator: nn.Module, unrolled: bool = False) -> None:
        self.discriminator = discriminator
        self.unrolled = unrolled

    def __call__(self, critic: LabelledCritic, real: Batch, fake: Batch) -> Tensor:
        """Squared distance of the mean features of two batches."""
        tap = Tap(self.discriminator)  # here alone: a compiled pass could not keep what it sees
        try:
            # The weights of an unrolled critic depend on the fakes, and so do its features of real images.
            with torch.set_grad_enabled(self.unrolled):
                critic(*real)
                wanted = tap.take().float().mean(dim=0)
            critic(*fake)
            return (wanted - tap.take().float().mean(dim=0)).square().sum()
        finally:
            tap.remove()


@dataclass(frozen=True)
class Unrolled:
    """`objective` before the discriminator as it will be after `steps` gradient steps of size `lr`.

    The generator's gradient also runs through those steps, so it sees how the discriminator will answer
    (Metz et al. 2017, arXiv:1611.02163, eq. 7 and 8). They are plain gradient descent on the same batch,
    and leave the discriminator itself as it is: batch norm's statistics and spectral norm's vectors too,
    which go on in copies. A loss that constrains the discriminator does so in place, which has no gradient:
    `check_remedies` refuses it.
    """

    objective: GeneratorObjective
    discriminator: nn.Module
    loss: Loss
    steps: int
    lr: float
    d_loss_weight: float = 1.0

    def __call__(self, critic: LabelledCritic, real: Batch, fake: Batch) -> Tensor:
        """The objective before the discriminator of the future."""
        named = self.discriminator.named_parameters()
        parameters: dict[str, Tensor] = {name: weight for name, weight in named if weight.requires_grad}
        buffers = {name: buffer.clone() for name, buffer in self.discriminator.named_buffers()}
        for _ in range(self.steps):
            loss = self._d_objective(self._critic(parameters | buffers), real, fake)
            grads = torch.autograd.grad(loss, list(parameters.values()), create_graph=True, allow_unused=True)
            parameters = {
                name: value if grad is None else value - self.lr * grad
                for (name, value), grad in zip(parameters.items(), grads, strict=True)
            }
        return self.objective(self._critic(parameters | buffers), real, fake)

    def _critic(self, state: dict[str, Tensor]) -> LabelledCritic:
        return lambda x, labels: functional_call(self.discriminator, state, (x, labels))

    def _d_objective(self, critic: LabelledCritic, real: Batch, fake: Batch) -> Tensor:
        d_loss = self.d_loss_weight * self.loss.d_loss(critic(*real).float(), critic(*fake).float())
        with float32(real[0].device):
            penalty = self.loss.penalty(lambda x: critic(x, real[1]), real[0], fake[0].to(real[0].dtype))
        return d_loss if penalty is None else d_loss + penalty


def generator_objective(
    remedy: Config, loss: Loss, discriminator: nn.Module, d_loss_weight: float = 1.0
) -> GeneratorObjective:
    """What the generator minimises under `remedy`, against a discriminator with a loss of that weight."""
    objective: GeneratorObjective
    unrolled = remedy["unroll"] > 0
    objective = FeatureMatching(discriminator, unrolled) if remedy["feature_matching"] else Adversarial(loss)
    if not unrolled:
        return objective
    return Unrolled(objective, discriminator, loss, remedy["unroll"], remedy["unroll_lr"], d_loss_weight)


# --- around the generator ---------------------------------------------------------------------------


def averaged(generator: nn.Module, optimizer: torch.optim.Optimizer, decay: float) -> nn.Module:
    """A copy of `generator` whose weights follow it as an exponential moving average.

    After each step of `optimizer` its weights become decay · average + (1 - decay) · weights; buffers, the
    statistics of batch norm, are copied (Yazıcı et al. 2019, arXiv:1806.04498, section 3.3).
    """
    average = copy.deepcopy(generator).requires_grad_(False).eval()
    ours: list[Tensor] = list(average.parameters())
    theirs: list[Tensor] = list(generator.parameters())
    our_buffers, their_buffers = list(average.buffers()), list(generator.buffers())

    @torch.no_grad()
    def follow(*_: Any) -> None:
        torch._foreach_lerp_(ours, theirs, 1 - decay)
        for ours_, theirs_ in zip(our_buffers, their_buffers, strict=True):
            ours_.copy_(theirs_)

    optimizer.register_step_post_hook(follow)
    return average


# --- at the boundary --------------------------------------------------------------------------------


def check_features(tap: Tap, remedy: Config) -> None:
    """After a forward pass: refuse remedies that need a last layer, where the discriminator has none.

    Raises:
        ConfigError: it has called no linear or convolutional layer.
    """
    for name in ("minibatch_std", "feature_matching"):
        if remedy[name]:
            try:
                tap.take()
            except ValueError as error:
                raise ConfigError(
                    f"remedy.{name}=true: needs what enters the discriminator's last layer, but {error} in "
                    f"its forward pass; use remedy.{name}=false, or another model.discriminator"
                ) from error
            return


def check_remedies(config: Config, loss: Loss) -> None:
    """Refuse remedies that cannot work with the rest of the recipe.

    Raises:
        ConfigError: unrolled steps whose loss constrains the discriminator in place, deviations within
            batches of one, packs that the batches cannot be divided into, or that would mix classes.
    """
    unroll = config["remedy"]["unroll"]
    if unroll and type(loss).constrain is not Loss.constrain:
        raise ConfigError(
            f"remedy.unroll={unroll}: its steps cannot be constrained, and loss={config['loss']['name']} "
            "constrains the discriminator after each step; use remedy.unroll=0 or another loss"
        )
    count, sizes = config["remedy"]["pack"], batch_sizes(config)
    for name, size in sizes.items():
        if config["remedy"]["minibatch_std"] and size < 2 * count:
            what = "an image" if count == 1 else f"a pack of remedy.pack={count}"
            raise ConfigError(
                f"remedy.minibatch_std=true: {name}={size} leaves {what} no other to differ from; use a "
                "larger train.batch_size, train.drop_last=true where the last batch is partial, or "
                "remedy.minibatch_std=false"
            )
    if count == 1:
        return
    if config["model"]["conditional"]:
        raise ConfigError(
            f"remedy.pack={count}: packs images of any class, so it needs an unconditional model; "
            f"model={config['model']['name']} is conditional: use remedy.pack=1 or another model"
        )
    for name, size in sizes.items():
        if size % count:
            dropped = "" if config["train"]["drop_last"] else ", and train.drop_last=true"
            raise ConfigError(
                f"remedy.pack={count}: {name} has {size} images, which are no whole packs; use a "
                f"train.batch_size that {count} divides{dropped}"
            )


def batch_sizes(config: Config) -> dict[str, int]:
    """How many images the batches of a training have, by what decides it."""
    train = config["train"]
    sizes = {"train.batch_size": train["batch_size"]}
    rest = config["dataset"]["num_train"] % train["batch_size"]
    if rest and not train["drop_last"]:
        sizes["the last partial batch (see train.drop_last)"] = rest
    return sizes
