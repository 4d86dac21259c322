"""A configuration to change, and what a refusal says."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from ganbench.config import Config, compose
from ganbench.errors import ConfigError


@pytest.fixture(scope="session")
def base() -> Config:
    return compose(["dataset=digits", "loss=wgan_gp", "model=cgan", "seed=3"])


@pytest.fixture
def changed(base: Config) -> Callable[[str, Any], Config]:
    """A function from a dotted key and a value to a copy of `base` with that value."""

    def change(key: str, value: Any) -> Config:
        config = copy.deepcopy(base)
        *parents, last = key.split(".")
        node = config
        for parent in parents:
            node = node[parent]
        node[last] = value
        return config

    return change


@pytest.fixture
def message_of() -> Callable[[Callable[[], Any]], str]:
    """A function that calls another one and returns the line with which it is refused."""

    def message(function: Callable[[], Any]) -> str:
        with pytest.raises(ConfigError) as caught:
            function()
        text = str(caught.value)
        assert "\n" not in text
        return text

    return message
