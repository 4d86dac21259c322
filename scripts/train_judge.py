"""Train a judge and write its weights and card: ``train_judge.py --dataset mnist --variant judge``.

Trains on the train split only. A part of it, the same for every seed, is held out to choose the
epoch; the test split is looked at once, after the choice, for the accuracy that the card reports.
Repeating the card's command with the card's versions, device, threads and kind of processor gives
the same judge again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from ganbench.data import Split, load_dataset
from ganbench.metrics.judge import Judge

SEEDS = {"judge": 1, "judge_b": 2}
WEIGHTS = Path(__file__).parents[1] / "src" / "ganbench" / "metrics" / "weights"


@dataclass(frozen=True)
class Recipe:
    """How long to train, and how far each image is changed at random (uniformly)."""

    epochs: int
    deeper: int = 0  # further residual blocks of the judge
    batch_size: int = 256
    learning_rate: float = 0.15
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    held_out: float = 5000 / 60000
    degrees: float = 0.0  # rotation up to ± this
    zoom: float = 0.0  # size changes up to ± this fraction, each axis by itself
    shear: float = 0.0
    shift: float = 2.0  # pixels, each axis
    sampling: str = "bilinear"  # of grid_sample
    flip: bool = False  # horizontal, every second image
    erase: float = 0.0  # share of images that lose a rectangle


RECIPES = {
    "mnist": Recipe(epochs=20, degrees=10, zoom=0.1, shear=0.15),
    # Clothes are centred and told apart by texture: whole-pixel moves, for interpolation would blur.
    "fashion_mnist": Recipe(
        epochs=30,
        deeper=1,
        batch_size=128,
        learning_rate=0.1,
        shift=1.5,
        sampling="nearest",
        flip=True,
        erase=0.1,
    ),
    "digits": Recipe(
        epochs=60, batch_size=64, learning_rate=0.05, held_out=0.1, degrees=10, zoom=0.1, shear=0.15
    ),
}


def augment(images: Tensor, recipe: Recipe) -> Tensor:
    """A randomly deformed copy of uint8 images N×C×H×H: one affine map an image, then erasing."""
    count, _, size, _ = images.shape

    def uniform(limit: float) -> Tensor:
        return (torch.rand(count, device=images.device) * 2 - 1) * limit

    angle = uniform(math.radians(recipe.degrees))
    width, height = 1 + uniform(recipe.zoom), 1 + uniform(recipe.zoom)
    shear = uniform(recipe.shear)
    if recipe.flip:
        width = width * uniform(1).sign()
    shift = 2 * recipe.shift / size  # in units of affine_grid, where the image spans -1..1
    rows = [
        torch.stack([width * angle.cos(), shear - angle.sin(), uniform(shift)], 1),
        torch.stack([width * angle.sin(), height * angle.cos(), uniform(shift)], 1),
    ]
    grid = affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    moved = grid_sample(images.float(), grid, recipe.sampling, align_corners=False)
    if recipe.erase:
        moved = erase(moved, recipe.erase)
    return moved.round_().to(torch.uint8)


def erase(images: Tensor, share: float) -> Tensor:
    """Fill one random rectangle with one random grey in a random `share` of images in 0..255."""
    count, _, size, _ = images.shape
    pixels = torch.arange(size, device=images.device)

    def span() -> Tensor:
        centre, half = torch.rand(2, count, 1, device=images.device)
        return (pixels - size * centre).abs() < size * (0.1 + 0.15 * half)

    rectangle = span()[:, None, :, None] & span()[:, None, None, :]
    chosen, grey = torch.rand(2, count, 1, 1, 1, device=images.device)
    return torch.where(rectangle & (chosen < share), 255 * grey, images)


@torch.inference_mode()
def accuracy(judge: Judge, split: Split, device: torch.device) -> float:
    """Share of images classified rightly, in float32."""
    judge.eval()
    batches = zip(split.images.split(1000), split.labels.split(1000), strict=True)
    hits = sum(int((judge(x.to(device))[1].argmax(1).cpu() == y).sum()) for x, y in batches)
    return hits / len(split.labels)


def hold_out(train: Split, share: float) -> tuple[Split, Split]:
    """Train and validation part; which image goes where does not depend on the training's seed."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    count = round(share * len(train))
    validation, rest = order[:count], order[count:]
    return (
        Split(train.images[rest], train.labels[rest]),
        Split(train.images[validation], train.labels[validation]),
    )


