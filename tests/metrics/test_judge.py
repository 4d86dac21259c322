from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ganbench import data
from ganbench.errors import UserError
from ganbench.metrics import judge as judge_module
from ganbench.metrics.evaluation import Evaluator
from ganbench.metrics.judge import Judge, load_judge
from ganbench.metrics.protocol import EvalSettings

WEIGHTS = Path(judge_module.__file__).with_name("weights")
DATASETS = ("mnist", "fashion_mnist", "digits")
VARIANTS = ("judge", "judge_b")
REQUIRED_ACCURACY = {"mnist": 0.995, "fashion_mnist": 0.935, "digits": 0.98}  # as docs/metrics.md promises
SHIPPED = [(d, v) for d in DATASETS for v in VARIANTS]
TORCHVISION_NAMES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
DIGITS_SHA256 = "65e5b4619795efb40c1082f4c350c049e4ad552200d369b6ae99e21eef5e72c5"

every_judge = pytest.mark.parametrize(("dataset", "variant"), SHIPPED)


def random_images(count: int, channels: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, 28, 28), dtype=torch.uint8, generator=generator)


@pytest.fixture
def copied_weights(tmp_path: Path) -> Path:
    for suffix in ("json", "safetensors"):
        shutil.copy(WEIGHTS / f"digits_judge.{suffix}", tmp_path)
    return tmp_path


@torch.inference_mode()
def accuracy(judge: Judge, images: torch.Tensor, labels: torch.Tensor) -> float:
    logits = torch.cat([judge(batch)[1] for batch in images.split(1000)])
    return (logits.argmax(1) == labels).double().mean().item()


def test_shapes_and_dtypes() -> None:
    features, logits = Judge(in_channels=3, num_classes=7).eval()(random_images(2, channels=3))
    assert features.shape == (2, 64)
    assert logits.shape == (2, 7)
    assert features.dtype == logits.dtype == torch.float32


def test_other_than_tensors_of_bytes_are_refused() -> None:
    with pytest.raises(TypeError, match=r"a torch tensor of uint8 images in 0..255, got torch.float32"):
        Judge()(torch.zeros(2, 1, 28, 28))
    with pytest.raises(TypeError, match=r"a torch tensor of uint8 images in 0..255, got ndarray"):
        Judge()(torch.zeros(2, 1, 28, 28, dtype=torch.uint8).numpy())


@pytest.mark.parametrize(
    "shape", [(0, 1, 28, 28), (2, 3, 28, 28), (1, 28, 28), (2, 1, 32, 32), (2, 1, 28, 20)]
)
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="N×1×28×28"):
        Judge()(torch.zeros(shape, dtype=torch.uint8))


def test_images_are_left_as_they_were() -> None:
    images = random_images(2)
    Judge().eval()(images)
    assert torch.equal(images, random_images(2))


def test_parameter_count() -> None:
    convolutions = 9 * (4 * 48 + 48 * 48 + 48 * 96 + 96 * 96 + 96 * 128)
    norms = 2 * (48 + 48 + 96 + 96 + 128)
    linears = (128 * 64 + 64) + (64 * 10 + 10)
    assert sum(p.numel() for p in Judge().parameters()) == convolutions + norms + linears == 267_210


@every_judge
def test_shipped_judge_is_frozen_and_described(dataset: str, variant: str) -> None:
    judge = load_judge(dataset, variant)
    weights = WEIGHTS / f"{dataset}_{variant}.safetensors"
    assert not judge.training
    assert not any(p.requires_grad for p in judge.parameters())
    assert weights.stat().st_size < 2_000_000
    assert judge.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    card = judge.card
    assert (card["dataset"], card["variant"]) == (dataset, variant)
    assert card["parameters"] == sum(p.numel() for p in judge.parameters())
    assert REQUIRED_ACCURACY[dataset] <= card["test_accuracy"] <= 1
    assert card["train_count"] > card["validation_count"] > 0


