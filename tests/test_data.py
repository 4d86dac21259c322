"""Datasets: fixed content, loud failure; batches: every image once an epoch, and an exact return."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import datasets

from ganbench.config import load_group
from ganbench.data import (
    Batches,
    Dataset,
    Split,
    build_dataset,
    data_root,
    has_all_checksums,
    load_dataset,
    to_float,
    to_uint8,
    torchvision_dataset,
)
from ganbench.errors import ConfigError, DataError

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
CPU = torch.device("cpu")


# --- datasets ---------------------------------------------------------------------------------------


def test_digits_are_split_once_and_for_all(digits: Dataset) -> None:
    assert (len(digits.train), len(digits.test), digits.num_classes) == (1297, 500, 10)
    assert digits.train.images.shape == (1297, 1, 28, 28) and digits.train.images.dtype == torch.uint8
    assert digits.train.labels.dtype == torch.int64
    # Stratified: 500/1797 of each class, to one image.
    for label in range(10):
        train, test = (int((split.labels == label).sum()) for split in (digits.train, digits.test))
        assert test == pytest.approx((train + test) * 500 / 1797, abs=1)
    assert digits.train.images.min() == 0 and digits.train.images.max() == 255
    assert digits.sha256 == "b36b2c8fb544ad266c096878ebceb521b26d0bdf08376db70d7b37f12bdbd8e4"


def test_digits_are_those_of_scikit_learn(digits: Dataset) -> None:
    """Shrunk again, nearly every image is nearest to its own original (the enlargement blurs a little)."""
    from sklearn.datasets import load_digits

    original = torch.from_numpy(load_digits().images) / 16 * 255
    images = torch.cat([digits.train.images, digits.test.images]).double()
    assert images.mean().item() == pytest.approx(original.mean().item(), abs=1.0)
    shrunk = torch.nn.functional.interpolate(images, size=(8, 8), mode="bilinear", antialias=True)
    nearest = torch.cdist(shrunk.flatten(1), original.flatten(1)).argmin(dim=1)
    assert len(nearest.unique()) > 0.95 * len(original)
    labels = torch.cat([digits.train.labels, digits.test.labels])
    found = torch.from_numpy(load_digits().target)[nearest]
    assert (found == labels).double().mean().item() > 0.98


def test_train_and_test_share_no_image(digits: Dataset) -> None:
    train = {image.numpy().tobytes() for image in digits.train.images}
    test = {image.numpy().tobytes() for image in digits.test.images}
    assert len(train) == 1297 and len(test) == 500 and not train & test


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_real_datasets(name: str, real_data: Path) -> None:
    dataset = load_dataset(name, real_data)
    for split, count in ((dataset.train, 60_000), (dataset.test, 10_000)):
        assert split.images.shape == (count, 1, 28, 28) and split.images.dtype == torch.uint8
        assert split.labels.shape == (count,) and split.labels.dtype == torch.int64
        if name == "fashion_mnist" or count == 10_000:
            shares = torch.bincount(split.labels, minlength=10) / count
            assert (shares - 0.1).abs().max() < 0.015
    # The published mean of the training pixels, which is that of the official files.
    assert dataset.train.images.double().mean().item() / 255 == pytest.approx(
        {"mnist": 0.1307, "fashion_mnist": 0.2860}[name], abs=5e-5
    )


def idx(values: Tensor) -> bytes:
    """The IDX file of a uint8 array, by its description."""
    return b"".join(
        [
            bytes([0, 0, 8, values.ndim]),
            *(n.to_bytes(4, "big") for n in values.shape),
            values.numpy().tobytes(),
        ]
    )


@pytest.fixture
def small_mnist(tmp_path: Path) -> tuple[Path, list[Tensor]]:
    """A folder that torchvision can read, too, with three images and two, and what is in it."""
    drawn = torch.Generator().manual_seed(0)
    arrays = [
        torch.randint(256, shape, dtype=torch.uint8, generator=drawn)
        for shape in ((3, 28, 28), (3,), (2, 28, 28), (2,))
    ]
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, values in zip(FILES, arrays, strict=True):
        (raw / name).write_bytes(idx(values))
    return tmp_path, arrays


def checksums(raw: Path) -> dict[str, str]:
    return {name: hashlib.sha256((raw / name).read_bytes()).hexdigest() for name in FILES}


def test_idx_files_are_read_as_torchvision_reads_them(small_mnist: tuple[Path, list[Tensor]]) -> None:
    root, arrays = small_mnist
    read = torchvision_dataset(root, "MNIST", {})
    for ours, written in zip(read, arrays, strict=True):
        assert torch.equal(ours.flatten(), written.to(ours.dtype).flatten())
    train, test = (datasets.MNIST(str(root), train=flag) for flag in (True, False))
    for ours, theirs in zip(read, (train.data, train.targets, test.data, test.targets), strict=True):
        assert ours.dtype == theirs.dtype and torch.equal(ours.flatten(), theirs.flatten())
    assert read[0].shape == (3, 1, 28, 28)


def test_reading_them_does_not_import_torchvision(small_mnist: tuple[Path, list[Tensor]]) -> None:
    code = (
        "import sys, pathlib, ganbench.data as data;"
        "data.torchvision_dataset(pathlib.Path(sys.argv[1]), 'MNIST', {});"
        "sys.exit('torchvision' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(small_mnist[0])], check=True)


def test_a_checksum_must_be_one_and_of_a_known_file(small_mnist: tuple[Path, list[Tensor]]) -> None:
    root, _ = small_mnist
    with pytest.raises(DataError, match=f"{FILES[1]}: .* expected None; the file is truncated or altered"):
        torchvision_dataset(root, "MNIST", {FILES[1]: None})  # type: ignore[dict-item]
    with pytest.raises(DataError, match=r"dataset\.source\.files\.extra: must be one of train-images"):
        torchvision_dataset(root, "MNIST", {"extra": "0"})


NO_LABELS = [
    b"",
    b"\0\0\x08",
    b"\0\0\x08\x01\0\0",  # ends in its header
    b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0",  # of float32
    b"\0\0\x08\x00\x05",  # a number
    b"\0\0\x08\x01\xff\xff\xff\xff\x05",  # as long as it likes
]


@pytest.mark.parametrize("content", NO_LABELS)
def test_a_file_that_nobody_vouches_for_may_be_no_idx_file(
    small_mnist: tuple[Path, list[Tensor]], content: bytes
) -> None:
    root, _ = small_mnist
    (root / "MNIST" / "raw" / FILES[1]).write_bytes(content)
    with pytest.raises(DataError, match=f"{FILES[1]}: not a file of bytes in IDX format .*ganbench data"):
        torchvision_dataset(root, "MNIST", {})


def test_image_size_is_a_choice(digits: Dataset) -> None:
    resized = load_dataset("digits", image_size=16)
    assert resized.train.images.shape == (1297, 1, 16, 16)
    assert resized.sha256 != digits.sha256
    means = [d.train.images.double().mean().item() for d in (digits, resized)]
    assert means[0] == pytest.approx(means[1], abs=1.5)


def test_split_hash_covers_images_then_labels() -> None:
    images, labels = torch.arange(8, dtype=torch.uint8).view(2, 1, 2, 2), torch.tensor([3, 4])
    expected = hashlib.sha256(bytes(range(8)) + np.array([3, 4], "<i8").tobytes()).hexdigest()
    assert Split(images, labels).sha256 == expected
    assert Split(images, labels.flip(0)).sha256 != expected
    # The content counts, not how it lies in memory.
    strided = images.repeat(2, 1, 1, 1)[::2]
    strided[:] = images
    assert Split(strided, labels).sha256 == expected


def test_root_is_the_argument_then_the_environment_then_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANBENCH_DATA", "/from/environment")
    assert data_root("given") == Path("given")
    assert data_root() == Path("/from/environment")
    monkeypatch.delenv("GANBENCH_DATA")
    assert data_root() == Path("data")


# --- what can go wrong ------------------------------------------------------------------------------


def test_unknown_dataset_is_named_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match="dataset=cifar: unknown; choose one of digits, fashion_mnist, mnist"
    ):
        load_dataset("cifar")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> set[float | None]:
    """No connection succeeds; the time limits under which some were tried."""
    limits: set[float | None] = set()

    def refuse(*arguments: Any, **keywords: Any) -> None:
        limits.add(socket.getdefaulttimeout())
        raise OSError("network is unreachable")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    return limits


def refusal(folder: Path, name: str = "mnist") -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(name, folder)
    return str(caught.value)


def test_missing_files_and_no_network(tmp_path: Path, no_network: set[float | None]) -> None:
    message = refusal(tmp_path / "absent")
    assert no_network == {5.0} and socket.getdefaulttimeout() is None
    for part in (*FILES, str(tmp_path / "absent" / "MNIST" / "raw"), "ganbench data", "GANBENCH_DATA"):
        assert part in message
    assert not (tmp_path / "absent").exists(), "an attempt leaves no folders behind"


def test_a_failed_download_keeps_the_folders_that_were_there(
    tmp_path: Path, no_network: set[float | None]
) -> None:
    (tmp_path / "MNIST").mkdir()
    refusal(tmp_path)
    assert (tmp_path / "MNIST").is_dir() and not list((tmp_path / "MNIST").iterdir())


def test_a_download_shows_whole_files_only(
    small_mnist: tuple[Path, list[Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, arrays = small_mnist
    root = source / "new"

    def fetch(folder: str, download: bool) -> None:
        assert download and os.listdir(root / "MNIST" / "raw") == [Path(folder).name]
        shutil.copytree(source / "MNIST", Path(folder) / "MNIST")
        (Path(folder) / "MNIST" / "raw" / f"{FILES[0]}.gz").touch()

    monkeypatch.setattr(datasets, "MNIST", fetch)
    read = torchvision_dataset(root, "MNIST", checksums(source / "MNIST" / "raw"))
    assert torch.equal(read[0].flatten(), arrays[0].flatten())
    assert os.listdir(root) == ["MNIST"]
    assert sorted(os.listdir(root / "MNIST" / "raw")) == sorted(FILES)


@pytest.fixture
def raw(small_mnist: tuple[Path, list[Tensor]]) -> Path:
    """The folder of the small files, to be damaged one by one."""
    return small_mnist[0] / "MNIST" / "raw"


def refusal_of(raw: Path, files: dict[str, str]) -> str:
    """Why files that should have these checksums are refused."""
    source = {"_target_": "ganbench.data.torchvision_dataset", "class_name": "MNIST", "files": files}
    settings = {"name": "mnist", "channels": 1, "image_size": 28, "num_classes": 256, "source": source}
    with pytest.raises(DataError) as caught:
        build_dataset(settings, raw.parents[1])
    return str(caught.value)


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty"])
def test_damaged_file(raw: Path, damage: str) -> None:
    files = checksums(raw)
    path = raw / "t10k-labels-idx1-ubyte"
    data = bytearray(path.read_bytes())
    if damage == "altered":
        data[-1] ^= 1
    path.write_bytes({"truncated": data[:-1], "altered": data, "empty": b""}[damage])
    message = refusal_of(raw, files)
    for part in (
        str(path),
        f"{path.stat().st_size} bytes",
        "sha256",
        "truncated or altered",
        "ganbench data",
    ):
        assert part in message


def test_one_missing_file_is_named_alone(raw: Path, no_network: set[float | None]) -> None:
    files = checksums(raw)
    (raw / FILES[2]).unlink()
    assert f"looked for {FILES[2]} in" in refusal_of(raw, files)


@pytest.mark.parametrize("target", ["folder", "file"])
def test_unreadable_data(raw: Path, target: str, without_rights: Any) -> None:
    files = checksums(raw)
    closed = raw if target == "folder" else raw / FILES[0]
    mode = closed.stat().st_mode
    closed.chmod(0)
    try:
        with without_rights():
            message = refusal_of(raw, files)
    finally:
        closed.chmod(mode)
    assert "Permission denied" in message and str(raw.parents[1]) in message


def test_a_folder_in_place_of_a_file(raw: Path) -> None:
    files = checksums(raw)
    (raw / FILES[0]).unlink()
    (raw / FILES[0]).mkdir()
    assert "directory" in refusal_of(raw, files)


def test_other_digits_than_the_known_ones_are_refused() -> None:
    settings = {
        "name": "digits", "channels": 1, "image_size": 28, "num_classes": 10,
        "source": {"_target_": "ganbench.data.digits_dataset", "sha256": "0" * 64},
    }  # fmt: skip
    with pytest.raises(DataError, match=r"sha256 .*, expected 0000"):
        build_dataset(settings)


def made_up(images: Tensor, labels: Tensor) -> Any:
    return lambda root: (images, labels, images, labels)


MINE = {
    "name": "mine", "channels": 1, "image_size": 8, "num_classes": 4,
    "source": {"_target_": "ganbench.data.digits_dataset"},
}  # fmt: skip
IMAGES, LABELS = torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.arange(4)


@pytest.mark.parametrize(
    "images, labels, complaint",
    [
        (IMAGES.float(), LABELS, "images must be uint8 N×C×H×W"),
        (torch.rand(4, 1, 16, 16), LABELS, "images must be uint8 N×C×H×W"),  # of another size, too
        (IMAGES[:, 0], LABELS, "images must be uint8 N×C×H×W"),
        (IMAGES.repeat(1, 3, 1, 1), LABELS, "dataset.channels=1, the images have 3"),
        (IMAGES, LABELS.int(), "labels must be int64"),
        (IMAGES, LABELS[:3], "labels must be int64 of shape"),
        (IMAGES, LABELS + 1, "labels must lie in 0..3"),
        (IMAGES, LABELS - 1, "labels must lie in 0..3"),
        (IMAGES[:0], LABELS[:0], "has no images"),
    ],
)
def test_a_source_that_returns_something_else(
    images: Tensor, labels: Tensor, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganbench.data.digits_dataset", made_up(images, labels))
    with pytest.raises(DataError, match=f"dataset.source of mine, train split.*{complaint}"):
        build_dataset(MINE)


@pytest.mark.parametrize(
    "returned, kinds",
    [
        ((IMAGES, LABELS, IMAGES), "['Tensor', 'Tensor', 'Tensor']"),
        ([IMAGES.numpy(), LABELS.numpy()] * 2, "['ndarray', 'ndarray', 'ndarray', 'ndarray']"),
        (None, "NoneType"),
        ({}, "dict"),
        ("four", "str"),
    ],
    ids=["three", "arrays", "nothing", "mapping", "text"],
)
def test_a_source_returns_four_tensors(returned: Any, kinds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganbench.data.digits_dataset", lambda root: returned)
    with pytest.raises(DataError, match=r"dataset\.source of mine: must return four tensors") as caught:
        build_dataset(MINE)
    assert f"returned {kinds};" in str(caught.value)


def test_classes_without_an_image_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ganbench.data.digits_dataset", made_up(IMAGES, LABELS))
    build_dataset(MINE)
    assert caplog.text == ""
    build_dataset({**MINE, "num_classes": MINE["num_classes"] + 2})
    assert f"the train split has no image of 2 of them (the first is {MINE['num_classes']})" in caplog.text


def test_images_of_other_proportions_become_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganbench.data.digits_dataset", made_up(IMAGES[:, :, :6], LABELS))
    assert build_dataset(MINE).train.images.shape == (4, 1, 8, 8)


# --- conversion -------------------------------------------------------------------------------------


def test_every_grey_value_survives_the_round_trip() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    x = to_float(levels)
    assert x.dtype == torch.float32 and x[0].item() == -1.0 and x[255].item() == 1.0
    assert torch.allclose(x.double(), levels.double() / 127.5 - 1, rtol=0, atol=1e-6)
    assert torch.equal(to_uint8(x), levels)


def test_quantisation_rounds_and_clamps() -> None:
    x = torch.tensor([-2.0, -1.0, -0.9999, 0.0, 0.001, 0.9999, 1.0, 7.0])
    expected = [min(max(round((v + 1) * 127.5), 0), 255) for v in x.tolist()]
    assert to_uint8(x).tolist() == expected
    assert to_uint8(x.bfloat16()).dtype == torch.uint8
    assert x[0].item() == -2.0, "the argument is left alone"


# --- batches ----------------------------------------------------------------------------------------


def numbered(count: int) -> Split:
    """Images that carry their own number, so that one can see which were drawn."""
    numbers = torch.arange(count, dtype=torch.uint8)
    return Split(numbers.view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous(), numbers.long())


def drawn(batches: Batches, count: int) -> list[list[int]]:
    found = []
    for _ in range(count):
        images, labels = next(batches)
        assert torch.equal(to_uint8(images)[:, 0, 0, 0].long(), labels)
        found.append(labels.tolist())
    return found


@pytest.mark.parametrize("drop_last, sizes", [(True, [4, 4]), (False, [4, 4, 3])])
def test_every_image_at_most_once_an_epoch(drop_last: bool, sizes: list[int]) -> None:
    batches = Batches(numbered(11), 4, seed=0, device=CPU, drop_last=drop_last)
    assert batches.batches_per_epoch == len(sizes)
    epochs = [drawn(batches, len(sizes)) for _ in range(20)]
    for epoch in epochs:
        assert [len(batch) for batch in epoch] == sizes
        flat = [number for batch in epoch for number in batch]
        assert len(set(flat)) == len(flat) and set(flat) <= set(range(11))
    assert len({tuple(map(tuple, epoch)) for epoch in epochs}) == 20, "each epoch is shuffled anew"
    assert {number for epoch in epochs for batch in epoch for number in batch} == set(range(11))


def test_first_places_are_uniform() -> None:
    """Each of 5 images comes first in a fifth of 2,000 epochs, to five standard errors."""
    batches = Batches(numbered(5), 5, seed=3, device=CPU)
    firsts = torch.tensor([batch[0] for batch in drawn(batches, 2000)])
    shares = torch.bincount(firsts, minlength=5) / 2000
    assert (shares - 0.2).abs().max().item() < 5 * math.sqrt(0.2 * 0.8 / 2000)


def test_batches_are_floats_in_minus_one_to_one() -> None:
    split = Split(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1), torch.tensor([0, 1]))
    batches = Batches(split, 2, seed=0, device=CPU)
    images, labels = next(batches)
    assert images.dtype == torch.float32 and images.flatten()[labels.argsort()].tolist() == [-1.0, 1.0]
    assert batches.images.dtype == torch.uint8, "the data itself stays as bytes"


def test_the_seed_decides_the_order_and_nothing_else_does() -> None:
    torch.manual_seed(1)
    first = drawn(Batches(numbered(20), 3, seed=5, device=CPU), 15)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert drawn(Batches(numbered(20), 3, seed=5, device=CPU), 15) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert drawn(Batches(numbered(20), 3, seed=6, device=CPU), 15) != first


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("before", [0, 1, 2, 3, 7])
def test_restored_batches_go_on_exactly(before: int, drop_last: bool) -> None:
    original = Batches(numbered(11), 4, seed=0, device=CPU, drop_last=drop_last)
    drawn(original, before)
    state = original.state_dict()
    expected = drawn(original, 9)
    other = Batches(numbered(11), 4, seed=99, device=CPU, drop_last=drop_last)
    drawn(other, 2)
    other.load_state_dict(state)
    assert drawn(other, 9) == expected


def test_only_checksums_of_all_files_say_which_images_they_are() -> None:
    source = load_group("dataset", "mnist")["source"]
    few = dict(list(source["files"].items())[:3])
    assert has_all_checksums(source) and has_all_checksums(load_group("dataset", "digits")["source"])
    assert not has_all_checksums({**source, "files": few})
    assert not has_all_checksums({"_target_": "stripes.stripes", "sha256": "of nobody's interest"})
