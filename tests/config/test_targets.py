"""Targets: called with the rest of their node, and trusted only where they are our own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from ganbench.config import Config, instantiate, require_trusted
from ganbench.config.targets import check_targets


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "ganbench.losses.torch.save",
        "ganbench.losses.dataclass",
        "ganbench.data.Path",
        "ganbench.data.os.system",
        "ganbench.runs.atomic_write_text",
        "torch.optim.lr_scheduler.StepLR",
        "torch.load",
        "builtins.eval",
        "ganbench.models.cgan.first_and_last",
    ],
)
def test_untrusted_targets_are_refused_anywhere(
    target: str, base: Config, changed: Callable[[str, Any], Config], message_of: Callable[..., str]
) -> None:
    require_trusted(base)
    for key in ("loss._target_", "model.generator._target_", "loss.optimizer._target_"):
        assert "pass --trust" in message_of(lambda key=key: require_trusted(changed(key, target)))
    assert target in message_of(lambda: require_trusted([{"deep": [{"_target_": target}]}]))


def source(root: Any, end: str = "") -> None:
    """A source of data with a parameter of its own."""


def test_a_callable_without_a_name_is_told_by_its_type(
    base: Config, changed: Callable[[str, Any], Config], message_of: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("ganbench.data.digits_dataset", partial(source, end=""))
    config = changed("dataset.source", {"_target_": "ganbench.data.digits_dataset", "ende": ""})
    assert "dataset.source.ende: unknown key for partial" in message_of(lambda: check_targets(config))


def test_instantiate_calls_the_target_with_the_rest(message_of: Callable[..., str]) -> None:
    assert instantiate({"_target_": "fractions.Fraction", "numerator": 3}, denominator=4) == 0.75
    assert "must name a class or function" in message_of(lambda: instantiate({"_target_": "sys.path"}))
