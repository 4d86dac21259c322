"""The training step: n_critic discriminator updates, then one generator update.

No branch here depends on the name of a loss, model or dataset, and nothing leaves the device.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ganbench.data import Batches
from ganbench.engine.capture import Captured
from ganbench.engine.device import autocast, compiler_works, float32, matmul_precision, penalty_autocast
from ganbench.engine.gan import GAN, trainable_parameters
from ganbench.engine.optimizers import can_be_captured, can_be_compiled, plain_step
from ganbench.engine.remedies import Adversarial, Batch, GeneratorObjective, pack
from ganbench.engine.streams import Pending, SideStream
from ganbench.losses import Loss
from ganbench.models.convolution import using_im2col
from ganbench.models.subpixel import weights_unchanged

log = logging.getLogger(__name__)

COMPILED = ("_real", "_images", "_d_forward", "_penalty", "_g_loss", "_take_step", "_metrics")
"""The methods that `torch.compile` makes kernels of: all arithmetic but clipping and the gradients' norms."""


class DForward(NamedTuple):
    """What the discriminator says of real and fake images, and its loss for it."""

    d_loss: Tensor
    real_logits: Tensor
    fake_logits: Tensor


@dataclass
class Step:
    """One training step of a recipe; calling it returns the float32 vector of `ganbench.runs.METRICS`.

    `images` counts the real images the last step showed to the discriminator.
    """

    gan: GAN
    loss: Loss
    batches: Batches
    n_critic: int
    same_batch: bool
    device: torch.device
    precision: str
    compile: bool = False
    reuse_fakes: bool = False
    d_loss_weight: float = 1.0
    pack: int = 1
    objective: GeneratorObjective | None = None

    def __post_init__(self) -> None:
        network = self.gan.discriminator
        # Batch norm, say, would let real and fake images see each other's statistics, or the fakes of one
        # critic update those of the others.
        self.one_pass, self.g_one_pass = not self.gan.d_mixes, not self.gan.g_mixes
        self.g_objective = self.objective or Adversarial(self.loss)
        self.g_parameters = trainable_parameters(self.gan.generator)
        self.d_parameters = trainable_parameters(self.gan.discriminator)
        self.d_loss = self.loss.d_loss if self.d_loss_weight == 1 else self._weighted_d_loss
        # Fakes are made beside the discriminator's updates, and its pass for the penalty beside that for the
        # logits unless a pass changes what the next one sees, as batch norm's and spectral norm's do.
        self.fakes_beside = SideStream(self.device)
        self.penalty_beside = SideStream(
            self.device, allowed=self.loss.has_penalty and not keeps_state(network)
        )
        self.captured = Captured(self._update_both, self.device) if self._may_capture() else None
        self.images = 0
        if self.compile and compiler_works(self.device):
            self._compile()

    def _compile(self) -> None:
        """Hide the methods that can be compiled behind their compiled form.

        They are compiled when they are first called, for each shape anew.
        """
        torch.compiler.reset()  # what earlier runs of the process compiled counts towards torch's limit
        for name in COMPILED:
            compiled = torch.compile(
                getattr(self, name),
                dynamic=False,
                # A penalty is differentiated twice: compiled in parts, torch 2.6 silently loses gradients.
                fullgraph=name == "_penalty",
                # Its own random numbers would be others than those of eager steps.
                options={"fallback_random": True},
            )
            setattr(self, name, compiled)
        if not self.loss.has_penalty:
            self._run_eagerly("_penalty")
        optimizers = (self.gan.d_opt, self.gan.g_opt)
        if self.device.type != "cuda" or not all(map(can_be_compiled, optimizers)):
            self._run_eagerly("_take_step")
        # Other objectives look into the discriminator or change its weights: not in its compiled form.
        if not isinstance(self.g_objective, Adversarial):
            self._run_eagerly("_g_loss")

    def _run_eagerly(self, *names: str) -> None:
        for name in names:
            vars(self).pop(name, None)

    def compile_less(self) -> str:
        """After something did not compile, let penalty and optimisers run eagerly; where they do, all.

        Returns what that is, in words.
        """
        if "_penalty" in vars(self) or self.optimizers_compiled:
            names = {"_penalty": "the penalty", "_take_step": "an optimiser"}
            tried = [name for name in names if name in vars(self)]
            self._run_eagerly(*tried)
            return " or ".join(names[name] for name in tried)
        self._run_eagerly(*COMPILED)
        return "the step"

    @property
    def compiled(self) -> bool:
        """Whether anything but the penalty is compiled."""
        return "_d_forward" in vars(self)

    @property
    def optimizers_compiled(self) -> bool:
        """Whether the optimisers' steps are compiled."""
        return "_take_step" in vars(self)

    def _may_capture(self) -> bool:
        if not self.compile or self.device.type != "cuda":
            return False
        names = {type(o).__name__ for o in (self.gan.d_opt, self.gan.g_opt) if not can_be_captured(o)}
        for name in names:
            log.warning("compile=true: no CUDA graph of the step (torch's %s allows none)", name)
        return not names

    @property
    def execution(self) -> str:
        """How steps are done: ``graph``, ``compiled`` or ``eager``, whatever was asked for."""
        if self.captured and self.captured.recording:
            return "graph"
        return "compiled" if self.compiled else "eager"

    def __call__(self) -> Tensor:
        """Draw the batches, update the discriminator n_critic times and the generator once."""
        drawn = [self.batches.next_index() for _ in range(1 if self.same_batch else self.n_critic)]
        self.images = sum(map(len, drawn)) * (self.n_critic // len(drawn))
        with matmul_precision(self.device, self.precision):
            return (self.captured or self._update_both)(*drawn)

    def _update_both(self, *drawn: Tensor) -> Tensor:
        """The step on the images at the positions `drawn`: work of the device alone, a graph can hold it."""
        real_batches = [self._real(index) for index in drawn] * (self.n_critic // len(drawn))
        self.fakes_beside.begin()
        with weights_unchanged(self.gan.generator):  # until its own update
            # All at once: the generator does not change between the critic's updates.
            fakes = self._fakes([labels for _, labels in real_batches])
            for (images, real_labels), fake in zip(real_batches, fakes, strict=True):
                real, made = pack(images, self.pack), pack(fake.get().detach(), self.pack)
                d_report = self._update_discriminator(real, made, real_labels)
            if self.reuse_fakes:
                shown, labels = fakes[-1].get(), real_labels
            else:
                fresh = self.fakes_beside.run(partial(self._fresh_fakes, len(real_labels)))
                shown, labels = fresh.get()
        g_report = self._update_generator((real, real_labels), (pack(shown, self.pack), labels))
        return self._metrics(*d_report, *g_report)

    def _real(self, index: Tensor) -> Batch:
        return self.batches.at(index)

    def _fakes(self, labels: Sequence[Tensor]) -> Sequence[Pending[Tensor]]:
        """Images for each critic update, in one pass where no layer of the generator mixes samples."""
        run = self.fakes_beside.run
        if not self.g_one_pass:
            *others, last = labels
            with torch.no_grad():
                made = [run(partial(self._generate, part)) for part in others]
            with torch.set_grad_enabled(self.reuse_fakes):  # of the last alone
                return [*made, run(partial(self._generate, last))]
        with torch.set_grad_enabled(self.reuse_fakes):
            whole = run(lambda: self._generate(torch.cat(list(labels))))
            parts = whole.result.split([len(part) for part in labels])
            return [Pending(part, whole.done) for part in parts]

    def _fresh_fakes(self, count: int) -> Batch:
        labels = self.gan.random_labels(count, self.device)
        return self._generate(labels), labels

    def _generate(self, labels: Tensor) -> Tensor:
        return self._images(self.gan.latents(len(labels), self.device), labels)

    def _images(self, z: Tensor, labels: Tensor) -> Tensor:
        with autocast(self.device, self.precision):
            return self.gan.generator(z, labels).float()

    def _weighted_d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return self.d_loss_weight * self.loss.d_loss(real_logits, fake_logits)

    def _update_discriminator(
        self, real: Tensor, fake: Tensor, labels: Tensor
    ) -> tuple[DForward, Tensor | None, Tensor]:
        self.penalty_beside.begin()
        d_forward = self._d_forward(real, fake, labels)
        with using_im2col(self.device):
            penalty = self.penalty_beside.run(partial(self._penalty, real, fake, labels)).get()
        objective = d_forward.d_loss if penalty is None else d_forward.d_loss + penalty
        grad_norm = self._update(self.gan.d_opt, objective, self.d_parameters)
        self.loss.constrain(self.gan.discriminator)
        return d_forward, penalty, grad_norm

    def _d_forward(self, real: Tensor, fake: Tensor, labels: Tensor) -> DForward:
        with autocast(self.device, self.precision):
            real_logits, fake_logits = self._logits(real, fake, labels)
        return DForward(self.d_loss(real_logits, fake_logits), real_logits.detach(), fake_logits.detach())

    def _penalty(self, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor | None:
        with float32(self.device):
            return self.loss.penalty(partial(self._penalty_logits, labels=labels), real, fake)

    def _penalty_logits(self, images: Tensor, labels: Tensor) -> Tensor:
        with penalty_autocast(self.device, self.precision):
            return self.gan.discriminator(images, labels).float()

    def _logits(self, real: Tensor, fake: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        critic = self.gan.discriminator
        if not self.one_pass:
            # Spectral norm iterates once for both (Miyato et al. 2018, algorithm 1), as in one pass.
            with parametrize.cached():
                return critic(real, labels).float(), critic(fake, labels).float()
        both = critic(torch.cat([real, fake]), torch.cat([labels, labels])).float()
        return both[: len(real)], both[len(real) :]

    def _update_generator(self, real: Batch, fake: Batch) -> tuple[Tensor, Tensor]:
        # A compiled backward computes all gradients that its parameters ask for, wanted or not.
        with frozen(self.d_parameters if "_g_loss" in vars(self) else []):
            g_loss = self._g_loss(real, fake)
            return g_loss, self._update(self.gan.g_opt, g_loss, self.g_parameters)

    def _g_loss(self, real: Batch, fake: Batch) -> Tensor:
        with autocast(self.device, self.precision):
            return self.g_objective(self.gan.discriminator, real, fake)

    def _update(
        self, optimizer: torch.optim.Optimizer, objective: Tensor, parameters: list[nn.Parameter]
    ) -> Tensor:
        """Descend `objective` along `parameters` alone; the norm of the gradient."""
        for parameter in parameters:  # what zero_grad does, without torch's record of it
            parameter.grad = None
        objective.backward(inputs=parameters)
        grad_norm = gradient_norm([p.grad for p in parameters if p.grad is not None])
        # The first step makes the optimiser's state, which compiled code has to find.
        if self.optimizers_compiled and optimizer.state:
            self._take_step(optimizer)
        else:
            optimizer.step()
        return grad_norm

    def _take_step(self, optimizer: torch.optim.Optimizer) -> None:
        plain_step(optimizer)

    @torch.no_grad()
    def _metrics(
        self, d_forward: DForward, penalty: Tensor | None, d_norm: Tensor, g_loss: Tensor, g_norm: Tensor
    ) -> Tensor:
        """The vector of `ganbench.runs.METRICS`."""
        d_loss, real, fake = d_forward
        boundary = self.loss.boundary
        accuracy = 0.5 * ((real > boundary).float().mean() + (fake <= boundary).float().mean())
        if penalty is None:
            penalty = torch.zeros_like(d_loss)
        return torch.stack([d_loss, g_loss, penalty, real.mean(), fake.mean(), accuracy, d_norm, g_norm])


def gradient_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of all gradients together, a scalar."""
    if not gradients or not all(gradient.is_cpu for gradient in gradients):
        return torch.nn.utils.get_total_norm(gradients)
    return torch.linalg.vector_norm(torch.stack([_norm(gradient) for gradient in gradients]))


def _norm(gradient: Tensor) -> Tensor:
    """Euclidean norm: a product takes a third of the time of torch's own on a CPU, and rounds less."""
    ordered = gradient.permute(0, 2, 3, 1) if gradient.ndim == 4 else gradient  # as kernels lie in memory
    if gradient.dtype is not torch.float32 or not ordered.is_contiguous():
        return torch.linalg.vector_norm(gradient)
    values = ordered.view(-1)
    return values.dot(values).sqrt()


def keeps_state(network: nn.Module) -> bool:
    """Whether a pass may leave something for the next: in buffers, or in parameters that are not trained."""
    has_buffers = next(network.buffers(), None) is not None
    return has_buffers or not all(weight.requires_grad for weight in network.parameters())


@contextmanager
def frozen(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Have the parameters ask for no gradient in this block."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