def fit(
    judge: Judge, train: Split, validation: Split, recipe: Recipe, device: torch.device
) -> tuple[int, float]:
    """Train in place; leave the best epoch's weights, return its number and held-out accuracy."""
    images, labels = train.images.to(device), train.labels.to(device)
    optimizer = torch.optim.SGD(
        judge.parameters(),
        lr=recipe.learning_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )
    steps = len(images) // recipe.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=steps * recipe.epochs, pct_start=0.2
    )
    best_epoch, best_accuracy, best_state = 0, -1.0, {}
    for epoch in range(1, recipe.epochs + 1):
        judge.train()
        started, total = time.perf_counter(), torch.zeros((), device=device)
        order = torch.randperm(len(images)).to(device)
        for index in order[: steps * recipe.batch_size].split(recipe.batch_size):
            batch = augment(images[index], recipe)
            with torch.autocast(device.type, torch.bfloat16):
                _, logits = judge(batch)
            loss = cross_entropy(logits, labels[index], label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach()
        held_out = accuracy(judge, validation, device)
        # An early epoch can win by luck where few images are held out: choose from the last quarter.
        if 4 * epoch > 3 * recipe.epochs and held_out >= best_accuracy:
            best_epoch, best_accuracy = epoch, held_out
            best_state = {name: value.clone() for name, value in judge.state_dict().items()}
        seconds = time.perf_counter() - started
        print(
            f"epoch {epoch}/{recipe.epochs}  loss {total.item() / steps:.4f}  "
            f"held-out {held_out:.4f}  {seconds:.1f} s",
            flush=True,
        )
    judge.load_state_dict(best_state)
    return best_epoch, best_accuracy


def write(judge: Judge, out: Path, card: dict[str, object]) -> None:
    """Weights first, then the card that names their hash."""
    name = f"{card['dataset']}_{card['variant']}"
    content = save({key: value.cpu().contiguous() for key, value in judge.state_dict().items()})
    card["sha256"] = hashlib.sha256(content).hexdigest()
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.safetensors").write_bytes(content)
    (out / f"{name}.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Train one judge as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True, choices=RECIPES)
    parser.add_argument("--variant", default="judge", choices=SEEDS)
    parser.add_argument("--seed", type=int, help="default: 1 for judge, 2 for judge_b")
    parser.add_argument("--epochs", type=int, help="default: the dataset's recipe")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--threads", type=int, default=1, help="default: 1; results depend on it")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="default: the package's weights")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    seed = SEEDS[options.variant] if options.seed is None else options.seed
    recipe = RECIPES[options.dataset]
    if options.epochs is not None:
        recipe = Recipe(**{**asdict(recipe), "epochs": options.epochs})
    data = load_dataset(options.dataset)
    train, validation = hold_out(data.train, recipe.held_out)

    torch.manual_seed(seed)
    judge = Judge(data.train.images.shape[1], data.num_classes, deeper=recipe.deeper)
    judge = judge.to(options.device).to(memory_format=torch.channels_last)
    epoch, held_out_accuracy = fit(judge, train, validation, recipe, options.device)
    card: dict[str, object] = {
        "dataset": options.dataset,
        "variant": options.variant,
        "seed": seed,
        "architecture": "ganbench.metrics.judge.Judge",
        "in_channels": data.train.images.shape[1],
        "num_classes": data.num_classes,
        "deeper": recipe.deeper,
        "parameters": sum(p.numel() for p in judge.parameters()),
        "dataset_sha256": data.sha256,
        "train_count": len(train),
        "validation_count": len(validation),
        "test_count": len(data.test),
        "epochs": recipe.epochs,
        "best_epoch": epoch,
        "validation_accuracy": held_out_accuracy,
        "test_accuracy": accuracy(judge, data.test, options.device),
        "recipe": asdict(recipe),
        "command": f"python scripts/train_judge.py --dataset {options.dataset} "
        f"--variant {options.variant} --seed {seed} --epochs {recipe.epochs}",
        "training_precision": "bfloat16 autocast",
        "device": str(options.device),
        "threads": options.threads,
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    write(judge, options.out, card)
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    main()
