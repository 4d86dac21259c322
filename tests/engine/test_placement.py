"""Everything of a step lies on the run's device.

No GPU is needed: tensors on torch's `meta` device have a shape and no values, and like those on CUDA they
refuse most operations with a tensor of the host.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from ganbench.data import Dataset
from ganbench.engine import loop, remedies, step
from ganbench.engine.loop import Training

META = torch.device("meta")
REMEDIES = (
    "remedy.ema_decay=0.9",
    "remedy.minibatch_std=true",
    "remedy.pack=2",
    "remedy.feature_matching=true",
    "remedy.unroll=2",
)


@pytest.fixture(autouse=True)
def _without_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """What asks a tensor for its values, or the device for its arithmetic, answered for it."""
    monkeypatch.setattr(loop, "real_distance", lambda images: 1.0)
    monkeypatch.setattr(step, "autocast", lambda device, precision: nullcontext())
    monkeypatch.setattr(step, "penalty_autocast", lambda device, precision: nullcontext())
    for module in (step, remedies):
        monkeypatch.setattr(module, "float32", lambda device: nullcontext())


def test_a_tensor_of_the_host_is_refused() -> None:
    with pytest.raises(RuntimeError, match="device"):
        torch.lerp(torch.zeros(2, device=META), torch.zeros(2, device=META), torch.rand(2))


@pytest.mark.parametrize("model", ["mlp", "dcgan", "cgan"])
@pytest.mark.parametrize("loss", ["bce", "lsgan", "hinge", "wgan_clip", "wgan_gp", "sn_hinge"])
def test_a_step_makes_no_tensor_on_the_host(loss: str, model: str, configure: Any, digits: Dataset) -> None:
    training = Training(configure(f"loss={loss}", f"model={model}"), digits, META)
    assert devices_after_steps(training) == {META}


@pytest.mark.parametrize("remedy", REMEDIES)
def test_nor_does_a_remedy(remedy: str, configure: Any, digits: Dataset) -> None:
    training = Training(configure("loss=bce", "model=mlp", remedy), digits, META)
    assert devices_after_steps(training) == {META}


def devices_after_steps(training: Training) -> set[torch.device]:
    """Where metrics, weights and moments are after two steps, the first of which makes moments."""
    for _ in range(2):
        training.advance()
    gan = training.gan
    weights = [*gan.generator.state_dict().values(), *gan.discriminator.state_dict().values()]
    moments = [
        value
        for optimizer in (gan.g_opt, gan.d_opt)
        for weight, state in optimizer.state.items()
        for value in state.values()
        if isinstance(value, Tensor) and value.shape == weight.shape  # step counts may be on the host
    ]
    assert moments, "the optimisers have made no step"
    return {tensor.device for tensor in (training._metrics, *weights, *moments)}
