"""What names a run is its content: nothing else makes another run, and no content is left out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import reduce
from typing import Any

import pytest

from ganbench.config import Config, compose, identity, run_name, validate
from ganbench.identity import HOUSEKEEPING
from ganbench.schema import later_keys


@pytest.mark.parametrize(
    "key, value",
    [
        ("force", True),
        ("output_root", "elsewhere"),
        ("dataset.root", "/data"),
        ("train.checkpoint_every", 7),
        ("train.stop_on", ["collapse"]),
        ("eval.inception_weights", "weights.pth"),
    ],
)
def test_housekeeping_does_not_make_another_run(
    base: Config, key: str, value: Any, changed: Callable[[str, Any], Config]
) -> None:
    assert key in HOUSEKEEPING
    assert identity(changed(key, value)) == identity(base)


def leaves(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return [prefix[:-1]]
    return [leaf for key, value in node.items() for leaf in leaves(value, f"{prefix}{key}.")]


def test_every_other_key_makes_another_run(base: Config, changed: Callable[[str, Any], Config]) -> None:
    keys = [key for key in leaves(base) if key not in HOUSEKEEPING]
    hashes = {identity(changed(key, "changed")) for key in keys}
    assert len(keys) > 50 and len(hashes) == len(keys) and identity(base) not in hashes


def test_numbers_count_by_value_not_by_spelling(base: Config, changed: Callable[[str, Any], Config]) -> None:
    same = {identity(changed("loss.gp_weight", value)) for value in (10, 10.0)}
    assert same == {identity(base)}
    spelt = {identity(compose([f"loss.optimizer.lr={text}"])) for text in ("2e-4", "0.0002", "2.0E-4")}
    assert len(spelt) == 1
    assert identity(changed("seed", True)) != identity(changed("seed", 1))


def test_a_later_key_at_its_default_leaves_older_runs_their_names(base: Config) -> None:
    """And a configuration from before the key means its default."""
    later = later_keys()
    assert {"loss.reuse_fakes": False, "loss.d_loss_weight": 1.0}.items() <= later.items()
    older = copy.deepcopy(base)
    for key in later:
        *groups, last = key.split(".")
        reduce(dict.__getitem__, groups, older).pop(last)
    assert older != base and identity(older) == identity(base)
    assert validate(copy.deepcopy(older)) == base


def test_order_of_keys_does_not_matter(base: Config) -> None:
    assert identity(dict(reversed(base.items()))) == identity(base)


def test_identity_is_stable() -> None:
    """A change of this value makes every user's finished runs train anew: never without a reason."""
    config = {"seed": 1, "force": True, "train": {"steps": 10.0, "checkpoint_every": 5}, "x": [1e-4, "é"]}
    # sha256 of {"seed":1,"train":{"steps":10},"x":[0.0001,"\u00e9"]}
    assert identity(config) == "16c5f99539b9fd19964ef905086efbfba7ff85cf54607b634fca56044f332451"


def test_run_name(base: Config) -> None:
    assert run_name(base) == f"digits/cgan/wgan_gp/s3-{identity(base)[:8]}"