@pytest.mark.parametrize("dataset", DATASETS)
def test_variants_differ(dataset: str) -> None:
    first, second = (load_judge(dataset, variant) for variant in VARIANTS)
    assert first.sha256 != second.sha256
    assert first.card["seed"] != second.card["seed"]
    assert first.card["dataset_sha256"] == second.card["dataset_sha256"]


@torch.inference_mode()
def test_features_do_not_depend_on_the_batch_size() -> None:
    judge, images = load_judge("digits"), random_images(40)
    whole, _ = judge(images)
    for size in (1, 7):
        parts = torch.cat([judge(batch)[0] for batch in images.split(size)])
        torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-5)


def test_altered_weights_are_refused(copied_weights: Path) -> None:
    path = copied_weights / "digits_judge.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    expected = json.loads((copied_weights / "digits_judge.json").read_text())["sha256"]
    with pytest.raises(UserError) as caught:
        load_judge("digits", folder=copied_weights)
    message = str(caught.value)
    for part in (str(path), expected, hashlib.sha256(content).hexdigest(), "reinstall"):
        assert part in message


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_missing_half_is_refused(copied_weights: Path, suffix: str) -> None:
    (copied_weights / f"digits_judge.{suffix}").unlink()
    with pytest.raises(UserError, match=rf"digits_judge\.{suffix}.*reinstall"):
        load_judge("digits", folder=copied_weights)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"sha256": "0"}'])
def test_a_damaged_card_is_refused(copied_weights: Path, content: str) -> None:
    (copied_weights / "digits_judge.json").write_text(content)
    with pytest.raises(UserError, match=r"digits_judge\.json.*reinstall"):
        load_judge("digits", folder=copied_weights)


@pytest.mark.parametrize(("dataset", "variant"), [("cifar", "judge"), ("digits", "judge_c")])
def test_unknown_names_list_what_there_is(dataset: str, variant: str) -> None:
    with pytest.raises(UserError) as caught:
        load_judge(dataset, variant)
    assert f"'{dataset}'" in str(caught.value)
    for name, shipped in SHIPPED:
        assert f"{name}_{shipped}" in str(caught.value)


@pytest.mark.parametrize("variant", VARIANTS)
def test_accuracy_on_digits(variant: str) -> None:
    judge = load_judge("digits", variant)
    _, _, images, labels = data.digits_dataset(Path(), DIGITS_SHA256)
    found = accuracy(judge, images, labels)
    assert found >= 0.98
    assert found == pytest.approx(judge.card["test_accuracy"], abs=1 / 500)


@pytest.mark.skipif("GANBENCH_DATA" not in os.environ, reason="GANBENCH_DATA names no datasets")
@pytest.mark.parametrize(("dataset", "variant"), [(d, v) for d, v in SHIPPED if d in TORCHVISION_NAMES])
def test_accuracy_on_real_data(dataset: str, variant: str) -> None:
    judge = load_judge(dataset, variant)
    root = data.data_root()
    if not (root / TORCHVISION_NAMES[dataset]).is_dir():
        pytest.skip(f"GANBENCH_DATA holds no {TORCHVISION_NAMES[dataset]}")
    _, _, images, labels = data.torchvision_dataset(root, TORCHVISION_NAMES[dataset], {})
    found = accuracy(judge, images, labels)
    assert found >= REQUIRED_ACCURACY[dataset]
    # Another processor may sum in another order and tip an image or two.
    assert found == pytest.approx(judge.card["test_accuracy"], abs=3e-4)


@pytest.mark.parametrize(
    "name, size, told", [("digits", 28, False), ("digits", 32, False), ("mnist", 28, True)]
)
def test_a_judge_of_other_images_of_that_name_is_told(
    name: str, size: int, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    Evaluator(replace(data.load_dataset("digits", image_size=size), name=name), EvalSettings())
    said = f"eval.extractor=judge: was trained on other images called {name} than these"
    assert (said in caplog.text) == told
