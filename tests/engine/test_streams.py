"""Work beside other work: on one stream in its place, on two the same results."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ganbench.data import Dataset
from ganbench.engine import capture
from ganbench.engine import step as step_module
from ganbench.engine.device import set_up
from ganbench.engine.loop import Training
from ganbench.engine.step import keeps_state
from ganbench.engine.streams import Pending, SideStream

CPU = torch.device("cpu")


def test_what_a_pass_may_leave_for_the_next() -> None:
    layer = nn.Linear(2, 2)
    assert not keeps_state(nn.Sequential(layer, nn.LayerNorm(2), nn.LeakyReLU()))
    assert keeps_state(nn.BatchNorm1d(2)) and keeps_state(spectral_norm(nn.Linear(2, 2)))
    layer.vector = nn.Parameter(torch.ones(2), requires_grad=False)
    assert keeps_state(nn.Sequential(layer)), "a spectral norm by hand keeps its vectors so"


def test_after_a_failed_recording_one_stream_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch frees no more what two have used; without the check this would ask for a GPU."""
    side = SideStream(CPU)
    side._stream = object()  # type: ignore[assignment]
    monkeypatch.setattr(capture, "_broken", [object()])
    side.begin()
    assert side.run(lambda: 7) == Pending(7)


def test_without_a_gpu_work_is_done_in_its_place() -> None:
    side, order = SideStream(CPU), []
    side.begin()
    pending = side.run(lambda: order.append("beside") or 7)
    order.append("after")
    assert pending.get() == 7 and order == ["beside", "after"]


@pytest.mark.parametrize(
    "loss, norm, beside", [("wgan_gp", "auto", True), ("wgan_gp", "spectral", False), ("bce", "auto", False)]
)
def test_the_penalty_has_a_stream_where_passes_leave_no_trace(
    loss: str, norm: str, beside: bool, configure: Any, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spectral norm's vectors go on with each pass: two at once would go on with each other's."""
    asked: list[bool] = []
    monkeypatch.setattr(step_module, "SideStream", lambda device, allowed=True: asked.append(allowed))
    Training(configure(f"loss={loss}", f"loss.critic_norm={norm}"), digits, CPU)
    assert asked == [True, beside]


class Recorder:
    """A side stream that notes what is asked of it."""

    names: ClassVar[list[str]] = []
    order: ClassVar[list[str]] = []

    def __init__(self, device: torch.device, allowed: bool = True) -> None:
        self.name = self.names.pop(0)

    def begin(self) -> None:
        self.note("begin")

    def note(self, what: str) -> None:
        self.order.append(f"{self.name} {what}")

    def run(self, work: Any) -> Any:
        self.note("run")
        result, recorder = work(), self

        class Told(Pending):
            def get(self) -> Any:
                recorder.note("get")
                return self.result

        return Told(result)


@pytest.mark.parametrize("model", ["mlp", "dcgan"])
@pytest.mark.parametrize("setting", ["loss.n_critic=1", "loss.same_batch=true", "loss.reuse_fakes=true"])
def test_everything_begun_beside_is_waited_for(
    model: str, setting: str, configure: Any, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr(Recorder, "names", ["fakes", "penalty"])
    monkeypatch.setattr(Recorder, "order", order)
    monkeypatch.setattr(step_module, "SideStream", Recorder)
    training = Training(configure("loss=wgan_gp", f"model={model}", setting), digits, CPU)
    step = training.do_step
    judge = step._d_forward
    monkeypatch.setattr(step, "_d_forward", lambda *inputs: (order.append("judge"), judge(*inputs))[1])
    step()
    updates = step.n_critic
    assert order[0] == "fakes begin" and order.count("fakes begin") == 1
    made = 1 if model == "mlp" else updates  # one pass where no layer mixes samples
    fresh = 0 if setting == "loss.reuse_fakes=true" else 1
    assert order.count("fakes run") == made + fresh
    # The parts of one pass are waited for by its event, which `Pending` itself does.
    waited = (0 if model == "mlp" else updates + (1 - fresh)) + fresh
    assert order.count("fakes get") == waited
    update = ["penalty begin", "judge", "penalty run", "penalty get"]
    assert [entry for entry in order if not entry.startswith("fakes")] == update * updates
    if fresh:
        assert order[-2:] == ["fakes run", "fakes get"]


@pytest.mark.parametrize("recipe", [("mlp", "wgan_gp"), ("cgan", "bce"), ("cgan", "wgan_gp")])
def test_two_streams_train_as_one(
    recipe: tuple[str, str],
    cuda: torch.device,
    configure: Any,
    digits: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bit for bit, with kernels that always do the same."""
    model, loss = recipe

    def trained() -> torch.Tensor:
        training = Training(configure(f"model={model}", f"loss={loss}"), digits, cuda)
        return torch.stack([training.do_step().clone() for _ in range(8)])

    set_up(None, deterministic=True)
    try:
        beside = trained()
        monkeypatch.setattr(
            step_module, "SideStream", lambda device, allowed=True: SideStream(device, allowed=False)
        )
        assert torch.equal(trained(), beside)
    finally:
        set_up(None, deterministic=False)
