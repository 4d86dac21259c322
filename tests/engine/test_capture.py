"""The recorded step against the eager one.

No GPU is needed: `HostRecording` records and replays the step's operations as a CUDA graph does its kernels,
with the tensors they had, so a step that depends on anything but them and the random state is found out.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ganbench.data import Dataset
from ganbench.engine import capture
from ganbench.engine.capture import WARM_UP_CALLS, Captured
from ganbench.engine.loop import Training

CPU = torch.device("cpu")
LOSSES = ("bce", "lsgan", "hinge", "wgan_clip", "wgan_gp", "sn_hinge")


class Operations(TorchDispatchMode):
    """All operations that run under it, with the tensors they read and made."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "the step waits for the device"
        output = func(*args, **(kwargs or {}))
        self.seen.append((func, args, kwargs or {}, output))
        return output


class HostRecording:
    """`capture.Recording` for the CPU, but that recording is the first run."""

    def __init__(self, function: Callable[..., Tensor], inputs: Sequence[Tensor], stream: None) -> None:
        self._inputs = [tensor.clone() for tensor in inputs]
        with Operations() as operations:
            self._output = function(*self._inputs)
        self._operations = operations.seen
        self._ran = True

    def fits(self, inputs: Sequence[Tensor]) -> bool:
        return [tensor.shape for tensor in inputs] == [tensor.shape for tensor in self._inputs]

    @torch.no_grad()
    def replay(self, inputs: Sequence[Tensor]) -> Tensor:
        if self._ran:
            self._ran = False
            return self._output
        for held, given in zip(self._inputs, inputs, strict=True):
            held.copy_(given)
        for func, args, kwargs, output in self._operations:
            for made, place in zip(tree_leaves(func(*args, **kwargs)), tree_leaves(output), strict=True):
                if isinstance(place, Tensor) and made.data_ptr() != place.data_ptr():
                    place.copy_(made)
        return self._output


@pytest.fixture
def on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "Recording", HostRecording)
    monkeypatch.setattr(capture, "on_stream", lambda stream, function, inputs: function(*inputs))
    monkeypatch.setattr(Captured, "_stream", None)


def rows(training: Training, steps: int) -> Tensor:
    return torch.stack([training.do_step().clone() for _ in range(steps)])


