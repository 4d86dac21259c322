"""Datasets as verified uint8 tensors, and shuffled batches that live on the training device.

A dataset is one callable that returns `(train images, train labels, test images, test labels)`, named by
``dataset.source`` in its YAML. Everything else (checksum, resizing, batching) happens here once for all.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ganbench.errors import DataError, UserError, one_line, told
from ganbench.network import DOWNLOAD_ERRORS, socket_timeout

RawDataset = tuple[Tensor, Tensor, Tensor, Tensor]

DIGITS_TEST_COUNT = 500
RESIZED_AT_ONCE = 1000
IDX_DATASETS = ("MNIST", "FashionMNIST", "KMNIST")
IDX_FILES = {  # each with its number of dimensions
    "train-images-idx3-ubyte": 3,
    "train-labels-idx1-ubyte": 1,
    "t10k-images-idx3-ubyte": 3,
    "t10k-labels-idx1-ubyte": 1,
}
IDX_UINT8 = b"\0\0\x08"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Images uint8 N×C×H×W in 0..255 with their labels int64 N, both on the host."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, chosen: Tensor) -> Split:
        """The images at positions int64 or under a mask bool N, with their labels."""
        return Split(self.images[chosen], self.labels[chosen])

    @cached_property
    def sha256(self) -> str:
        """Hex digest over the image bytes, then the label bytes."""
        digest = hashlib.sha256(self.images.contiguous().numpy().tobytes())
        digest.update(self.labels.contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """A train and a test split; `sha256` identifies the content of both."""

    name: str
    train: Split
    test: Split
    num_classes: int

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the two splits' digests."""
        return hashlib.sha256((self.train.sha256 + self.test.sha256).encode()).hexdigest()


def data_root(root: str | Path | None = None) -> Path:
    """Folder that holds the datasets: `root`, else ``$GANBENCH_DATA``, else ``./data``."""
    return Path(root or os.environ.get("GANBENCH_DATA") or "data").expanduser()


def torchvision_dataset(
    root: Path, class_name: str, files: dict[str, str], download: bool = True
) -> RawDataset:
    """Read a torchvision dataset of IDX files, fetching it first where files are missing.

    `files` maps each raw file's name to the sha256 it must have; a missing file is downloaded, an
    altered one is refused.

    Raises:
        DataError: files missing and not downloadable, unreadable, or of another content.
    """
    if class_name not in IDX_DATASETS:
        raise DataError(f"dataset.source.class_name={class_name}: must be one of {', '.join(IDX_DATASETS)}")
    for name in files.keys() - IDX_FILES.keys():
        raise DataError(f"dataset.source.files.{name}: must be one of {', '.join(IDX_FILES)}")
    folder = root / class_name / "raw"
    missing = [name for name in files if not (folder / name).exists()]
    if missing:
        if not download:
            raise DataError(_missing_message(class_name, folder, missing, "download is off"))
        _download(class_name, root, folder, missing)
    train, train_labels, test, test_labels = (
        _read_idx(folder / name, rank, files) for name, rank in IDX_FILES.items()
    )
    return train[:, None], train_labels.long(), test[:, None], test_labels.long()


def has_all_checksums(source: dict[str, Any]) -> bool:
    """Whether a ``dataset.source`` can give only one set of images: ganbench's own, by the sha256 of all."""
    own = str(source["_target_"]).startswith(f"{__name__}.")
    return own and ("sha256" in source or IDX_FILES.keys() <= source.get("files", {}).keys())


