"""Loss strategies: pure functions of raw logits, where a larger logit always means more real.

Notation: r = D(x), f = D(G(z)), sp = softplus. Real comes before fake in every signature. What a loss
demands of the rest (critic normalisation, critic steps, optimiser) stands in its YAML.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

Critic = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Loss(ABC):
    """Base of all strategies: logits B×1 (or B) in, scalar out."""

    refused_norms: ClassVar[Mapping[str, str]] = {}
    """Critic normalisations that contradict the loss, each with the reason."""

    @property
    def boundary(self) -> float:
        """Logit above which the discriminator calls an image real, for its accuracy."""
        return 0.0

    @property
    def has_penalty(self) -> bool:
        """Whether the loss has a penalty of its own."""
        return type(self).penalty is not Loss.penalty

    @abstractmethod
    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Scalar that the discriminator minimises."""

    @abstractmethod
    def g_loss(self, fake_logits: Tensor) -> Tensor:
        """Scalar that the generator minimises."""

    def penalty(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor | None:
        """Scalar added to the discriminator's loss, from images B×C×H×W; None where there is none."""
        return None

    def constrain(self, discriminator: nn.Module) -> None:  # noqa: B027 - most losses need none
        """Change the discriminator in place after each of its updates."""


@dataclass(frozen=True)
class BCE(Loss):
    """Non-saturating GAN, sp(-r) + sp(f) and sp(-f) (Goodfellow et al. 2014, arXiv:1406.2661, section 3).

    Written with softplus on logits: a loss after a sigmoid has no gradient at large logits. With labels
    other than 1 and 0 (smoothing, Salimans et al. 2016, section 3.4) this is the cross-entropy with them.
    """

    real_label: float = 1.0
    fake_label: float = 0.0

    def __post_init__(self) -> None:
        for name in ("real_label", "fake_label"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: must lie in [0, 1], it is a probability")
        _require_order(self.fake_label, self.real_label)

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Cross-entropy of the real logits with `real_label` plus the fake ones with `fake_label`."""
        return _cross_entropy(real_logits, self.real_label) + _cross_entropy(fake_logits, self.fake_label)

    def g_loss(self, fake_logits: Tensor) -> Tensor:
        """Mean of sp(-f)."""
        return softplus(-fake_logits).mean()


@dataclass(frozen=True)
class Minimax(BCE):
    """Saturating GAN: the generator minimises log(1 - D(G(z))) = -sp(f) (Goodfellow et al. 2014, eq. 1).

    Its gradient in f is -sigmoid(f), which vanishes where the discriminator is sure of its fakes.
    """

    def g_loss(self, fake_logits: Tensor) -> Tensor:
        """Mean of -sp(f)."""
        return -softplus(fake_logits).mean()


@dataclass(frozen=True)
class LeastSquares(Loss):
    """½(r-b)² + ½(f-a)² and ½(f-c)² (Mao et al. 2017, arXiv:1611.04076, eq. 2 and 9).

    a is `fake_label`, b `real_label`, c `generator_label`.
    """

    fake_label: float = 0.0
    real_label: float = 1.0
    generator_label: float = 1.0

    def __post_init__(self) -> None:
        _require_order(self.fake_label, self.real_label)

    @property
    def boundary(self) -> float:
        """Half-way between the labels."""
        return (self.real_label + self.fake_label) / 2

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Half the mean squared distance of real logits from b plus that of fake ones from a."""
        real = (real_logits - self.real_label).square().mean()
        return 0.5 * real + 0.5 * (fake_logits - self.fake_label).square().mean()

    def g_loss(self, fake_logits: Tensor) -> Tensor:
        """Half the mean squared distance of the fake logits from c."""
        return 0.5 * (fake_logits - self.generator_label).square().mean()


@dataclass(frozen=True)
class Hinge(Loss):
    """relu(1-r) + relu(1+f) and -f (Lim and Ye 2017, arXiv:1705.02894; Miyato et al. 2018, eq. 16, 17)."""

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Mean of relu(1-r) plus mean of relu(1+f)."""
        return relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()

    def g_loss(self, fake_logits: Tensor) -> Tensor:
        """Mean of -f."""
        return -fake_logits.mean()


@dataclass(frozen=True)
class Wasserstein(Loss):
    """f - r and -f (Arjovsky et al. 2017, arXiv:1701.07875, eq. 3); the critic must be kept Lipschitz."""

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Mean of f minus mean of r: the negated estimate of the Wasserstein distance."""
        return fake_logits.mean() - real_logits.mean()

    def g_loss(self, fake_logits: Tensor) -> Tensor:
        """Mean of -f."""
        return -fake_logits.mean()


@dataclass(frozen=True)
class WassersteinClip(Wasserstein):
    """Wasserstein with the critic's weights clamped to ±`clip` (Arjovsky et al. 2017, algorithm 1)."""

    refused_norms: ClassVar[Mapping[str, str]] = {
        "spectral": "clamping would act on weights that spectral norm rescales anyway"
    }

    clip: float = 0.01

    def __post_init__(self) -> None:
        if not self.clip > 0:
            raise ValueError(f"clip={self.clip}: must be greater than 0")

    @torch.no_grad()
    def constrain(self, discriminator: nn.Module) -> None:
        """Clamp every parameter of the critic to [-clip, clip]."""
        for parameter in discriminator.parameters():
            parameter.clamp_(-self.clip, self.clip)


@dataclass(frozen=True)
class WassersteinGP(Wasserstein):
    """Wasserstein with a two-sided gradient penalty (Gulrajani et al. 2017, arXiv:1704.00028, eq. 3)."""

    refused_norms: ClassVar[Mapping[str, str]] = {
        "batch": "the gradient penalty is per sample and batch norm mixes samples"
    }

    gp_weight: float = 10.0

    def __post_init__(self) -> None:
        if not self.gp_weight >= 0:
            raise ValueError(f"gp_weight={self.gp_weight}: must be at least 0")

    def penalty(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        """gp_weight · mean (‖∇D(x̂)‖₂ - 1)², x̂ uniform on the lines between real and fake images."""
        t = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device, dtype=real.dtype)
        grad = input_gradient(critic, torch.lerp(real, fake, t))
        return self.gp_weight * (grad.flatten(1).norm(dim=1) - 1).square().mean()


def input_gradient(critic: Critic, images: Tensor) -> Tensor:
    """For each image of B×C×H×W the gradient of its own logit, which can be differentiated again.

    What gradient penalties are made of; the critic must not mix samples.
    """
    if torch.compiler.is_compiling():
        # Not every compiler follows autograd.grad; in eager steps this form would import the compiler.
        return torch.func.grad(lambda x: critic(x).sum())(images)
    if not images.requires_grad:
        images = images.detach().requires_grad_()
    (grad,) = torch.autograd.grad(critic(images).sum(), images, create_graph=True)
    return grad


def _require_order(fake_label: float, real_label: float) -> None:
    """A larger logit means more real, for the accuracy and for the generator."""
    if not fake_label < real_label:
        raise ValueError(f"real_label={real_label}: must be greater than fake_label={fake_label}")


def _cross_entropy(logits: Tensor, label: float) -> Tensor:
    """Binary cross-entropy of logits with one soft label for all of them."""
    if label in (0, 1):  # half the work of the general case, to the same bits
        return softplus(-logits if label else logits).mean()
    return torch.lerp(softplus(logits), softplus(-logits), label).mean()
