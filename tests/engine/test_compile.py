"""compile=true: the same training, and without a compiler that takes the networks the plain one."""

from __future__ import annotations

import copy
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch.utils._pytree import tree_leaves

from ganbench import runs
from ganbench.data import Dataset
from ganbench.engine.loop import Training
from ganbench.engine.optimizers import plain_step
from ganbench.engine.signals import Interrupted
from ganbench.engine.step import Step
from ganbench.losses import Critic, WassersteinGP
from ganbench.models import convolution
from ganbench.models.convolution import using_im2col
from ganbench.session import train_run

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def quick_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's tracing and differentiation, but no code generation: seconds instead of minutes."""
    monkeypatch.setattr("ganbench.engine.step.compiler_works", lambda device: True)
    compile_ = torch.compile

    def compiled(function: Any, fullgraph: bool = False, **_: Any) -> Any:
        return compile_(function, dynamic=False, fullgraph=fullgraph, backend="aot_eager")

    monkeypatch.setattr(torch, "compile", compiled)


def rows(training: Training, steps: int) -> Tensor:
    training.warm_up()
    return torch.stack([training.do_step().clone() for _ in range(steps)])


@pytest.mark.usefixtures("quick_compiler")
@pytest.mark.parametrize(
    "model, loss",
    [
        ("mlp", "bce"),
        ("mlp", "sn_hinge"),
        ("mlp", "wgan_gp"),
        ("dcgan", "bce"),
        ("cgan", "bce"),
        ("cgan", "wgan_gp"),
        ("dcgan", "wgan_gp precision=bfloat16_penalty"),
    ],
)
def test_compiled_networks_train_as_plain_ones(
    model: str, loss: str, configure: Any, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "has_amx", lambda: False)  # eager steps then round as compiled ones do
    recipe = (f"model={model}", *f"loss={loss}".split(), "model.z_dim=3")
    expected = rows(Training(configure(*recipe), digits, CPU), 10)
    training = Training(configure(*recipe, "compile=true"), digits, CPU)
    assert torch.allclose(rows(training, 10), expected, rtol=1e-5, atol=1e-5)
    assert training.do_step.execution == "compiled"
    assert all(p.requires_grad for p in training.gan.discriminator.parameters())


