"""Where a run's figures go besides its own files: nowhere, or into TensorBoard's event files."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ganbench.errors import ConfigError


class Logger:
    """Keeps nothing: history.csv, samples and scores.json are written in any case."""

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Numbers by name."""

    def image(self, name: str, sheet: Tensor, step: int) -> None:
        """A picture uint8 C×H×W."""

    def text(self, name: str, text: str, step: int) -> None:
        """Preformatted text."""

    def flush(self) -> None:
        """Have everything on the disk before a checkpoint is: a run resumed from it finds it there."""

    def close(self) -> None:
        """Nothing comes any more."""


class TensorBoard(Logger):
    """Event files for `tensorboard --logdir`; of a resumed run they go on after `step`."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What an interrupted attempt wrote about later steps is written again.
        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else 0)

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """One chart each, named ``group/name``."""
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, step)

    def image(self, name: str, sheet: Tensor, step: int) -> None:
        """A picture under ``samples/name``."""
        self._writer.add_image(f"samples/{name}", sheet, step)

    def text(self, name: str, text: str, step: int) -> None:
        """Shown as a block of code."""
        self._writer.add_text(name, "\n".join(f"    {line}" for line in text.splitlines()), step)

    def flush(self) -> None:
        """Write what is queued."""
        self._writer.flush()

    def close(self) -> None:
        """Write what is queued and close the file."""
        self._writer.close()


def require_logger(name: str) -> None:
    """Import what a logger needs.

    Raises:
        ConfigError: its package is not installed.
    """
    if name != "tensorboard":
        return
    try:
        importlib.import_module("tensorboard")
    except ImportError as error:
        raise ConfigError(
            f"logger=tensorboard: cannot import tensorboard ({error}); install it with "
            "`pip install 'ganbench[tensorboard]'`, or leave logger=csv"
        ) from error


def open_logger(name: str, folder: Path, step: int) -> Logger:
    """The logger called `name`, writing below the run directory `folder` from `step` on."""
    return TensorBoard(folder / "tensorboard", step) if name == "tensorboard" else Logger()
