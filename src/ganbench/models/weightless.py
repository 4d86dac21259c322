"""Networks that have the shapes of their weights and no memory for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

INITIALISERS = (Tensor.normal_, Tensor.uniform_, Tensor.copy_)


@contextmanager
def without_weights() -> Iterator[None]:
    """A block in which modules are built on the meta device.

    Nothing is drawn for it or copied to it: torch would import its compiler for some of that, which takes
    seconds.
    """
    with torch.device("meta"), _Uninitialised():
        yield


class _Uninitialised(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func in INITIALISERS or getattr(func, "__module__", None) == "torch.nn.init":
            target = named["tensor"] if "tensor" in named else args[0]
            if target.is_meta:
                return target
        return func(*args, **named)
