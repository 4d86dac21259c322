"""Each remedy against a closed form, alone and with the others, and resumed where it holds state."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from ganbench import runs
from ganbench.config import compose, identity
from ganbench.data import Dataset
from ganbench.engine.checks import check_recipe
from ganbench.engine.gan import GAN
from ganbench.engine.loop import Training
from ganbench.engine.remedies import (
    EPSILON,
    Adversarial,
    FeatureMatching,
    MinibatchStd,
    Tap,
    Unrolled,
    averaged,
    pack,
)
from ganbench.errors import ConfigError, RunError
from ganbench.generator import load_generator
from ganbench.losses import BCE, Hinge, Loss, Wasserstein, WassersteinGP
from ganbench.models.mlp import Discriminator
from ganbench.runs import read_run
from ganbench.session import train_run

pytestmark = pytest.mark.usefixtures("cached_data")

CPU = torch.device("cpu")
LABELS = torch.zeros(4, dtype=torch.int64)
SHORT = ("train.steps=4", "train.checkpoint_every=2", "train.log_every=2", "train.sample_every=4")
NARROW = ("model.generator.widths=[16]", "model.discriminator.widths=[16]")
REMEDIES = {
    "ema": ("remedy.ema_decay=0.9",),
    "minibatch_std": ("remedy.minibatch_std=true",),
    "pack": ("remedy.pack=2",),
    "feature_matching": ("remedy.feature_matching=true",),
    "unroll": ("remedy.unroll=2",),
}
ALL = tuple(override for overrides in REMEDIES.values() for override in overrides)


@pytest.mark.parametrize("remedy", [(), ("remedy.unroll=1",)], ids=["plain", "unrolled"])
def test_penalties_are_in_float32_beside_bfloat16_unless_asked_for(
    remedy: tuple[str, ...], configure: Any, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In what the critic's last layer computes; its logits and the gradient are float32 either way."""
    seen: list[torch.dtype] = []
    penalty = WassersteinGP.penalty

    def spy(self: WassersteinGP, critic: Any, real: Tensor, fake: Tensor) -> Tensor | None:
        def watched(x: Tensor) -> Tensor:
            with watch_linear(seen):
                logits = critic(x)
            assert logits.dtype == torch.float32
            return logits

        found = penalty(self, watched, real, fake)
        assert found is not None and found.dtype == torch.float32
        assert (real @ real.mT).dtype == torch.float32, "the penalty's own products are float32"
        return found

    monkeypatch.setattr(WassersteinGP, "penalty", spy)
    recipe = ("loss=wgan_gp", "loss.n_critic=1", *remedy)
    Training(configure(*recipe, "precision=bfloat16"), digits, CPU).do_step()
    assert seen == [torch.float32] * (1 + len(remedy))
    seen.clear()
    Training(configure(*recipe, "precision=bfloat16_penalty"), digits, CPU).do_step()
    assert seen == [torch.bfloat16, *[torch.float32] * len(remedy)]  # not where the generator looks ahead


@contextmanager
def watch_linear(seen: list[torch.dtype]) -> Iterator[None]:
    """Add to `seen` what the last linear layer called in this block computes in."""
    results: list[torch.dtype] = []
    hook = nn.modules.module.register_module_forward_hook(
        lambda module, _, result: results.append(result.dtype) if isinstance(module, nn.Linear) else None
    )
    with hook:
        yield
    seen.append(results[-1])