def digits_dataset(root: Path, sha256: str) -> RawDataset:
    """scikit-learn's 1,797 handwritten 8×8 digits, enlarged to 28×28, with a fixed stratified split.

    `root` is not used: the images ship inside scikit-learn. Sources: UCI optical recognition of
    handwritten digits, test part (Alpaydin and Kaynak 1998).

    Raises:
        DataError: scikit-learn ships other images than the ones `sha256` names.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.from_numpy(digits.images).to(torch.uint8)
    labels = torch.from_numpy(digits.target).to(torch.int64)
    found = Split(small, labels).sha256
    if found != sha256:
        raise DataError(
            f"dataset digits: scikit-learn's images have sha256 {found}, expected {sha256}; "
            "install a scikit-learn release that ships the original 1,797 digits"
        )
    images = resized(small[:, None].double() * (255 / 16), 28)
    is_test = _every_nth_per_class(labels, len(labels) / DIGITS_TEST_COUNT)
    return images[~is_test], labels[~is_test], images[is_test], labels[is_test]


def load_dataset(name: str, root: str | Path | None = None, image_size: int = 28) -> Dataset:
    """Load one of the shipped datasets by name, verified, at `image_size`×`image_size` pixels.

    Raises:
        ConfigError: no dataset has that name.
        DataError: see `build_dataset`.
    """
    from ganbench.config import load_group

    settings = load_group("dataset", name)
    return build_dataset({**settings, "image_size": image_size}, root)


def build_dataset(settings: dict[str, Any], root: str | Path | None = None) -> Dataset:
    """Load the dataset that a resolved ``dataset`` config describes.

    Raises:
        DataError: missing, unreadable or altered files, or a source that returns something else than
            uint8 images N×C×H×W with int64 labels in ``0..num_classes-1``.
    """
    from ganbench.config import instantiate

    folder = data_root(root or settings.get("root"))
    try:
        raw = instantiate(settings["source"], root=folder)
    except OSError as error:
        place = error.filename or folder
        raise DataError(
            f"dataset.source of {settings['name']}: cannot read {place}: {error.strerror or error}"
        ) from error
    except UserError:
        raise
    except Exception as error:  # somebody's own function may fail in any way
        raise DataError(
            f"dataset.source={settings['source']['_target_']}: fails ({told(error)}); mend it, or check its "
            "parameters"
        ) from error
    _require_tensors(raw, settings["name"])
    dataset = Dataset(settings["name"], Split(raw[0], raw[1]), Split(raw[2], raw[3]), settings["num_classes"])
    _check(dataset, settings)  # before it is resized, which would make bytes of anything
    _warn_of_absent_classes(dataset)
    size = settings["image_size"]
    train, test = (Split(resized(s.images, size), s.labels) for s in (dataset.train, dataset.test))
    return replace(dataset, train=train, test=test)


class Batches:
    """Endless shuffled batches drawn without replacement, an epoch at a time, on the device.

    The images stay uint8 on `device` and only the batch is converted to float in [-1, 1]. Position,
    permutation and random state are in `state_dict`, so that a restored sampler goes on exactly.
    """

    def __init__(
        self, split: Split, batch_size: int, seed: int, device: torch.device, drop_last: bool = True
    ) -> None:
        self.images = split.images.to(device)
        self.labels = split.labels.to(device)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.device = device
        # Drawn on the host: the order of the images is then the same on every device.
        self._generator = torch.Generator().manual_seed(seed)
        self._position = 0
        self._permutation = self._shuffled()

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches in one pass over the images."""
        full, rest = divmod(len(self.images), self.batch_size)
        return full + (1 if rest and not self.drop_last else 0)

    def __next__(self) -> tuple[Tensor, Tensor]:
        """Images float32 B×C×H×W in [-1, 1] and labels int64 B."""
        return self.at(self.next_index())

    def at(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The images and labels at some positions int64 B."""
        # Copies whole images; images[index] copies each byte by its own position.
        return to_float(self.images.index_select(0, index)), self.labels[index]

    def next_index(self) -> Tensor:
        """The positions int64 B of the next batch, on the device."""
        stop = self._position + self.batch_size
        if self._position >= len(self.images) or (self.drop_last and stop > len(self.images)):
            self._permutation = self._shuffled()
            self._position, stop = 0, self.batch_size
        index = self._permutation[self._position : stop]
        self._position = stop
        return index

    def _shuffled(self) -> Tensor:
        return torch.randperm(len(self.images), generator=self._generator).to(self.device)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next batch depends on."""
        return {
            "generator": self._generator.get_state(),
            "permutation": self._permutation.cpu(),
            "position": self._position,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._generator.set_state(state["generator"])
        self._permutation = state["permutation"].to(self.device)
        self._position = state["position"]


def to_float(images: Tensor) -> Tensor:
    """uint8 0..255 to float32 [-1, 1]."""
    return images.float().div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> Tensor:
    """Float images [-1, 1] to uint8, ``round((x + 1) * 127.5)`` clamped: the inverse of `to_float`."""
    return images.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def _download(class_name: str, root: Path, folder: Path, missing: list[str]) -> None:
    """Fetch into a folder inside and move whole files, as other jobs may fetch or read the same ones."""
    from torchvision import datasets

    existed = [path for path in (root, folder.parent, folder) if path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".download-") as fresh, socket_timeout():
            getattr(datasets, class_name)(fresh, download=True)
            for name in missing:
                os.replace(Path(fresh, class_name, "raw", name), folder / name)
    except DOWNLOAD_ERRORS as error:
        for path in (folder, folder.parent, root):
            if path not in existed and path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        reason = f"download failed ({one_line(error)})"
        raise DataError(_missing_message(class_name, folder, missing, reason)) from error


def _missing_message(class_name: str, folder: Path, missing: list[str], reason: str) -> str:
    return (
        f"dataset {class_name}: looked for {', '.join(missing)} in {folder.absolute()} and found none; "
        f"{reason}. Either run `ganbench data` where there is a network, or set GANBENCH_DATA (or "
        f"dataset.root) to the folder that holds {class_name}/raw with all four files"
    )


def _read_idx(path: Path, rank: int, checksums: dict[str, str]) -> Tensor:
    """The uint8 array of `rank` dimensions in a file of the IDX format, checked where a sha256 is given.

    Not by torchvision's classes: importing them takes longer than everything else before the first step
    but torch itself. Format: Yann LeCun, "The MNIST database of handwritten digits", file formats.
    """
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    expected = checksums.get(path.name, found)
    if found != expected:
        raise DataError(
            f"data file {path.absolute()}: {len(content)} bytes with sha256 {found}, "
            f"expected {expected}; the file is truncated or altered: delete it and run `ganbench data`"
        )
    try:
        if content[:4] != IDX_UINT8 + bytes([rank]):
            raise ValueError("wrong magic number")
        shape = np.frombuffer(content, ">u4", rank, offset=4)
        values = np.frombuffer(content, np.uint8, offset=4 + shape.nbytes).reshape(shape)
    except ValueError as error:
        raise DataError(
            f"data file {path.absolute()}: not a file of bytes in IDX format ({error}); delete it and run "
            "`ganbench data`"
        ) from error
    return torch.from_numpy(values.copy())


def _every_nth_per_class(labels: Tensor, spacing: float) -> Tensor:
    """Boolean mask that picks every `spacing`-th image of each class, in stored order."""
    picked = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        count = round(len(members) / spacing)
        picked[members[(torch.arange(count) * spacing).long()]] = True
    return picked


def resized(images: Tensor, size: int) -> Tensor:
    """Images N×C×H×W with values in 0..255 at `size`×`size`: antialiased bilinear, rounded to uint8.

    In float64 on the host, as some devices have none; images of that size come back as they are.
    """
    if images.shape[-2:] == (size, size):
        return images
    # In parts: 60,000 images at 64×64 would take 2 GB as float64.
    parts = [
        interpolate(part.cpu().double(), size=(size, size), mode="bilinear", antialias=True)
        for part in images.split(RESIZED_AT_ONCE)
    ]
    return torch.cat([part.round().clamp(0, 255).to(torch.uint8) for part in parts])


def _require_tensors(raw: Any, name: str) -> None:
    several = isinstance(raw, (tuple, list))
    if several and len(raw) == 4 and all(isinstance(part, Tensor) for part in raw):
        return
    kinds = [type(part).__name__ for part in raw] if several else type(raw).__name__
    raise DataError(
        f"dataset.source of {name}: must return four tensors (images and labels of the train split, then "
        f"of the test split), returned {kinds}; torch.from_numpy makes tensors of arrays"
    )


def _warn_of_absent_classes(dataset: Dataset) -> None:
    counts = torch.bincount(dataset.train.labels, minlength=dataset.num_classes)
    if absent := (counts == 0).nonzero().flatten().tolist():
        log.warning(
            "dataset.num_classes=%d: the train split has no image of %d of them (the first is %d), which a "
            "conditional model is asked for and cannot learn",
            dataset.num_classes,
            len(absent),
            absent[0],
        )


def _check(dataset: Dataset, settings: dict[str, Any]) -> None:
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        where = f"dataset.source of {dataset.name}, {name} split"
        images, labels = split.images, split.labels
        if images.dtype != torch.uint8 or images.ndim != 4:
            found = f"{images.dtype} {tuple(images.shape)}"
            raise DataError(f"{where}: images must be uint8 N×C×H×W, got {found}")
        if images.shape[1] != settings["channels"]:
            raise DataError(
                f"{where}: dataset.channels={settings['channels']}, the images have {images.shape[1]}"
            )
        if not len(images):
            raise DataError(f"{where}: has no images")
        if labels.dtype != torch.int64 or labels.shape != (len(images),):
            found = f"{labels.dtype} {tuple(labels.shape)}"
            raise DataError(f"{where}: labels must be int64 of shape ({len(images)},), got {found}")
        if not 0 <= int(labels.min()) <= int(labels.max()) < dataset.num_classes:
            raise DataError(
                f"{where}: labels must lie in 0..{dataset.num_classes - 1} "
                f"(dataset.num_classes={dataset.num_classes}), are {int(labels.min())}..{int(labels.max())}"
            )
