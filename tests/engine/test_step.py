"""The training step: what it updates, in which order, from which images, without waiting for the device."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from ganbench.data import Batches, Dataset
from ganbench.engine.gan import GAN, build_gan, build_loss
from ganbench.engine.step import Step, gradient_norm
from ganbench.runs import METRICS

LOSSES = ("bce", "lsgan", "hinge", "wgan_clip", "wgan_gp", "sn_hinge")
CPU = torch.device("cpu")

MakeStep = Callable[..., Step]


@pytest.fixture
def make_step(configure: Any, digits: Dataset) -> MakeStep:
    """A function from overrides to a step on digits, seed 0, batches of four."""

    def make(*overrides: str) -> Step:
        config = configure(*overrides)
        torch.manual_seed(0)
        gan = build_gan(config, CPU)
        batches = Batches(digits.train, config["train"]["batch_size"], 0, CPU)
        recipe = config["loss"]
        return Step(
            gan,
            build_loss(config),
            batches,
            recipe["n_critic"],
            recipe["same_batch"],
            CPU,
            config["precision"],
            reuse_fakes=recipe["reuse_fakes"],
            d_loss_weight=recipe["d_loss_weight"],
        )

    return make


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Every batch of real images that is drawn."""
    seen: list[Tensor] = []
    look_up = Batches.at

    def spy(self: Batches, index: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = look_up(self, index)
        seen.append(images)
        return images, labels

    monkeypatch.setattr(Batches, "at", spy)
    return seen


def weights(gan: GAN) -> dict[str, Tensor]:
    networks = {"g": gan.generator, "d": gan.discriminator}
    return {f"{n}.{k}": p.detach().clone() for n, net in networks.items() for k, p in net.named_parameters()}


@pytest.mark.parametrize("model", ["mlp", "cgan"])
@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_leaves_the_device_inside_a_step(
    loss: str, model: str, make_step: MakeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = make_step(f"loss={loss}", f"model={model}")
    step()

    def forbidden(*arguments: Any, **keywords: Any) -> None:
        raise AssertionError("the step waits for the device")

    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__"):
        monkeypatch.setattr(Tensor, name, forbidden)
    metrics = step()
    monkeypatch.undo()
    assert metrics.shape == (len(METRICS),) and metrics.dtype == torch.float32
    assert metrics.isfinite().all() and not metrics.requires_grad


@pytest.mark.parametrize("n_critic", [1, 3])
def test_each_critic_update_draws_a_fresh_batch(
    n_critic: int, make_step: MakeStep, drawn: list[Tensor]
) -> None:
    step = make_step("loss=hinge", f"loss.n_critic={n_critic}")
    step()
    assert len(drawn) == n_critic and step.images == 4 * n_critic
    assert len({image.numpy().tobytes() for batch in drawn for image in batch}) == 4 * n_critic


def test_same_batch_is_drawn_once_and_shown_each_time(make_step: MakeStep, drawn: list[Tensor]) -> None:
    step = make_step("loss=hinge", "loss.n_critic=3", "loss.same_batch=true")
    judged: list[Tensor] = []
    step.gan.discriminator.register_forward_pre_hook(
        lambda _, inputs: judged.append(inputs[0].detach().clone())
    )
    step()
    assert len(drawn) == 1 and step.images == 12
    assert [len(images) for images in judged] == [8, 8, 8, 4], "real beside fake three times, then G's"
    assert all(torch.equal(images[:4], drawn[0]) for images in judged[:3])
    assert len({images[4:].numpy().tobytes() for images in judged[:3]}) == 3, "with fresh fakes each time"


@pytest.mark.parametrize("loss, updates", [("bce", 1), ("wgan_clip", 5), ("wgan_gp", 5)])
def test_updates_per_step(
    loss: str, updates: int, make_step: MakeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = make_step(f"loss={loss}")
    order: list[str] = []
    for name, optimizer in (("d", step.gan.d_opt), ("g", step.gan.g_opt)):
        optimizer.register_step_post_hook(lambda *_, name=name: order.append(name))
    step()
    assert order == ["d"] * updates + ["g"]


@pytest.mark.parametrize("model", ["mlp", "dcgan", "cgan"])
def test_each_update_moves_its_own_network(model: str, make_step: MakeStep) -> None:
    step = make_step("loss=hinge", f"model={model}")
    before = weights(step.gan)
    at_d: dict[str, Tensor] = {}
    step.gan.d_opt.register_step_post_hook(lambda *_: at_d.update(weights(step.gan)))
    d_grads: dict[str, Tensor] = {}

    def remember(*_: Any) -> None:
        named = step.gan.discriminator.named_parameters()
        d_grads.update({k: p.grad.clone() for k, p in named if p.grad is not None})

    step.gan.d_opt.register_step_post_hook(remember)
    step()
    after = weights(step.gan)
    assert all(torch.equal(before[k], at_d[k]) == k.startswith("g.") for k in before if "weight" in k)
    assert all(torch.equal(at_d[k], after[k]) for k in before if k.startswith("d."))
    assert all(not torch.equal(at_d[k], after[k]) for k in before if k.startswith("g.") and "weight" in k)
    for key, parameter in step.gan.discriminator.named_parameters():
        assert torch.equal(parameter.grad, d_grads[key]), f"the generator's update touched {key}"


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_one_pass_gives_the_logits_of_two(norm: str, make_step: MakeStep) -> None:
    step = make_step("loss=hinge", "model=cgan", f"loss.critic_norm={norm}")
    assert step.one_pass
    real, fake, labels = torch.randn(4, 1, 28, 28), torch.randn(4, 1, 28, 28), torch.arange(4)
    with torch.no_grad():
        together = step._logits(real, fake, labels)
        step.one_pass = False
        apart = step._logits(real, fake, labels)
    for one, two in zip(together, apart, strict=True):
        assert torch.allclose(one, two, rtol=0, atol=1e-6)


@pytest.mark.parametrize("model, loss", [*(("mlp", loss) for loss in LOSSES), ("cgan", "hinge")])
def test_one_pass_trains_as_two(model: str, loss: str, make_step: MakeStep) -> None:
    """Ten steps; under spectral norm, too, whose power iteration is one an update either way.

    In small steps of SGD: Adam makes a whole one of a gradient that is zero but for rounding, as hinge's of
    some biases is, and whole ones soon cross the kinks of the activations.
    """
    still = ["model.discriminator.dropout=0"] if model == "cgan" else []
    one, two = (make_step(f"model={model}", f"loss={loss}", *still) for _ in range(2))
    assert one.one_pass
    two.one_pass = False
    for step in (one, two):
        step.gan.d_opt = torch.optim.SGD(step.d_parameters, lr=0.001)
        step.gan.g_opt = torch.optim.SGD(step.g_parameters, lr=0.001)
    metrics = []
    for step in (one, two):
        torch.manual_seed(1)
        metrics.append(torch.stack([step() for _ in range(10)]))
    assert torch.allclose(*metrics, rtol=1e-5, atol=1e-6)


def test_batch_norm_never_sees_real_and_fake_together(make_step: MakeStep) -> None:
    step = make_step("loss=hinge", "model=dcgan")
    assert not step.one_pass
    seen: list[int] = []
    step.gan.discriminator.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    step()
    assert seen == [4, 4, 4]


@pytest.mark.parametrize("reuse_fakes, d_loss_weight", [(False, 1.0), (True, 1.0), (False, 0.5)])
def test_a_step_is_the_textbook_step(reuse_fakes: bool, d_loss_weight: float, make_step: MakeStep) -> None:
    """Two steps of mlp/bce against the same written out with SGD, plain autograd and nothing shared."""
    sgd = "loss.optimizer={_target_: torch.optim.SGD, lr: 0.1}"
    recipe = (f"loss.reuse_fakes={reuse_fakes}", f"loss.d_loss_weight={d_loss_weight}")
    step = make_step("loss=bce", sgd, "loss.d_lr=0.2", "~loss.optimizer.betas", *recipe)
    gan, batches = copy.deepcopy((step.gan, step.batches))
    torch.manual_seed(7)
    metrics = [step() for _ in range(2)][-1]

    torch.manual_seed(7)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    for _ in range(2):
        real, labels = next(batches)
        fake = gan.generator(torch.randn(4, 100), labels)
        r, f = gan.discriminator(real, labels), gan.discriminator(fake.detach(), labels)
        d_loss = d_loss_weight * (bce(r, torch.ones_like(r)) + bce(f, torch.zeros_like(f)))
        d_grads = torch.autograd.grad(d_loss, list(gan.discriminator.parameters()))
        with torch.no_grad():
            for parameter, grad in zip(gan.discriminator.parameters(), d_grads, strict=True):
                parameter -= 0.2 * grad
        if not reuse_fakes:
            labels = torch.randint(10, (4,))
            fake = gan.generator(torch.randn(4, 100), labels)
        g = gan.discriminator(fake, labels)
        g_loss = bce(g, torch.ones_like(g))
        g_grads = torch.autograd.grad(g_loss, list(gan.generator.parameters()))
        with torch.no_grad():
            for parameter, grad in zip(gan.generator.parameters(), g_grads, strict=True):
                parameter -= 0.1 * grad
    for key, value in weights(gan).items():
        assert torch.allclose(weights(step.gan)[key], value, rtol=0, atol=1e-6), key

    def norm(grads: tuple[Tensor, ...]) -> float:
        return sum(float(g.square().sum()) for g in grads) ** 0.5

    accuracy = 0.5 * ((r > 0).float().mean() + (f <= 0).float().mean())
    expected = [d_loss, g_loss, 0.0, r.mean(), f.mean(), accuracy, norm(d_grads), norm(g_grads)]
    assert metrics.tolist() == pytest.approx(
        [float(torch.as_tensor(value).detach()) for value in expected], abs=1e-5
    )


@pytest.mark.parametrize("model, passes", [("mlp", [12]), ("cgan", [4, 4, 4])])
def test_fakes_of_all_critic_updates_in_one_pass_but_with_batch_norm(
    model: str, passes: list[int], make_step: MakeStep
) -> None:
    step = make_step("loss=hinge", f"model={model}", "loss.n_critic=3")
    made: list[int] = []
    step.gan.generator.register_forward_hook(lambda module, inputs, output: made.append(len(output)))
    step()
    assert made == [*passes, 4]


@pytest.mark.parametrize("model", ["mlp", "cgan"])
def test_reused_fakes_are_those_of_the_last_critic_update(model: str, make_step: MakeStep) -> None:
    step = make_step("loss=hinge", f"model={model}", "loss.n_critic=3", "loss.reuse_fakes=true")
    made: list[Tensor] = []
    step.gan.generator.register_forward_hook(lambda module, inputs, output: made.append(output.detach()))
    judged: list[tuple[Tensor, ...]] = []
    step.gan.discriminator.register_forward_pre_hook(lambda module, inputs: judged.append(inputs))
    step()
    assert len(torch.cat(made)) == 12, "and no others"
    assert torch.equal(judged[-1][0], torch.cat(made)[8:])
    assert torch.equal(judged[-1][1], judged[-2][1][4:]), "with the labels they were made for"


def test_penalty_is_reported_apart_and_descended(make_step: MakeStep) -> None:
    """With a linear critic of known norm the penalty column is 10(‖w‖-1)², and one update lowers it."""
    step = make_step(
        "loss=wgan_gp", "loss.n_critic=1", "loss.critic_norm=none", "model.discriminator.widths=[]"
    )
    weight = step.gan.discriminator.layers[0].weight
    with torch.no_grad():
        weight.mul_(3 / weight.norm())
    metrics = dict(zip(METRICS, step().tolist(), strict=True))
    assert metrics["d_penalty"] == pytest.approx(40.0, abs=1e-3)
    assert metrics["d_loss"] == pytest.approx(metrics["d_fake"] - metrics["d_real"], abs=1e-5)
    assert weight.norm().item() < 3


@pytest.mark.parametrize("model", ["mlp", "dcgan", "cgan"])
def test_clipped_weights_stay_in_bounds(model: str, make_step: MakeStep) -> None:
    step = make_step("loss=wgan_clip", f"model={model}", "loss.n_critic=2")
    for _ in range(2):
        step()
        largest = max(p.abs().max().item() for p in step.gan.discriminator.parameters())
        assert largest == pytest.approx(0.01, abs=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
def test_bfloat16_keeps_parameters_and_losses_in_float32(loss: str, make_step: MakeStep) -> None:
    step = make_step(f"loss={loss}", "precision=bfloat16")
    metrics = step()
    assert metrics.dtype == torch.float32 and metrics.isfinite().all()
    assert {value.dtype for value in weights(step.gan).values()} == {torch.float32}
    exact = make_step(f"loss={loss}")()
    # bfloat16 has 8 bits: the same seed gives nearly the same first step, yet not the very same.
    assert not torch.equal(metrics, exact)
    assert metrics[:2].tolist() == pytest.approx(exact[:2].tolist(), abs=0.05)


def test_a_penalty_in_bfloat16_is_nearly_that_in_float32(make_step: MakeStep) -> None:
    precisions = ("float32", "bfloat16", "bfloat16_penalty")
    column = METRICS.index("d_penalty")
    exact, kept, rounded = (make_step("loss=wgan_gp", f"precision={p}")()[column] for p in precisions)
    assert rounded.dtype == torch.float32 and rounded != kept
    assert [kept.item(), rounded.item()] == pytest.approx([exact.item()] * 2, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_norm_is_that_of_all_values(dtype: torch.dtype) -> None:
    plain, ordered = torch.randn(7, 3, dtype=dtype), torch.randn(4, 3, 5, 5, dtype=dtype)
    gradients = [plain, ordered.to(memory_format=torch.channels_last), torch.tensor(2.0, dtype=dtype)]
    expected = torch.cat([gradient.flatten() for gradient in gradients]).double().norm()
    assert gradient_norm(gradients).item() == pytest.approx(expected.item(), rel=1e-6)
    assert gradient_norm([plain, torch.tensor(float("nan"), dtype=dtype)]).isnan()


def test_generator_is_asked_for_the_real_labels_then_for_uniform_ones(make_step: MakeStep) -> None:
    step = make_step("loss=hinge", "model=cgan")
    asked: list[Tensor] = []
    step.gan.generator.register_forward_pre_hook(lambda module, inputs: asked.append(inputs[1]))
    expected = copy.deepcopy(step.batches)
    step()
    assert torch.equal(asked[0], next(expected)[1])
    torch.manual_seed(0)
    labels = step.gan.random_labels(20_000, CPU)
    shares = torch.bincount(labels, minlength=10) / 20_000
    assert len(shares) == 10 and (shares - 0.1).abs().max().item() < 5 * (0.1 * 0.9 / 20_000) ** 0.5


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("loss, reuse", [("bce", "false"), ("bce", "true"), ("wgan_gp", "false")])
def test_what_is_kept_within_a_step_changes_no_bit_of_it(
    loss: str, reuse: str, precision: str, make_step: MakeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of four and three latent values: the convolution of the projection is kept, or made anew."""
    recipe = (
        f"loss={loss}",
        "model=cgan",
        "model.z_dim=3",
        f"loss.reuse_fakes={reuse}",
        f"precision={precision}",
    )
    kept = make_step(*recipe)
    rows = [kept() for _ in range(3)]
    monkeypatch.setattr("ganbench.engine.step.weights_unchanged", lambda generator: nullcontext())
    anew = make_step(*recipe)
    assert all(torch.equal(anew(), row) for row in rows)
    assert all(
        torch.equal(a, b) for a, b in zip(*(weights(s.gan).values() for s in (kept, anew)), strict=True)
    )


@pytest.mark.parametrize("part", ["generator", "discriminator"])
@pytest.mark.parametrize("loss", ["bce", "wgan_gp"])
def test_a_network_may_hold_weights_that_are_not_trained(part: str, loss: str, make_step: MakeStep) -> None:
    step = make_step(f"loss={loss}")
    fixed = next(getattr(step.gan, part).parameters())
    fixed.requires_grad_(False)
    step.__post_init__()
    before = weights(step.gan)
    step()
    after = weights(step.gan)
    same = {name for name in after if torch.equal(after[name], before[name])}
    # A Wasserstein critic's last bias has no gradient: it cancels.
    assert same - {"d.layers.5.bias"} == {f"{part[0]}.layers.0.weight"}