class Linear(nn.Module):
    """D(x) = features · weight with a first layer that passes the image on."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.head = nn.Linear(size, 1, bias=False).double()

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.head(x.flatten(1))


class Hidden(Linear):
    """One layer of tanh before it."""

    def __init__(self, size: int) -> None:
        super().__init__(4)
        self.hidden = nn.Linear(size, 4).double()

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.head(self.hidden(x.flatten(1)).tanh())


def images(count: int = 4, size: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 1, size, dtype=torch.float64, generator=generator)


# --- off by default ---------------------------------------------------------------------------------


def test_all_are_off_and_leave_older_runs_their_names() -> None:
    config = compose(["dataset=digits"])
    assert config["remedy"] == {
        "ema_decay": None, "minibatch_std": False, "pack": 1, "feature_matching": False,
        "unroll": 0, "unroll_lr": 0.01,
    }  # fmt: skip
    older = {key: value for key, value in config.items() if key != "remedy"}
    assert identity(older) == identity(config)
    assert len({identity(compose(["dataset=digits", *given])) for given in REMEDIES.values()}) == len(
        REMEDIES
    )


def test_off_adds_nothing(gan_of: Callable[..., GAN], configure: Any, digits: Dataset) -> None:
    gan = gan_of("loss=bce")
    assert gan.ema is None and "ema" not in gan.parts()
    assert not isinstance(gan.discriminator, MinibatchStd)
    step = Training(configure("loss=bce"), digits, CPU).do_step
    assert (step.pack, step.g_objective) == (1, Adversarial(BCE()))


# --- packing ----------------------------------------------------------------------------------------


def test_packing_joins_images_along_channels() -> None:
    x = torch.arange(4 * 2 * 3 * 3).view(4, 2, 3, 3)
    packed = pack(x, 2)
    assert packed.shape == (2, 4, 3, 3)
    assert torch.equal(packed[0], torch.cat([x[0], x[1]])) and torch.equal(packed[1], torch.cat([x[2], x[3]]))
    assert pack(x, 1) is x


@pytest.mark.parametrize("model", ["mlp", "dcgan"])
@pytest.mark.parametrize("count", [2, 4])
def test_the_discriminator_of_packs_has_their_channels(
    model: str, count: int, configure: Any, digits: Dataset
) -> None:
    config = configure("loss=wgan_gp", f"model={model}", f"remedy.pack={count}", "train.batch_size=8")
    training = Training(config, digits, CPU)
    seen: list[torch.Size] = []
    training.gan.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    training.advance()
    assert {shape[1:] for shape in seen} == {(count, 28, 28)}
    assert seen[-1][0] == 8 // count and training.images == 5 * 8


REFUSED = {
    "model=cgan remedy.pack=2": "remedy.pack=2: .*unconditional model; model=cgan is conditional",
    "remedy.pack=3": "remedy.pack=3: train.batch_size has 4 images",
    # 1,297 digits leave a last batch of one.
    "remedy.pack=2 train.drop_last=false": "remedy.pack=2: the last partial batch .* has 1 images",
    "remedy.minibatch_std=true train.drop_last=false": "the last partial batch .*=1 leaves",
    "remedy.pack=0": "remedy.pack=0: must be an integer of at least 1",
    "remedy.unroll=2 loss=wgan_clip": "remedy.unroll=2: .* loss=wgan_clip constrains .* use remedy.unroll=0",
    "remedy.unroll=-1": "remedy.unroll=-1: must be an integer of at least 0",
    "remedy.unroll_lr=0": "remedy.unroll_lr=0.*: must be a positive",
    "remedy.ema_decay=1": r"remedy.ema_decay=1.0: must be null or lie in \[0, 1\)",
    "remedy.feature_matching=2.5": "remedy.feature_matching=2.5",
    "+remedy.packs=2": "remedy.packs: unknown key; did you mean remedy.pack",
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_what_cannot_work_is_refused(overrides: str, configure: Any) -> None:
    with pytest.raises(ConfigError, match=REFUSED[overrides]):
        check_recipe(configure(*overrides.split()))


ALONE = "has 2 images, with remedy.pack=2 one sample for the discriminator, which fails on one alone"


@pytest.mark.parametrize(
    "overrides, refused",
    [
        ("train.batch_size=2", f"train.batch_size {ALONE}.*; use a larger train.batch_size"),
        ("train.batch_size=4", None),
        ("train.batch_size=2 loss.critic_norm=layer", None),
        ("train.batch_size=2 model=dcgan", None),
    ],
)
def test_a_pack_alone_is_refused_where_batch_norm_fails_on_it(
    overrides: str, refused: str | None, configure: Any, digits: Dataset
) -> None:
    """A convolution's output still varies over its pixels: what is not refused trains."""
    config = configure("loss.critic_norm=batch", "remedy.pack=2", *overrides.split())
    if refused:
        with pytest.raises(ConfigError, match=refused):
            check_recipe(config)
        with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
            Training(config, digits, CPU).advance()
    else:
        check_recipe(config)
        training = Training(config, digits, CPU)
        training.advance()
        assert training._metrics.isfinite().all()