@pytest.mark.usefixtures("quick_compiler")
def test_the_warm_up_leaves_no_trace(
    configure: Any, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, call = [], Step.__call__
    monkeypatch.setattr(Step, "__call__", lambda step: (taken.append(step.compiled), call(step))[1])
    training = Training(configure("loss=sn_hinge", "compile=true", "remedy.ema_decay=0.9"), digits, CPU)
    before = copy.deepcopy(training.state_dict())
    training.warm_up()
    assert taken == [True] and training.do_step.execution == "compiled"
    after = training.state_dict()
    assert training.clock.read()["train"] == before.pop("seconds")["train"] == 0
    for name, value in before.items():
        for a, b in zip(tree_leaves(value), tree_leaves(after[name]), strict=True):
            assert torch.equal(a, b) if isinstance(a, Tensor) else a == b, name


@pytest.mark.usefixtures("quick_compiler")
@pytest.mark.parametrize("loss", ["bce", "wgan_clip"])
def test_a_compiled_optimizer_trains_as_a_plain_one(
    loss: str, configure: Any, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adam and RMSprop, also after a state was loaded, and nothing is compiled anew then."""
    config = configure(f"loss={loss}", "compile=true")
    monkeypatch.setattr("ganbench.engine.optimizers._has_fused", lambda *_: False)
    plain = Training({**config, "compile": False}, digits, CPU)
    expected = rows(plain, 3), rows(plain, 3)
    run_eagerly = Step._run_eagerly
    monkeypatch.setattr(
        Step, "_run_eagerly", lambda step, *names: run_eagerly(step, *{*names} - {"_take_step"})
    )
    training = Training(config, digits, CPU)
    assert training.do_step.optimizers_compiled
    found = rows(training, 3)
    state = copy.deepcopy(training.state_dict())
    graphs = counters["stats"]["unique_graphs"]
    later = rows(training, 3)
    training.load_state_dict(state)
    again = rows(training, 3)
    assert counters["stats"]["unique_graphs"] == graphs > 0
    assert torch.allclose(found, expected[0], rtol=1e-5, atol=1e-5)
    assert torch.allclose(later, expected[1], rtol=1e-5, atol=1e-5) and torch.equal(again, later)
    whole = torch.compile(plain_step, dynamic=False, backend="aot_eager", fullgraph=True)
    before = training.gan.g_opt.param_groups[0]["params"][0].detach().clone()
    whole(training.gan.g_opt)
    assert not torch.equal(training.gan.g_opt.param_groups[0]["params"][0], before)


@pytest.mark.usefixtures("quick_compiler", "cached_data")
def test_a_signal_in_the_warm_up_of_a_resumed_run_costs_nothing(
    configure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step that is undone must not be what the signal saves."""
    recipe = configure("compile=true", "loss=sn_hinge", "train.steps=4")
    whole = train_run({**recipe, "output_root": str(tmp_path / "whole")})
    count, call = [0], Step.__call__

    def interrupted(step: Step) -> Tensor:
        count[0] += 1
        # Step 1 warms up, 2 and 3 train; 4 warms the resumed run up.
        if count[0] in (3, 4):
            os.kill(os.getpid(), signal.SIGTERM)
        return call(step)

    monkeypatch.setattr(Step, "__call__", interrupted)
    for _ in range(2):
        with pytest.raises(Interrupted):
            train_run(recipe)
    cut = train_run(recipe)
    assert count[0] == 4 + 3, "resumed after two steps, twice warmed up"
    weights = [safetensors.torch.load_file(run.path / runs.GENERATOR["last"]) for run in (whole, cut)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_networks_that_do_not_compile_run_plainly_and_it_is_said(
    configure: Any, digits: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(network: torch.nn.Module, **options: Any) -> Any:
        def call(*inputs: Tensor) -> Tensor:
            raise RuntimeError("no kernel for this layer\nand a long trace")

        return call

    monkeypatch.setattr("ganbench.engine.step.compiler_works", lambda device: True)
    expected = rows(Training(configure(), digits, CPU), 3)
    monkeypatch.setattr(torch, "compile", refuse)
    training = Training(configure("compile=true"), digits, CPU)
    assert torch.equal(rows(training, 3), expected)
    assert training.do_step.execution == "eager"
    (warning,) = caplog.messages
    assert warning == (
        "compile=true: the step does not compile (RuntimeError: no kernel for this layer); eager it is"
    )


@pytest.mark.parametrize("model", ["mlp", "dcgan", "cgan"])
def test_a_penalty_is_compiled_as_a_whole(
    model: str, configure: Any, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the form it has on CUDA: what a compiler does not follow would run eagerly, and nobody told."""
    config = configure(
        f"model={model}", "loss=wgan_gp", *([] if model == "mlp" else ["model.discriminator.dropout=0"])
    )
    step = Training(config, digits, CPU).do_step
    images, labels = next(step.batches)
    whole = torch.compile(step._penalty, dynamic=False, backend="aot_eager", fullgraph=True)
    values = []
    for penalty, device in ((step._penalty, CPU), (step._penalty, CUDA), (whole, CUDA)):
        torch.manual_seed(0)
        with using_im2col(device):
            values.append(penalty(images, -images, labels))
    assert torch.allclose(torch.stack(values), values[0], rtol=1e-5)


class WrittenWithAutograd(WassersteinGP):
    """The penalty as papers' code has it, which no compiler follows."""

    def penalty(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        mixed = torch.lerp(real, fake, torch.rand(len(real), 1, 1, 1)).requires_grad_()
        (grad,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
        return self.gp_weight * (grad.flatten(1).norm(dim=1) - 1).square().mean()


@pytest.mark.usefixtures("quick_compiler")
def test_a_penalty_that_does_not_compile_leaves_the_rest_compiled(
    configure: Any, digits: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = ("loss=wgan_gp", f"loss._target_={__name__}.WrittenWithAutograd")
    expected = rows(Training(configure(*recipe), digits, CPU), 5)
    training = Training(configure(*recipe, "compile=true"), digits, CPU)
    assert torch.allclose(rows(training, 5), expected, rtol=1e-5, atol=1e-5)
    assert training.do_step.execution == "compiled"
    (warning,) = (record.message for record in caplog.records if record.name.startswith("ganbench"))
    assert warning.startswith("compile=true: the penalty does not compile (Unsupported: ")
