"""torch-fidelity's Inception-v3, for numbers that compare with the literature.

The network and its preprocessing are torch-fidelity's `inception-v3-compat`, bit for bit
TensorFlow's of 2015 (see its documentation); only where the weights come from is decided here,
because its own loader waits for the network without bound and unpickles whatever it is given.
"""

from __future__ import annotations

import hashlib
import io
import logging
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ganbench.errors import UserError, first_line
from ganbench.metrics.features import Features, full_precision, gathered, require_channels
from ganbench.network import DOWNLOAD_ERRORS, socket_timeout

WEIGHTS_FILE = "weights-inception-2015-12-05-6726825d.pth"
PUBLISHED_PREFIX = "6726825d"
MAX_BATCH = 64

log = logging.getLogger(__name__)


class InceptionExtractor:
    """2048 pooled features and the 1008 unbiased logits; grey becomes three equal channels."""

    num_classes: int | None = None
    channels: tuple[int, ...] = (1, 3)
    dataset_sha256: str | None = None

    def __init__(self, weights: Path | None = None, device: str | torch.device = "cpu") -> None:
        """Load `weights`, else the file in torch's hub folder, fetched there where it is missing.

        Raises:
            UserError: no weights to be had, or a file that holds something else.
        """
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        path = find_weights(weights)
        state, self.sha256 = _read_weights(path)
        self.device = torch.device(device)
        # Its constructor unpickles the file it insists on: it gets one written right here.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        buffer.seek(0)
        try:
            network = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=buffer
            )
        except (RuntimeError, TypeError, AttributeError) as error:
            raise UserError(f"{_holds_other(path)} ({first_line(error)})") from error
        self._network = _quick(network).to(self.device).to(memory_format=torch.channels_last)

    def __call__(self, images: Tensor, batch_size: int) -> Features:
        """Features float32 N×2048 and logits N×1008 of uint8 images N×1×H×W or N×3×H×W.

        Raises:
            UserError: images of another number of channels.
        """
        require_channels("inception", self.channels, images.shape[1])
        with full_precision(self.device):
            return gathered(
                self._network(batch.to(self.device).expand(-1, 3, -1, -1))
                for batch in images.split(min(batch_size, MAX_BATCH))
            )


def find_weights(given: Path | None = None) -> Path:
    """Path of the weights file: `given`, else the one in torch's hub folder, fetched where missing.

    Raises:
        UserError: there is no such file, and it cannot be fetched within seconds.
    """
    if given is not None:
        path = given.expanduser()
        if not path.is_file():
            raise UserError(
                f"eval.inception_weights={given}: no such file ({path.absolute()}); give a copy of "
                f"{WEIGHTS_FILE}, or leave the key out to fetch it"
            )
        return path
    path = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_FILE
    if not path.is_file():
        _download(path)
    return path


def _quick(network: nn.Module) -> nn.Module:
    """Fold each batch norm into the convolution before it, once and for all, as inference allows.

    With channels last in memory that saves two fifths of the time on a CPU and moves features by less than
    a millionth.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d

    for block in network.eval().modules():
        if isinstance(block, BasicConv2d):
            block.conv, block.bn = fuse_conv_bn_eval(block.conv, block.bn), nn.Identity()
    return network


def _download(path: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    log.info("fetching %s (91 MB) to %s", URL_INCEPTION_V3, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with socket_timeout():
            torch.hub.download_url_to_file(
                URL_INCEPTION_V3, str(path), hash_prefix=PUBLISHED_PREFIX, progress=False
            )
    except DOWNLOAD_ERRORS as error:
        raise UserError(
            f"eval.extractor=inception: its weights {WEIGHTS_FILE} are not in {path.parent} and "
            f"could not be fetched from {URL_INCEPTION_V3} ({error}); fetch that file where there "
            "is a network and put it there, or name a copy with eval.inception_weights=PATH, "
            "or use eval.extractor=judge"
        ) from error


def _read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a weights file, without running code from it, and the file's sha256."""
    try:
        content = path.read_bytes()
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # another file can fail anywhere in zip, pickle or torch
        raise UserError(f"{_holds_other(path)} ({first_line(error)})") from error
    if not isinstance(state, dict):
        raise UserError(f"{_holds_other(path)} (a {type(state).__name__})")
    sha256 = hashlib.sha256(content).hexdigest()
    if not sha256.startswith(PUBLISHED_PREFIX):
        log.warning(
            "%s: sha256 %s is not that of %s: scores will not compare with the literature",
            path,
            sha256,
            WEIGHTS_FILE,
        )
    return state, sha256


def _holds_other(path: Path) -> str:
    return (
        f"eval.inception_weights: {path.absolute()} must hold the tensors of {WEIGHTS_FILE} "
        "and holds something else; fetch that file again"
    )