@pytest.mark.parametrize("pack, size, num_train", [(1, 4, 1297), (2, 6, 1298), (4, 8, 1300)])
def test_a_last_batch_of_one_sample_is_refused_too(
    pack: int, size: int, num_train: int, configure: Any
) -> None:
    given = ("loss.critic_norm=batch", f"remedy.pack={pack}", f"train.batch_size={size}")
    config = configure(*given, "train.drop_last=false", f"dataset.num_train={num_train}")
    with pytest.raises(
        ConfigError, match=f"last partial batch .* has {pack} images, with remedy.pack={pack}"
    ):
        check_recipe(config)
    check_recipe(configure(*given, f"dataset.num_train={num_train}"))
    more = configure(*given, "train.drop_last=false", f"dataset.num_train={num_train + pack}")
    check_recipe(more)


class Normed(nn.Module):
    """A generator whose batch norm sees one value a channel of each image."""

    def __init__(self, z_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(z_dim, 28**2), nn.BatchNorm1d(28**2), nn.Unflatten(1, (1, 28, 28))
        )

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return self.layers(z).tanh()


def test_a_latent_alone_is_refused_where_batch_norm_fails_on_it(configure: Any) -> None:
    config = configure("train.batch_size=8", "train.drop_last=false", "dataset.num_train=1297")
    z_dim = config["model"]["z_dim"]
    config["model"]["generator"] = {"_target_": f"{__name__}.Normed", "z_dim": z_dim}
    with pytest.raises(ConfigError, match="has 1 images, one sample for the generator, which fails on one"):
        check_recipe(config)
    config["train"]["drop_last"] = True
    check_recipe(config)


# --- minibatch standard deviation -------------------------------------------------------------------


def test_the_variation_of_a_batch_is_added_to_its_logits() -> None:
    plain = Linear(3)
    critic = MinibatchStd(copy.deepcopy(plain)).double()
    x = images()
    assert torch.equal(critic(x, LABELS), plain(x, LABELS)), "it starts as the plain discriminator"
    with torch.no_grad():
        critic.weight.fill_(2.0)
    flat = x.flatten(1)
    std = ((flat - flat.mean(0)).square().mean(0) + EPSILON).sqrt()
    expected = plain(x, LABELS) + 2.0 * std.mean()
    assert torch.allclose(critic(x, LABELS), expected, rtol=0, atol=1e-12)


def test_a_collapsed_batch_has_a_finite_gradient() -> None:
    critic = MinibatchStd(Linear(3)).double()
    with torch.no_grad():
        critic.weight.fill_(1.0)
    x = images(1).repeat(4, 1, 1, 1).requires_grad_()
    (grad,) = torch.autograd.grad(critic(x, LABELS).sum(), x)
    assert grad.isfinite().all()


@pytest.mark.parametrize("model", ["mlp", "dcgan", "cgan"])
def test_real_and_fake_batches_are_judged_apart(model: str, configure: Any, digits: Dataset) -> None:
    config = configure("loss=sn_hinge", f"model={model}", "remedy.minibatch_std=true")
    training = Training(config, digits, CPU)
    assert isinstance(training.gan.discriminator, MinibatchStd) and not training.do_step.one_pass
    for _ in range(2):
        training.advance()
    assert training.gan.discriminator.weight.item() != 0, "its weight is trained"


# --- the last layer ---------------------------------------------------------------------------------


class Backwards(nn.Module):
    """Registers its layers in the reverse of the order it calls them in, and calls one of them twice."""

    def __init__(self, channels: int, image_size: int) -> None:
        super().__init__()
        self.spare = nn.Linear(3, 3)
        self.head = nn.Linear(6, 1)
        self.middle = nn.Linear(6, 6)
        self.first = nn.Linear(channels * image_size**2, 6)
        self.unused = nn.Conv2d(1, 1, 1)

    def features(self, x: Tensor) -> Tensor:
        return self.middle(self.middle(self.first(x.flatten(1))).tanh()).tanh()

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.head(input=self.features(x))


