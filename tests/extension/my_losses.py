"""A loss of somebody's own, outside ganbench."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ganbench.losses import Loss


@dataclass(frozen=True)
class Exponential(Loss):
    """exp(-s·r) + exp(s·f) and exp(-s·f)."""

    scale: float = 1.0

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Mean exp(-s·r) plus mean exp(s·f)."""
        return (-self.scale * real_logits).exp().mean() + (self.scale * fake_logits).exp().mean()

    def g_loss(self, fake_logits: Tensor) -> Tensor:
        """Mean exp(-s·f)."""
        return (-self.scale * fake_logits).exp().mean()
