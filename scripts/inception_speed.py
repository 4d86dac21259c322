"""How fast are Inception features beside torch-fidelity's network as it comes, and how near to its own?

    python scripts/inception_speed.py --images 32 --repeats 3

Both take the same random 28×28 grey images in turn, with the same random weights: the time does not depend on
values.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import torch
import torch_fidelity.feature_extractor_inceptionv3 as fidelity
from torch import Tensor, nn

from ganbench.metrics.inception import InceptionExtractor


def main() -> None:
    """Print milliseconds an image of both in each round, and the largest relative difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    theirs = random_network().eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "weights.pth")
        torch.save(theirs.state_dict(), path)
        ours = InceptionExtractor(path)
    images = torch.randint(256, (arguments.images, 1, 28, 28), dtype=torch.uint8)
    for _ in range(arguments.repeats):
        start = time.perf_counter()
        with torch.inference_mode():
            expected: Tensor = theirs(images.expand(-1, 3, -1, -1))[0]
        middle = time.perf_counter()
        found = ours(images, arguments.images).features
        end = time.perf_counter()
        apart = ((found - expected).abs().max() / expected.abs().max()).item()
        their_time, our_time = (1e3 * t / len(images) for t in (middle - start, end - middle))
        print(
            f"torch-fidelity {their_time:.1f} ms, ganbench {our_time:.1f} ms an image, "
            f"{their_time / our_time:.2f}×, features differ by {apart:.1e}",
            flush=True,
        )


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