class Layerless(nn.Module):
    """Has layers, but makes its logits without calling them."""

    def __init__(self, channels: int, image_size: int) -> None:
        super().__init__()
        self.layer = nn.Linear(channels * image_size**2, 1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.linear(x.flatten(1), self.layer.weight, self.layer.bias)


class Twice(nn.Module):
    """One layer for all: its last call makes the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.layer(self.layer(x.flatten(1)).tanh())[:, :1]


def test_the_features_are_what_enters_the_layer_that_makes_the_logits() -> None:
    critic, x = Backwards(1, 3), torch.randn(4, 1, 3, 3)
    tap = Tap(critic)
    critic(x, LABELS)
    assert torch.equal(tap.take(), critic.features(x))
    with pytest.raises(ValueError, match="no linear or convolutional layer was called"):
        Tap(critic).take()


def test_of_a_layer_called_twice_the_last_call_counts() -> None:
    critic, x = Twice(), torch.randn(4, 1, 1, 3)
    tap = Tap(critic)
    critic(x, LABELS)
    assert torch.equal(tap.take(), critic.layer(x.flatten(1)).tanh())


@pytest.mark.parametrize(
    "remedies", [(), ("minibatch_std",), ("unroll",), ("minibatch_std", "unroll")], ids=str
)
def test_features_are_matched_before_the_last_layer_called(remedies: tuple[str, ...]) -> None:
    """Under every wrapper, and against an unrolled critic, whose steps of size 0 change nothing."""
    plain, loss = Backwards(1, 3), BCE()
    critic = MinibatchStd(plain) if "minibatch_std" in remedies else plain
    objective: Any = FeatureMatching(critic)
    if "unroll" in remedies:
        objective = Unrolled(objective, critic, loss, 2, 0.0)
    real, fake = torch.randn(4, 1, 3, 3), torch.randn(4, 1, 3, 3)
    value = objective(critic, (real, LABELS), (fake, LABELS))
    gap = plain.features(real).mean(0) - plain.features(fake).mean(0)
    assert value.item() == pytest.approx(gap.square().sum().item(), rel=1e-5)


def with_discriminator(config: dict[str, Any], network: type[nn.Module]) -> dict[str, Any]:
    """The recipe with another discriminator, as a user's own model gives it."""
    node = {
        "_target_": f"{__name__}.{network.__name__}", "channels": config["remedy"]["pack"], "image_size": 28,
    }  # fmt: skip
    return {**config, "model": {**config["model"], "discriminator": node}}


@pytest.mark.parametrize("remedy", ["minibatch_std", "feature_matching"])
def test_it_needs_a_last_layer(remedy: str, configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before any data is loaded."""
    monkeypatch.setattr("ganbench.session.build_dataset", lambda settings: pytest.fail("loaded the data"))
    config = configure(f"remedy.{remedy}=true")
    check_recipe(with_discriminator(config, Backwards))
    with pytest.raises(
        ConfigError, match=f"remedy.{remedy}=true: needs .* last layer, but no linear or conv"
    ):
        train_run(with_discriminator(config, Layerless))
    check_recipe(with_discriminator(configure(), Layerless))


# --- feature matching -------------------------------------------------------------------------------


def test_feature_matching_is_the_distance_of_mean_features() -> None:
    """The features of a linear critic are the pixels, so the gradient is 2/B (mean fake - mean real)."""
    critic = Linear(3)
    objective = FeatureMatching(critic)
    real, fake = images(seed=1), images(seed=2).requires_grad_()
    value = objective(critic, (real, LABELS), (fake, LABELS))
    gap = fake.detach().mean(0) - real.mean(0)
    assert value.item() == pytest.approx(gap.square().sum().item(), abs=1e-6)
    (grad,) = torch.autograd.grad(value, fake)
    assert torch.allclose(grad, (2 / 4 * gap).expand(4, 1, 1, 3), rtol=0, atol=1e-6)


# --- unrolling --------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 3])
def test_unrolling_follows_the_discriminators_answer(steps: int) -> None:
    """Wasserstein and D = <w, x>: after k steps w_k = w + kη(r̄ - f̄), so -w_k·f̄ has the gradient
    -(w + kη r̄ - 2kη f̄)/B in each fake: the last term is D's answer to the fake, of second order."""
    critic, eta = Linear(3), 0.1
    w = critic.head.weight.detach().clone()
    objective = Unrolled(Adversarial(Wasserstein()), critic, Wasserstein(), steps, eta)
    real, fake = images(seed=1), images(seed=2).requires_grad_()
    value = objective(critic, (real, LABELS), (fake, LABELS))
    r, f, k = real.mean(0).flatten(), fake.detach().mean(0).flatten(), steps * eta
    assert value.item() == pytest.approx(-((w[0] + k * (r - f)) @ f).item(), abs=1e-6)
    (grad,) = torch.autograd.grad(value, fake)
    expected = -(w[0] + k * r - 2 * k * f) / 4
    assert torch.allclose(grad, expected.expand(4, 1, 1, 3), rtol=0, atol=1e-6)
    assert torch.equal(critic.head.weight, w), "the discriminator itself stays"


def test_features_to_match_are_those_of_a_critic_that_answers() -> None:
    """Against a central difference: after unrolled steps the features of real images depend on the fakes."""
    torch.manual_seed(0)
    critic = Hidden(3)
    objective = Unrolled(FeatureMatching(critic, unrolled=True), critic, BCE(), steps=3, lr=0.5)
    real, fake, way = images(seed=1), images(seed=2).requires_grad_(), images(seed=3)
    (grad,) = torch.autograd.grad(objective(critic, (real, LABELS), (fake, LABELS)), fake)

    def at(t: float) -> float:
        return objective(critic, (real, LABELS), (fake.detach() + t * way, LABELS)).item()

    assert (grad * way).sum().item() == pytest.approx((at(1e-2) - at(-1e-2)) / 2e-2, rel=5e-3)


@pytest.mark.parametrize("loss", [BCE(), Hinge(), WassersteinGP()], ids=repr)
def test_unrolled_steps_descend_the_discriminators_own_loss(loss: Loss) -> None:
    """One step against the same written out with autograd on a copy, the penalty included."""
    critic = Linear(3)
    real, fake = images(seed=1), images(seed=2)
    torch.manual_seed(5)
    value = Unrolled(Adversarial(loss), critic, loss, 1, 0.3)(critic, (real, LABELS), (fake, LABELS))
    ahead = copy.deepcopy(critic)
    torch.manual_seed(5)
    d_loss = loss.d_loss(ahead(real, LABELS).float(), ahead(fake, LABELS).float())
    penalty = loss.penalty(lambda x: ahead(x, LABELS), real, fake)
    (grad,) = torch.autograd.grad(d_loss if penalty is None else d_loss + penalty, [ahead.head.weight])
    with torch.no_grad():
        ahead.head.weight -= 0.3 * grad
        expected = loss.g_loss(ahead(fake, LABELS).float())
    assert value.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("norm", ["batch", "spectral"])
def test_unrolling_leaves_the_buffers_as_they_are(norm: str) -> None:
    """Batch norm's statistics and spectral norm's vectors; without unrolling, a forward pass moves them."""
    torch.manual_seed(0)
    critic = Discriminator(channels=1, image_size=3, widths=(4, 4), norm=norm)
    real, fake = torch.randn(4, 1, 3, 3), torch.randn(4, 1, 3, 3)
    before = {name: value.clone() for name, value in critic.state_dict().items()}
    Unrolled(Adversarial(BCE()), critic, BCE(), 2, 0.1)(critic, (real, LABELS), (fake, LABELS))
    after = critic.state_dict()
    assert before.keys() == after.keys() and len(before) > len(list(critic.parameters()))
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    critic(fake, LABELS)
    assert not all(torch.equal(value, critic.state_dict()[name]) for name, value in before.items())


def test_unrolled_steps_go_on_in_copies_of_the_buffers() -> None:
    """Two steps under spectral norm, whose vectors move with every pass, against the same on a copy."""
    torch.manual_seed(0)
    critic = Discriminator(channels=1, image_size=3, widths=(4,), norm="spectral").double()
    real, fake, loss = images(size=9, seed=1), images(size=9, seed=2), BCE()
    ahead = copy.deepcopy(critic)
    value = Unrolled(Adversarial(loss), critic, loss, 2, 0.3)(critic, (real, LABELS), (fake, LABELS))
    for _ in range(2):
        d_loss = loss.d_loss(ahead(real, LABELS).float(), ahead(fake, LABELS).float())
        grads = torch.autograd.grad(d_loss, list(ahead.parameters()))
        with torch.no_grad():
            for parameter, grad in zip(ahead.parameters(), grads, strict=True):
                parameter -= 0.3 * grad
    assert value.item() == pytest.approx(loss.g_loss(ahead(fake, LABELS).float()).item(), abs=1e-6)


# --- the average ------------------------------------------------------------------------------------


def test_the_average_follows_the_weights() -> None:
    """After n steps from w0: decay^n w0 + (1 - decay) Σ decay^(n-i) w_i; buffers are copies."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    average = averaged(network, optimizer, 0.8)
    expected = [p.detach().clone() for p in network.parameters()]
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.randn(5, 2)).square().sum().backward()
        optimizer.step()
        expected = [0.8 * e + 0.2 * p.detach() for e, p in zip(expected, network.parameters(), strict=True)]
    for found, wanted in zip(average.parameters(), expected, strict=True):
        assert torch.allclose(found, wanted, rtol=0, atol=1e-6) and not found.requires_grad
    assert torch.equal(average[1].running_mean, network[1].running_mean)
    assert average[1].num_batches_tracked == 3 and not average.training


def test_the_average_is_scored_sampled_and_exported(configure: Any, digits: Dataset) -> None:
    small = ("eval.enabled=true", "eval.num_samples=40", "eval.kid_subset_size=10", "eval.kid_subsets=2")
    config = configure("remedy.ema_decay=0.9", *SHORT, *NARROW, *small, "eval.per_class=4")
    path = train_run(config).path
    scores = {score["weights"]: score["values"]["fid"] for score in read_run(path).scores}
    assert scores.keys() == {"last", "ema"} and scores["last"] != scores["ema"]
    last, ema = (load_generator(path, weights).network.state_dict() for weights in ("last", "ema"))
    assert last.keys() == ema.keys() and not torch.equal(last["layers.0.weight"], ema["layers.0.weight"])
    exported = path / runs.GENERATOR["ema"]
    exact = exported.read_bytes()
    exported.unlink()
    from_checkpoint = load_generator(path, "ema").network.state_dict()
    assert all(torch.equal(from_checkpoint[key], value) for key, value in ema.items())
    exported.write_bytes(exact)


def test_a_run_without_an_average_says_so(configure: Any) -> None:
    path = train_run(configure(*NARROW)).path
    with pytest.raises(RunError, match=r"no average of its weights.*remedy.ema_decay"):
        load_generator(path, "ema")


# --- in training ------------------------------------------------------------------------------------


def state(path: Path) -> dict[str, Tensor]:
    files = [path / name for name in runs.GENERATOR.values() if (path / name).exists()]
    return {f"{file.name}:{k}": v for file in files for k, v in safetensors.torch.load_file(file).items()}


@dataclass
class PowerCut(BaseException):
    """What no handler catches."""


@pytest.mark.parametrize("remedy", [*REMEDIES, "all"])
def test_a_killed_run_goes_on_bit_for_bit(
    remedy: str, configure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = REMEDIES.get(remedy, ALL)
    config = configure("loss=bce", *SHORT, *NARROW, *overrides)
    whole = train_run({**config, "output_root": str(tmp_path / "whole")})
    assert (whole.status, whole.reason) == (runs.COMPLETED, None)
    original = Training.advance

    def advance(self: Training) -> None:
        if self.step == 3:
            raise PowerCut
        original(self)

    cut = {**config, "output_root": str(tmp_path / "cut")}
    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(Training, "advance", advance)
        train_run(cut)
    resumed = train_run(cut)
    assert read_run(resumed.path).info["resumed"] == 1
    before, after = state(whole.path), state(resumed.path)
    assert before.keys() == after.keys() and any("ema" in key for key in before) == (remedy in ("ema", "all"))
    assert all(torch.equal(value, after[key]) for key, value in before.items())


@pytest.mark.parametrize("loss", ["bce", "wgan_gp", "sn_hinge"])
@pytest.mark.parametrize("model", ["mlp", "dcgan"])
def test_all_together_train_and_wait_for_nothing(
    loss: str, model: str, configure: Any, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(configure(f"loss={loss}", f"model={model}", *ALL), digits, CPU)
    training.do_step()

    def forbidden(*arguments: Any, **keywords: Any) -> None:
        raise AssertionError("the step waits for the device")

    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__"):
        monkeypatch.setattr(Tensor, name, forbidden)
    metrics = training.do_step()
    monkeypatch.undo()
    assert metrics.isfinite().all()


@pytest.mark.parametrize("remedy", ["minibatch_std", "feature_matching", "unroll"])
def test_conditional_models_take_them_too(remedy: str, configure: Any, digits: Dataset) -> None:
    training = Training(configure("loss=hinge", "model=cgan", *REMEDIES[remedy]), digits, CPU)
    training.advance()
    assert training._metrics.isfinite().all()
