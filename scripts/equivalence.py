"""Do the fast ways train as the plain one does? Ten steps of each, side by side.

    python scripts/equivalence.py
    python scripts/equivalence.py --device cuda    # there a step is a CUDA graph, too

The plain way: float32, eager, the discriminator sees real and fake images in two passes. Against it: one pass
for both, and `compile=true`. Both start from the same weights and draw the same numbers; dropout is off, for
its masks depend on the size of a pass. Shown is the largest difference of a loss in ten steps, relative to
the largest loss; with the recipe's own optimiser, and with small steps of SGD: Adam makes a whole step of a
gradient that is zero but for rounding, as hinge's of some biases is under spectral norm. The yardstick is the
plain way from weights that are each the next larger float32: what a recipe makes of a rounding.
"""

from __future__ import annotations

import argparse
import sys

import torch
from torch import Tensor

from ganbench.config import compose
from ganbench.data import build_dataset
from ganbench.engine.device import set_up
from ganbench.engine.loop import Training
from ganbench.hardware import resolve_device
from ganbench.runs import METRICS

MLP = [("mlp", loss) for loss in ("bce", "lsgan", "hinge", "wgan_clip", "wgan_gp", "sn_hinge")]
CASES = [*MLP, ("dcgan", "bce"), ("cgan", "bce"), ("cgan", "wgan_gp")]
WAYS = ("next float", "one pass", "compile=true")
STEPS = 10
LOSSES = [METRICS.index("d_loss"), METRICS.index("g_loss")]


def train(case: tuple[str, str], device: torch.device, way: str, sgd: bool) -> Tensor | None:
    """Losses of ten steps, a row a step; None where batch norm allows no single pass."""
    model, loss = case
    still = [] if model == "mlp" else ["model.discriminator.dropout=0"]
    chosen = [way] if way == "compile=true" else []
    config = compose(
        ["dataset=digits", "train.batch_size=64", f"model={model}", f"loss={loss}", *still, *chosen]
    )
    training = Training(config, build_dataset(config["dataset"]), device)
    step = training.do_step
    if way == "one pass" and not step.one_pass:
        return None
    step.one_pass = way == "one pass"
    if sgd:
        gan = training.gan
        gan.d_opt = torch.optim.SGD(gan.discriminator.parameters(), lr=1e-3)
        gan.g_opt = torch.optim.SGD(gan.generator.parameters(), lr=1e-3)
    if way == "next float":
        with torch.no_grad():
            for weight in (*training.gan.generator.parameters(), *training.gan.discriminator.parameters()):
                weight.copy_(torch.nextafter(weight, torch.tensor(torch.inf, device=device)))
    training.warm_up()
    rows = torch.stack([step().clone() for _ in range(STEPS)])
    wanted = "graph" if device.type == "cuda" else "compiled"
    if way == "compile=true" and step.execution != wanted:
        sys.exit(f"compile=true: the steps were {step.execution}, so there is nothing to compare")
    return rows[:, LOSSES].double().cpu()


def difference(fast: Tensor | None, plain: Tensor | None) -> str:
    """The largest in ten steps, relative to the largest loss."""
    if fast is None or plain is None:
        return "–"
    return f"{float((fast - plain).abs().amax() / plain.abs().amax()):.1e}"


def main() -> None:
    """Print a row a case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    device = resolve_device(parser.parse_args().device)
    set_up(None, deterministic=False)
    print("| case | " + " | ".join(f"{way} | {way}, SGD" for way in WAYS) + " |")
    print("|---|" + "---|" * 2 * len(WAYS))
    for case in CASES:
        plain = [train(case, device, "plain", sgd) for sgd in (False, True)]
        tried = [(way, sgd) for way in WAYS for sgd in (False, True)]
        shown = [difference(train(case, device, way, sgd), plain[sgd]) for way, sgd in tried]
        print(f"| {'/'.join(case)} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
