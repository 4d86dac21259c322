"""Known images as if generated: the metrics must put them in the order of their quality."""

from __future__ import annotations

import math

import pytest
import torch

from ganbench.data import load_dataset
from ganbench.metrics.cache import Cache
from ganbench.metrics.controls import blur, control_sets, score_controls
from ganbench.metrics.features import load_extractor
from ganbench.metrics.floors import TRAIN_HALVES, TRAIN_TEST, floors
from ganbench.metrics.protocol import EvalSettings
from ganbench.metrics.reference import Reference

SETTINGS = EvalSettings(num_samples=500, per_class=50, kid_subset_size=50, kid_subsets=20)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def judge():
    return load_extractor("judge", "digits")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def scores(digits, judge, cache):
    test, train = (
        Reference(getattr(digits, name), judge, "digits", name, cache=cache) for name in ("test", "train")
    )
    return score_controls(digits, judge, SETTINGS, test, train)


@pytest.fixture(scope="module")
def floor(digits, judge, cache):
    return {record["floor"]: record for record in floors(digits, judge, SETTINGS, cache)}


def values(scores, name):
    return {control: found.values[name] for control, found in scores.items()}


def test_fid_orders_the_controls(scores):
    found = values(scores, "fid")
    assert found["real"] == pytest.approx(0, abs=1e-6)
    assert found["real"] < found["copied"] < found["class dropped"] < found["one class"]
    assert found["copied"] < found["blurred"] < found["noise"]
    assert found["class dropped"] < found["noise"]


def test_kid_orders_the_controls(scores):
    found = values(scores, "kid_mean")
    # Unbiased: images of the same kind score about 0, on either side of it.
    assert found["real"] == pytest.approx(0, abs=0.01)
    assert found["copied"] == pytest.approx(0, abs=0.01)
    good = max(found["real"], found["copied"])
    assert good < found["class dropped"] < found["one class"]
    assert good < found["blurred"] < found["noise"]


def test_precision_and_density_fall_with_quality_alone(scores):
    for name in ("precision", "density"):
        found = values(scores, name)
        assert found["noise"] < 0.05 < found["blurred"] < found["copied"]
        # Fewer kinds of images, each as good as before.
        assert found["class dropped"] > 0.9
        assert found["one class"] > 0.9
    assert values(scores, "precision")["real"] == 1


def test_recall_and_coverage_fall_with_variety(scores):
    for name in ("recall", "coverage"):
        found = values(scores, name)
        assert found["real"] > 0.99
        assert found["noise"] < 0.02
        assert found["one class"] < 0.2 < found["class dropped"] < 0.95
        assert found["class dropped"] < found["real"]


def test_class_metrics_tell_what_is_missing(scores):
    kl = values(scores, "class_kl")
    assert kl["real"] == 0
    assert kl["class dropped"] == pytest.approx(math.log(10 / 9), abs=0.02)
    assert kl["one class"] == pytest.approx(math.log(10), abs=0.05)
    consistency = values(scores, "class_consistency")
    assert consistency["real"] > 0.97
    assert consistency["shuffled labels"] == pytest.approx(0.1, abs=0.05)
    assert scores["one class"].per_class["consistency"][1:] == [None] * 9


def test_labels_change_nothing_else(scores):
    shuffled, real = scores["shuffled labels"].values, scores["real"].values
    same = {"fid", "kid_mean", "is_mean", "precision", "recall", "density", "coverage", "class_kl"}
    assert {name: shuffled[name] for name in same} == {name: real[name] for name in same}
    # Classes that hold a bit of every class look more varied than they are.
    assert shuffled["feature_distance"] > 2 * real["feature_distance"]


def test_copies_are_found_out(scores):
    found = values(scores, "train_closer")
    assert found["copied"] == 1
    assert 0.3 < found["real"] < 0.75
    assert found["noise"] < 0.1


def test_floors_lie_between_equality_and_any_defect(scores, floor):
    assert set(floor) == {TRAIN_TEST, TRAIN_HALVES}
    for record in floor.values():
        assert values(scores, "fid")["real"] < record["values"]["fid"]
        assert record["values"]["fid"] < values(scores, "fid")["blurred"]
        assert record["values"]["class_consistency"] > 0.97
        assert record["when"] == "floor"
        assert 0.3 < record["values"]["train_closer"] < 0.75
    fresh = values(scores, "train_closer")["real"]
    assert floor[TRAIN_TEST]["values"]["train_closer"] == fresh


def test_floors_say_their_counts(digits, floor):
    first, second = floor[TRAIN_TEST]["protocol"], floor[TRAIN_HALVES]["protocol"]
    assert (first["num_generated"], first["reference"]["count"]) == (500, 500)
    assert first["reference"]["sha256"] == digits.test.sha256
    assert second["reference"]["split"] == "train"
    assert (second["num_generated"], second["reference"]["count"]) == (500, 500)


def test_control_sets_are_what_they_say(digits):
    sets = control_sets(digits, 200, seed=0)
    assert [len(sets[name]) for name in ("real", "copied", "blurred", "noise")] == [200] * 4
    assert sets["class dropped"].labels.max() == 8
    assert sets["one class"].labels.unique().tolist() == [0]
    train = {image.numpy().tobytes() for image in digits.train.images}
    assert all(image.numpy().tobytes() in train for image in sets["copied"].images)
    assert sets["shuffled labels"].labels.bincount().equal(sets["real"].labels.bincount())


def test_blur_keeps_flat_images_and_spreads_a_point_as_a_gaussian():
    flat = torch.full((2, 3, 9, 9), 77, dtype=torch.uint8)
    assert torch.equal(blur(flat, 1.5), flat)
    point = torch.zeros(1, 1, 21, 21, dtype=torch.uint8)
    point[0, 0, 10, 10] = 255
    spread = blur(point, 1.0)[0, 0]
    assert spread[10, 10].item() == pytest.approx(255 / (2 * math.pi), abs=0.6)
    assert spread[10, 11].item() == pytest.approx(255 / (2 * math.pi) * math.exp(-0.5), abs=0.6)