@pytest.mark.usefixtures("on_the_host")
@pytest.mark.parametrize("model", ["mlp", "cgan"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_recorded_step_trains_as_the_eager_one(
    loss: str, model: str, configure: Any, digits: Dataset
) -> None:
    config = configure(f"loss={loss}", f"model={model}", "model.z_dim=3", "remedy.ema_decay=0.9")
    eager = Training(config, digits, CPU)
    expected = rows(eager, WARM_UP_CALLS + 4)
    recorded = Training(config, digits, CPU)
    recorded.do_step.captured = Captured(recorded.do_step._update_both, CPU)
    found = rows(recorded, WARM_UP_CALLS + 4)
    assert recorded.do_step.captured.recording is not None
    assert torch.equal(found, expected)
    assert len({row.numpy().tobytes() for row in found}) == len(found)
    for name, part in eager.gan.parts().items():
        theirs = tree_leaves(recorded.gan.parts()[name].state_dict())
        assert all(
            torch.equal(a, b) if isinstance(a, Tensor) else a == b
            for a, b in zip(tree_leaves(part.state_dict()), theirs, strict=True)
        ), name


@pytest.mark.usefixtures("on_the_host")
def test_a_batch_of_another_size_runs_eagerly_in_between(configure: Any, digits: Dataset) -> None:
    """1,297 images in batches of 300 leave 97 for the fifth step of an epoch."""
    config = configure("loss=bce", "train.batch_size=300", "train.drop_last=false")
    expected = rows(Training(config, digits, CPU), 12)
    training = Training(config, digits, CPU)
    training.do_step.captured = captured = Captured(training.do_step._update_both, CPU)
    assert torch.equal(rows(training, 12), expected)
    assert captured.recording is not None


@pytest.mark.usefixtures("on_the_host")
def test_the_whole_batch_is_recorded_whichever_comes_first(configure: Any, digits: Dataset) -> None:
    """Three batches of 400 and a partial one of 97 an epoch, which is the fourth call."""
    training = Training(configure("train.batch_size=400", "train.drop_last=false"), digits, CPU)
    training.do_step.captured = captured = Captured(training.do_step._update_both, CPU)
    rows(training, 6)
    assert captured.recording is not None and captured.recording.fits([torch.zeros(400)])


@pytest.mark.usefixtures("on_the_host")
def test_a_restored_training_is_recorded_anew(configure: Any, digits: Dataset) -> None:
    config = configure("loss=bce")
    training = Training(config, digits, CPU)
    training.do_step.captured = captured = Captured(training.do_step._update_both, CPU)
    rows(training, WARM_UP_CALLS + 1)
    state = copy.deepcopy(training.state_dict())
    expected = rows(training, 6)
    training.load_state_dict(state)
    assert captured.recording is None
    assert torch.equal(rows(training, 6), expected)
    assert captured.recording is not None


@pytest.mark.usefixtures("on_the_host")
def test_what_cannot_be_recorded_goes_on_eagerly_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(capture, "Recording", refuse)
    double = Captured(lambda x: 2 * x, CPU)
    assert [int(double(torch.tensor(n))) for n in range(6)] == [0, 2, 4, 6, 8, 10]
    (warning,) = caplog.messages
    assert warning.endswith("(operation not permitted when stream is capturing); it goes on without")


def test_the_cpu_records_nothing(configure: Any, digits: Dataset) -> None:
    assert Training(configure("loss=bce"), digits, CPU).do_step.captured is None


BREAKS_OFF = """
import torch
from ganbench.engine.capture import Captured

cuda = torch.device("cuda", 0)
double = Captured(lambda x: 2 * x + 0 * torch.randn_like(x) * x.sum().item(), cuda)
inputs = [torch.full((3,), float(n), device=cuda) for n in range(6)]
assert [double(x).sum().item() for x in inputs] == [0, 6, 12, 18, 24, 30]
assert double.recording is None
torch.randn(1, device=cuda)
"""


def test_a_broken_recording_leaves_the_device_usable(cuda: torch.device) -> None:
    """Reading a value breaks a recording off in CUDA itself; no other is made in that process."""
    subprocess.run([sys.executable, "-c", BREAKS_OFF], check=True, timeout=120)


RECIPES = [("mlp", "bce"), ("mlp", "sn_hinge"), ("mlp", "wgan_clip"), ("dcgan", "bce"), ("cgan", "wgan_gp")]


@pytest.mark.parametrize(
    "model, loss, precision",
    [
        *((*recipe, precision) for recipe in RECIPES for precision in ("float32", "bfloat16")),
        ("cgan", "wgan_gp", "bfloat16_penalty"),
    ],
)
def test_a_graph_of_compiled_steps_trains_as_eager_ones(
    model: str,
    loss: str,
    precision: str,
    cuda: torch.device,
    configure: Any,
    digits: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a user has it; roundings of bfloat16 and of kernels chosen by their times grow from step to step."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    recipe = (f"model={model}", f"loss={loss}", f"precision={precision}")
    expected = rows(Training(configure(*recipe), digits, cuda), WARM_UP_CALLS + 3)
    stepwise = Training(configure(*recipe, "compile=true"), digits, cuda)
    stepwise.do_step.captured = None
    stepwise.warm_up()
    compiled = rows(stepwise, WARM_UP_CALLS + 3)
    recorded = Training(configure(*recipe, "compile=true"), digits, cuda)
    recorded.warm_up()
    found = rows(recorded, WARM_UP_CALLS + 3)
    assert recorded.do_step.execution == "graph" and recorded.do_step.compiled
    tolerance = 1e-3 if precision == "float32" else 0.1
    columns = slice(None)
    if (model, loss) == ("cgan", "wgan_gp"):  # five critic updates a step make the more of a rounding
        tolerance, columns = tolerance / 2 + 0.01, slice(3)  # the losses and the penalty
    replayed = slice(0, WARM_UP_CALLS + 1)
    assert apart(found[0, columns], expected[0, columns]) < tolerance
    assert apart(found[replayed, columns], compiled[replayed, columns]) < tolerance
    assert torch.isfinite(found).all()


def apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to what is expected where that is more than 1."""
    return float(((found - expected).abs() / expected.abs().clamp(min=1)).max())


@pytest.mark.parametrize("loss", LOSSES)
def test_a_graph_trains_as_eager_steps(
    loss: str, cuda: torch.device, configure: Any, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph alone, without a compiler."""
    for module in ("step", "gan"):
        monkeypatch.setattr(f"ganbench.engine.{module}.compiler_works", lambda device: False)
    expected = rows(Training(configure(f"loss={loss}"), digits, cuda), WARM_UP_CALLS + 6)
    recorded = Training(configure(f"loss={loss}", "compile=true"), digits, cuda)
    assert torch.allclose(rows(recorded, WARM_UP_CALLS + 6), expected, rtol=1e-5, atol=1e-5)
    assert recorded.do_step.execution == "graph"
