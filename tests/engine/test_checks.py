"""A recipe's parts are held to their contracts before anything slow happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from ganbench.engine.checks import check_loss, check_networks, check_recipe
from ganbench.engine.clock import Clock
from ganbench.errors import ConfigError
from ganbench.losses import Critic, Hinge

CPU = torch.device("cpu")

# --- losses held to their contract -------------------------------------------------------------------


class MyError(Exception):
    """What somebody's own library raises."""


def fail_in_my_way() -> None:
    raise MyError("of mine")


class Mistaken(Hinge):
    """A loss whose generator's half is what `made` makes of the logits."""

    made: ClassVar[Callable[[Tensor], Any]]

    def g_loss(self, fake_logits: Tensor) -> Tensor:
        return type(self).made(fake_logits)


@pytest.mark.parametrize(
    "made, said",
    [
        (lambda logits: -logits, r"must give a tensor .* gives shape \(2, 1\); end it with .mean"),
        (lambda logits: -logits.mean().item(), "must give a tensor .* gives float; .* leave .item"),
        (lambda logits: torch.zeros(()), "must depend on the logits"),
        (lambda logits: -logits.detach().mean(), "must depend on the logits"),
        (lambda logits: logits.men(), r"fails on logits of shape \(2, 1\) \(AttributeError"),
        (lambda logits: -logits.flatten().topk(3).values.mean(), "fails .* larger train.batch_size"),
        (lambda logits: fail_in_my_way(), r"fails on logits of shape \(2, 1\) \(MyError: of mine"),
    ],
)
def test_a_mistaken_loss_is_named(
    made: Callable[[Tensor], Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mistaken, "made", staticmethod(made), raising=False)
    with pytest.raises(ConfigError, match=rf"loss\._target_=.*Mistaken: g_loss {said}"):
        check_loss(Mistaken())


@pytest.mark.parametrize(
    "made", [lambda logits: -logits.flatten().topk(3).values.mean(), lambda logits: -(logits @ logits)]
)
def test_a_loss_may_ask_for_more_logits_or_flat_ones(
    made: Callable[[Tensor], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mistaken, "made", staticmethod(made), raising=False)
    check_loss(Mistaken(), 3)


def test_what_is_no_loss_is_named() -> None:
    with pytest.raises(ConfigError, match=r"loss\._target_=.*Clock: is no strategy; derive it from ganbench"):
        check_loss(Clock(CPU))  # type: ignore[arg-type]


# --- networks held to theirs -------------------------------------------------------------------------


class Forgetful(nn.Module):
    """A network that makes the mistake it is told to."""

    def __init__(self, mistake: str) -> None:
        if mistake != "super":
            super().__init__()
        self.layer = nn.Linear(1, 1)
        self.mistake = mistake

    def forward(self, x: Tensor, labels: Tensor) -> Any:
        if self.mistake == "tuple":
            return self.layer(x.mean((1, 2, 3))[:, None]), labels
        if self.mistake == "mine":
            fail_in_my_way()
        if self.mistake == "logits":
            return self.layer(x.mean((1, 2, 3))[:, None]).expand(-1, 3)
        return self.layers(x)


@pytest.mark.parametrize(
    "mistake, said",
    [
        ("super", "cannot be built from mistake=super .*Module.__init__"),
        ("misspelt", "fails on a batch of shape .* no attribute 'layers'"),
        ("tuple", "must return a tensor, returns tuple"),
        ("mine", "fails on a batch of shape .* MyError: of mine"),
        ("logits", r"must give one logit an image, gives \(3,\)"),
    ],
)
def test_a_mistaken_network_is_named(mistake: str, said: str, configure: Any) -> None:
    target = f"{__name__}.Forgetful"
    config = configure()
    config["model"]["discriminator"] = {"_target_": target, "mistake": mistake}
    with pytest.raises(ConfigError, match=f"model.discriminator: .*{said}"):
        check_networks(config, Hinge())


class Odd(nn.Module):
    """A linear network that is odd in the way it is told to be."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.layer = nn.LazyLinear(1) if kind == "lazy" else nn.Linear(784, 1)
        if kind == "fixed":
            self.requires_grad_(False)
        if kind == "file":
            open("/nowhere/weights.pt")  # noqa: SIM115
        if kind == "mine":
            fail_in_my_way()

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.layer(x.flatten(1))


@pytest.mark.parametrize(
    "kind, said",
    [
        ("lazy", "layer.weight has no shape yet; give the sizes of its layer"),
        ("fixed", "has no parameter to train"),
        ("file", "cannot be built from kind=file .*No such file"),
        ("mine", "cannot be built from kind=mine .*MyError: of mine"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused(kind: str, said: str, configure: Any) -> None:
    config = configure()
    config["model"]["discriminator"] = {"_target_": f"{__name__}.Odd", "kind": kind}
    with pytest.raises(ConfigError, match=f"model.discriminator: .*{said}"):
        check_networks(config, Hinge())


@pytest.mark.parametrize("part", ["generator", "discriminator"])
def test_a_network_must_know_the_last_class_too(part: str, configure: Any) -> None:
    config = configure("model=cgan", f"model.{part}.num_classes=5")
    with pytest.raises(ConfigError, match=rf"model.{part}: .* \[0, 9\]: IndexError: index out of range"):
        check_recipe(config)


class Detached(nn.Module):
    """A network whose output no parameter has a part in."""

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        self.shape = shape
        self.layer = nn.Linear(1, 1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.layer(x.new_zeros(1, 1)).detach().sum() + x.new_zeros(len(x), *self.shape)


@pytest.mark.parametrize("part, shape", [("generator", [1, 28, 28]), ("discriminator", [1])])
def test_a_network_without_a_gradient_is_refused(part: str, shape: list[int], configure: Any) -> None:
    config = configure()
    config["model"][part] = {"_target_": f"{__name__}.Detached", "shape": shape}
    with pytest.raises(ConfigError, match=rf"model.{part}: .*depends on none of its parameters"):
        check_networks(config, Hinge())


def test_what_is_no_module_is_refused(configure: Any) -> None:
    config = configure()
    config["model"]["discriminator"] = {"_target_": "builtins.dict"}
    with pytest.raises(ConfigError, match=r"builtins.dict must give a torch.nn.Module, gives dict"):
        check_networks(config, Hinge())


@pytest.mark.parametrize("loss", ["bce", "lsgan", "wgan_clip", "wgan_gp", "sn_hinge"])
@pytest.mark.parametrize("model", ["mlp", "dcgan", "cgan"])
def test_normalisations_of_what_is_shipped_are_found(
    loss: str, model: str, configure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    check_recipe(configure(f"loss={loss}", f"model={model}"))
    assert "no effect" not in caplog.text


@pytest.mark.parametrize(
    "norm, own, said",
    [
        ("spectral", "none", "no norm that is known"),
        ("none", "layer", "layer norm"),
        ("layer", "spectral", "spectral norm"),
    ],
)
def test_a_normalisation_that_a_model_does_not_take_is_told(
    norm: str, own: str, said: str, configure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Else loss=sn_hinge of a model whose YAML does not hand the norm on is loss=hinge without a word."""
    check_recipe(configure(f"loss.critic_norm={norm}", f"model.discriminator.norm={own}"))
    assert f"loss.critic_norm={norm}: has no effect, as model.discriminator has {said};" in caplog.text


@pytest.mark.parametrize(
    "model, conditional, said",
    [
        ("mlp", True, "model.conditional=true: model.generator makes the same images of classes 0 and 9"),
        ("cgan", False, "model.conditional=false: model.generator makes other images of class 9 than of 0"),
        ("mlp", False, None),
        ("cgan", True, None),
    ],
)
def test_a_generator_that_is_not_as_conditional_as_said_is_told(
    model: str, conditional: bool, said: str | None, configure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    check_recipe(configure(f"model={model}", f"model.conditional={conditional}"))
    if said:
        assert said in caplog.text
    else:
        assert "model.conditional" not in caplog.text


class Wayward(nn.Module):
    """A generator that ignores its labels, with something that makes its images differ all the same."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.layer = nn.Linear(100, 784)
        if kind == "spectral":
            nn.utils.parametrizations.spectral_norm(self.layer)
        if kind == "batch":
            self.layer = nn.Sequential(self.layer, nn.BatchNorm1d(784))
        self.own = torch.Generator().manual_seed(0)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        if self.kind == "fails" and len(labels.unique()) == 1:
            fail_in_my_way()
        images = self.layer(z).view(-1, 1, 28, 28)
        if self.kind == "noise":
            images = images + torch.randn_like(images)
        if self.kind == "own noise":
            images = images + torch.randn(images.shape, generator=self.own)
        return images * torch.nan if self.kind == "nan" else images


@pytest.mark.parametrize("kind", ["spectral", "batch", "noise", "own noise", "nan", "fails"])
def test_nothing_is_told_of_a_generator_that_only_seems_conditional(
    kind: str, configure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    config = configure()
    config["model"]["generator"] = {"_target_": f"{__name__}.Wayward", "kind": kind}
    check_networks(config, Hinge())
    assert "model.conditional" not in caplog.text


def test_one_class_needs_no_condition(configure: Any, caplog: pytest.LogCaptureFixture) -> None:
    check_networks(configure("model=mlp", "model.conditional=true", "dataset.num_classes=1"), Hinge())
    assert "model.conditional" not in caplog.text


def test_batch_norm_of_ones_own_is_named_where_it_is(configure: Any) -> None:
    config = configure("loss=wgan_gp")
    config["model"]["discriminator"] = {"_target_": f"{__name__}.Normed"}
    with pytest.raises(ConfigError, match=r"model.discriminator: has batch norm, and wgan_gp .*take it out"):
        check_recipe(config)


class Normed(nn.Module):
    """A critic with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.layers(x)


class Remembering(nn.Linear):
    """A generator with a state that is no tensor."""

    def __init__(self) -> None:
        super().__init__(100, 784)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(z).tanh().view(-1, 1, 28, 28)

    def get_extra_state(self) -> dict[str, int]:
        return {"seen": 1}

    def set_extra_state(self, state: Any) -> None:
        pass


def test_a_state_that_no_file_holds_is_refused(configure: Any) -> None:
    config = configure()
    config["model"]["generator"] = {"_target_": f"{__name__}.Remembering"}
    with pytest.raises(ConfigError, match=r"its state _extra_state is of type dict.*make it a buffer"):
        check_networks(config, Hinge())


class Penalised(Hinge):
    """A loss with a penalty that is what `made` makes of a batch."""

    made: ClassVar[Callable[[Critic, Tensor], Any]]

    def penalty(self, critic: Critic, real: Tensor, fake: Tensor) -> Any:
        return type(self).made(critic, real)


@pytest.mark.parametrize(
    "made, said",
    [
        (lambda critic, real: critic(real).square(), r"penalty must give .* gives shape \(2, 1\)"),
        (lambda critic, real: critic(real).mean()[None], r"penalty must give .* gives shape \(1,\)"),
        (lambda critic, real: 0.0, "penalty must give .* gives float"),
        (lambda critic, real: critic(real).men(), r"penalty fails on a batch of 4 \(AttributeError"),
        (lambda critic, real: critic(real)[:5].view(5).mean(), "penalty fails .* larger train.batch_size"),
        (lambda critic, real: fail_in_my_way(), "penalty fails .*MyError: of mine"),
    ],
)
def test_a_mistaken_penalty_is_named(
    made: Callable[[Critic, Tensor], Any], said: str, configure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Penalised, "made", staticmethod(made), raising=False)
    with pytest.raises(ConfigError, match=rf"loss\._target_=.*Penalised: {said}"):
        check_networks(configure(), Penalised())


def test_a_penalty_may_ask_for_more_samples(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def spread(critic: Critic, real: Tensor) -> Tensor:
        return critic(real).view(-1, 4).std(1).mean()

    monkeypatch.setattr(Penalised, "made", staticmethod(spread), raising=False)
    check_networks(configure("train.batch_size=8"), Penalised())


def test_a_loss_that_cannot_be_built_is_named(configure: Any) -> None:
    config = configure()
    recipe = {key: value for key, value in config["loss"].items() if not key.endswith("_label")}
    config["loss"] = {**recipe, "_target_": f"{__name__}.Broken"}
    with pytest.raises(ConfigError, match=r"loss\._target_=.*Broken: fails when it is built .AssertionE"):
        check_recipe(config)


class Broken(Hinge):
    """A loss that refuses itself."""

    def __init__(self) -> None:
        raise AssertionError("not today")


# --- optimisers ---------------------------------------------------------------------------------------


class Faulty(torch.optim.SGD):
    """An optimiser that fails where it is told to, as somebody's own may."""

    def __init__(self, params: Any, lr: float, where: str) -> None:
        self.where = where
        if where == "built":
            fail_in_my_way()
        super().__init__(params, lr)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        fail_in_my_way()


@pytest.mark.parametrize(
    "where, said",
    [("built", "refuses its values: MyError: of mine"), ("step", r"take a plain step \(MyError: of mine")],
)
def test_a_mistaken_optimizer_is_named(where: str, said: str, configure: Any) -> None:
    config = configure()
    config["loss"]["optimizer"] = {"_target_": f"{__name__}.Faulty", "lr": 0.1, "where": where}
    with pytest.raises(ConfigError, match=f"loss.optimizer: .*Faulty .*{said}"):
        check_recipe(config)
