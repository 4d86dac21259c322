"""How fast are Inception features beside torch-fidelity's as they come, and how near to its own?

    python scripts/inception_speed.py --images 32 --repeats 3        # the networks alone
    python scripts/inception_speed.py --command --images 200         # whole commands, from start to exit

Both take the same random 28×28 grey images in turn, with the same random weights: the time does not depend
on values. The commands, torch-fidelity's `fidelity` and this script with our metrics, give the Inception
score of one folder of PNG files and its KID from another.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import torch_fidelity.feature_extractor_inceptionv3 as fidelity
from PIL import Image
from torch import Tensor, nn

from ganbench.metrics.inception import InceptionExtractor
from ganbench.metrics.inception_score import inception_score
from ganbench.metrics.kid import kid

SPLITS, SUBSETS, SEED = 10, 100, 2020
FOLDERS = ("generated", "real")


def main() -> None:
    """Measure the networks or the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--command", action="store_true", help="whole commands instead of the networks")
    parser.add_argument("--score", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.score:
        print(json.dumps(score(arguments.score)))
        return
    torch.manual_seed(0)
    theirs = random_network().eval()
    with tempfile.TemporaryDirectory() as folder:
        torch.save(theirs.state_dict(), weights_in(Path(folder)))
        if arguments.command:
            compare_commands(Path(folder), arguments.images, arguments.repeats)
        else:
            compare_networks(theirs, Path(folder), arguments.images, arguments.repeats)


def compare_networks(theirs: nn.Module, folder: Path, count: int, repeats: int) -> None:
    """Print milliseconds an image of both in each round, and the largest relative difference of features."""
    ours = InceptionExtractor(weights_in(folder))
    images = random_images(count)
    for _ in range(repeats):
        start = time.perf_counter()
        with torch.inference_mode():
            expected: Tensor = theirs(images.expand(-1, 3, -1, -1))[0]
        middle = time.perf_counter()
        found = ours(images, count).features
        end = time.perf_counter()
        apart = ((found - expected).abs().max() / expected.abs().max()).item()
        their_time, our_time = (1e3 * t / count for t in (middle - start, end - middle))
        print(
            f"torch-fidelity {their_time:.1f} ms, ganbench {our_time:.1f} ms an image, "
            f"{their_time / our_time:.2f}×, features differ by {apart:.1e}",
            flush=True,
        )


def compare_commands(folder: Path, count: int, repeats: int) -> None:
    """Print seconds of both commands in each round, and the largest relative difference of a score."""
    for divisor, name in enumerate(FOLDERS, 1):
        (folder / name).mkdir()
        # The second folder is darker, so that the distance is not that of two samples of one thing.
        for index, image in enumerate(random_images(count) // divisor):
            Image.fromarray(image[0].numpy()).convert("RGB").save(folder / name / f"{index}.png")
    inputs = [text for i, name in enumerate(FOLDERS, 1) for text in (f"--input{i}", str(folder / name))]
    metrics = ["--isc", "--kid", "--isc-splits", f"{SPLITS}", "--kid-subsets", f"{SUBSETS}"]
    metrics += ["--kid-subset-size", f"{count // 2}", "--rng-seed", f"{SEED}"]
    weights = ["--feature-extractor-weights-path", str(weights_in(folder))]
    command = [sys.executable, "-m", "torch_fidelity.fidelity", "--cpu", "--json", "--silent", "--no-cache"]
    for _ in range(repeats):
        their_time, expected = timed([*command, *inputs, *metrics, *weights])
        our_time, found = timed([sys.executable, __file__, "--score", str(folder)])
        apart = max(abs(found[name] - expected[name]) / abs(expected[name]) for name in found)
        print(
            f"torch-fidelity {their_time:.1f} s, ganbench {our_time:.1f} s for {2 * count} images, "
            f"{their_time / our_time:.2f}×, scores differ by {apart:.1e}",
            flush=True,
        )


def timed(command: list[str]) -> tuple[float, dict[str, float]]:
    """Seconds of a command, and the scores it prints as JSON."""
    start = time.perf_counter()
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds = time.perf_counter() - start
    return seconds, json.loads(output[output.index("{") :])


def score(folder: Path) -> dict[str, float]:
    """Our Inception score and KID, under torch-fidelity's names."""
    extractor = InceptionExtractor(weights_in(folder))
    generated, real = (extractor(read_images(folder / name), 64) for name in FOLDERS)
    assert generated.logits is not None
    size = len(generated.features) // 2
    distance = kid(generated.features, real.features, SUBSETS, size, SEED)
    return {
        "inception_score_mean": inception_score(generated.logits, SPLITS, SEED).mean,
        "kernel_inception_distance_mean": distance.mean,
    }


def read_images(folder: Path) -> Tensor:
    """All PNG files of a folder in the order of their names, uint8 N×3×H×W."""
    pictures = [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def weights_in(folder: Path) -> Path:
    """Where the random weights lie."""
    return folder / "weights.pth"


def random_images(count: int) -> Tensor:
    """Noise, uint8 count×1×28×28."""
    return torch.randint(256, (count, 1, 28, 28), dtype=torch.uint8)


def random_network() -> nn.Module:
    """torch-fidelity's network, without its download, with weights that keep the scale of what passes."""
    with (
        patch.object(fidelity, "load_state_dict_from_url", lambda *_, **__: {}),
        patch.object(fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None),
    ):
        network = fidelity.FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"])
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return network


if __name__ == "__main__":
    main()
