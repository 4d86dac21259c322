"""How long a run is, whichever way its budget was given."""

from __future__ import annotations

import math
from fractions import Fraction

from ganbench.config import Config
from ganbench.data import Batches


def count_steps(config: Config, batches: Batches) -> int:
    """Generator updates in the budget, whichever way it was given, rounded up.

    An epoch is one pass of the sampler over the training images; a step draws ``n_critic`` batches,
    or one where ``same_batch`` is set, and shows all of them.
    """
    train, loss = config["train"], config["loss"]
    if train["steps"] is not None:
        return int(train["steps"])
    drawn, shown = (1, loss["n_critic"]) if loss["same_batch"] else (loss["n_critic"], 1)
    per_epoch = batches.batches_per_epoch
    if train["epochs"] is not None:
        # As it was written: 0.07 · 600 is 42, and a little more in floating point.
        return math.ceil(Fraction(str(train["epochs"])) * per_epoch / drawn)
    size = train["batch_size"]
    images_per_epoch = per_epoch * size if train["drop_last"] else len(batches.images)
    epochs, rest = divmod(math.ceil(train["images"] / shown), images_per_epoch)
    return math.ceil((epochs * per_epoch + math.ceil(rest / size)) / drawn)
