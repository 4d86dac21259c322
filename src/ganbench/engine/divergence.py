"""When a training has left the numbers: first seen where, and the last values before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ganbench.runs import METRICS


class DivergedError(Exception):
    """A loss, gradient or weight is no finite number, first seen after `step`."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"step {step}: {what}")
        self.step = step


def require_finite(
    rows: Tensor, step: int, weights: Iterable[Tensor], logged: Sequence[float] | None
) -> None:
    """Hold metrics and weights to be numbers.

    `rows` are the metrics of the last steps up to `step`, a row each in the order of `METRICS`; `logged` is
    the newest row of the history, which ends before them.

    Raises:
        DivergedError: one is not, with the last values that were.
    """
    bad = (~rows.isfinite()).any(dim=1).nonzero().flatten().tolist()
    if bad:
        index = bad[0]
        names = [name for name, value in zip(METRICS, rows[index], strict=True) if not value.isfinite()]
        first = step - len(rows) + 1
        raise DivergedError(
            first + index, f"{', '.join(names)} not finite; {_last_finite(rows, index, step, logged)}"
        )
    if not torch.nn.utils.get_total_norm([weight.detach() for weight in weights]).isfinite():
        raise DivergedError(step, f"a weight is not finite; {_last_finite(rows, len(rows), step, logged)}")


def _last_finite(rows: Tensor, index: int, step: int, logged: Sequence[float] | None) -> str:
    """The values before row `index`, in words."""
    if index:
        values, at = rows[index - 1].tolist(), step - len(rows) + index
    elif logged:
        values, at = list(logged[3 : 3 + len(METRICS)]), int(logged[0])
    else:
        return "no finite values before it"
    shown = ", ".join(f"{name}={value:.6g}" for name, value in zip(METRICS, values, strict=True))
    return f"last finite values (step {at}): {shown}"
