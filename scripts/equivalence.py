"""Do the fast ways train as the plain one does? Ten steps of each, side by side.

    python scripts/equivalence.py
    python scripts/equivalence.py --device cuda    # there a step is a CUDA graph, too
    python scripts/equivalence.py --cases cgan/bce --ways basis

The plain way: float32, eager, on one stream, the discriminator sees real and fake images in two passes, every
sample is convolved, also under a penalty. Against it: one pass for both, the convolved basis of a projection
in the place of the samples (`SubPixelConv2d.of_projection`), a critic's convolutions under a penalty as
products of patches (`ganbench.models.convolution`, as on CUDA), and `compile=true`, which does all that a
step does on the device. All start from the same weights and draw the same numbers; dropout is off, for its
masks depend on the size of a pass. Shown is the largest difference of a loss in ten steps, relative to the
largest loss; with the recipe's own optimiser, and with small steps of SGD: Adam makes a whole step of a
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
from ganbench.engine import step as step_module
from ganbench.engine.device import set_up
from ganbench.engine.loop import Training
from ganbench.engine.streams import SideStream
from ganbench.hardware import resolve_device
from ganbench.models.convolution import Conv2d, using_im2col
from ganbench.models.layers import Project
from ganbench.models.subpixel import SubPixelConv2d
from ganbench.runs import METRICS

MLP = [f"mlp/{loss}" for loss in ("bce", "lsgan", "hinge", "wgan_clip", "wgan_gp", "sn_hinge")]
CASES = [*MLP, "dcgan/bce", "cgan/bce", "cgan/wgan_gp"]
WAYS = ("next float", "one pass", "basis", "patches", "compile=true")
STEPS = 10
OF_PROJECTION = SubPixelConv2d.of_projection
LOSSES = [METRICS.index("d_loss"), METRICS.index("g_loss")]


def every_sample(layer: SubPixelConv2d, project: Project, z: Tensor) -> Tensor:
    """`SubPixelConv2d.of_projection` without its short cut."""
    return layer(project(z))


def train(case: str, device: torch.device, way: str, sgd: bool) -> Tensor | None:
    """Losses of ten steps, a row a step; None where the network has nothing that the way could change."""
    model, loss = case.split("/")
    still = [] if model == "mlp" else ["model.discriminator.dropout=0"]
    chosen = [way] if way == "compile=true" else []
    config = compose(
        ["dataset=digits", "train.batch_size=128", f"model={model}", f"loss={loss}", *still, *chosen]
    )
    training = Training(config, build_dataset(config["dataset"]), device)
    step = training.do_step
    with_basis = any(isinstance(layer, SubPixelConv2d) for layer in training.gan.generator.modules())
    with_patches = step.loss.has_penalty and any(
        isinstance(m, Conv2d) for m in training.gan.discriminator.modules()
    )
    there = {"one pass": step.one_pass, "basis": with_basis, "patches": with_patches}
    if not there.get(way, True):
        return None
    step.one_pass = step.one_pass and way in ("one pass", "compile=true")
    SubPixelConv2d.of_projection = OF_PROJECTION if way in ("basis", "compile=true") else every_sample  # type: ignore[method-assign,assignment]
    if way != "compile=true":
        step.fakes_beside = step.penalty_beside = SideStream(device, allowed=False)
    chosen_device = {"compile=true": device, "patches": torch.device("cuda")}.get(way, torch.device("cpu"))
    step_module.using_im2col = lambda device: using_im2col(chosen_device)
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
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="MODEL/LOSS")
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    set_up(None, deterministic=False)
    # TF32, and algorithms chosen by their times, differ by more than what is looked for.
    torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = False
    print("| case | " + " | ".join(f"{way} | {way}, SGD" for way in arguments.ways) + " |")
    print("|---|" + "---|" * 2 * len(arguments.ways))
    for case in arguments.cases:
        plain = [train(case, device, "plain", sgd) for sgd in (False, True)]
        tried = [(way, sgd) for way in arguments.ways for sgd in (False, True)]
        shown = [difference(train(case, device, way, sgd), plain[sgd]) for way, sgd in tried]
        print(f"| {case} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
