from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from ganbench.errors import UserError
from ganbench.metrics import classes, diversity, memorisation, neighbours
from ganbench.metrics.density_coverage import density_coverage
from ganbench.metrics.evaluation import Evaluator, Origin, fid_of
from ganbench.metrics.fid import fid, statistics
from ganbench.metrics.inception_score import inception_score
from ganbench.metrics.kid import kid
from ganbench.metrics.precision_recall import precision_recall
from ganbench.metrics.protocol import ALL_METRICS, EvalSettings
from ganbench.metrics.reference import Reference
from ganbench.metrics.scoring import FAMILIES, score_images, unusable

SETTINGS = EvalSettings(
    num_samples=60,
    batch_size=16,
    kid_subsets=3,
    kid_subset_size=20,
    is_splits=2,
    per_class=20,
    training_num_samples=30,
)
ALL_VALUES = {
    "fid", "kid_mean", "kid_std", "is_mean", "is_std", "precision", "recall", "density", "coverage",
    "class_kl", "class_consistency", "pixel_std", "feature_distance", "train_closer",
}  # fmt: skip
NAMES = {name for family in FAMILIES.values() for names in family for name in names}
"""What `Scores.absent` calls the metrics."""


@pytest.fixture
def references(tiny, projection, cache):
    return [
        Reference(getattr(tiny, split), projection, "tiny", split, cache=cache) for split in ("test", "train")
    ]


@pytest.fixture
def generated():
    """80 images, of which the last 20 only top the classes up, and the labels asked for."""
    random = torch.Generator().manual_seed(9)
    images = torch.randint(0, 200, (80, 1, 6, 6), generator=random, dtype=torch.uint8)
    return images, torch.arange(80) % 3


def test_every_number_is_the_pure_function_of_the_right_images(references, projection, generated):
    test, train = references
    images, labels = generated
    found = score_images(images, test, projection, SETTINGS, labels, train)
    every = projection(images, 16)
    first = every.features[:60]
    seen, real = every.predicted, test.seen.predicted
    spread = diversity.pixel_std(images, labels, 3, 20)
    distance = diversity.feature_distance(every.features, labels, 3, 20)
    consistency = classes.class_consistency(seen, labels, 3, 20)
    histogram = classes.class_histogram(seen[:60], 3)
    kid_mean, kid_std = kid(first, test.features, 3, 20, SETTINGS.seed)
    is_mean, is_std = inception_score(every.logits[:60], 2, SETTINGS.seed)
    assert found.values == pytest.approx(
        {
            "fid": fid(statistics(first), statistics(test.features)),
            "kid_mean": kid_mean,
            "kid_std": kid_std,
            "is_mean": is_mean,
            "is_std": is_std,
            **precision_recall(first, test.features, 3)._asdict(),
            **density_coverage(first, test.features, 5)._asdict(),
            "class_kl": classes.histogram_kl(histogram, classes.class_histogram(real, 3)),
            "class_consistency": consistency.overall,
            "pixel_std": spread.overall,
            "feature_distance": distance.overall,
            "train_closer": memorisation.train_closer(
                neighbours.nearest(first, train.features), train.spacing
            ),
        },
        rel=1e-12,
    )
    assert found.values.keys() == ALL_VALUES
    assert found.per_class == {
        "histogram": histogram.tolist(),
        "consistency": consistency.per_class,
        "pixel_std": spread.per_class,
        "feature_distance": distance.per_class,
    }
    assert found.absent == {}
    assert found.seconds.keys() == {"reference", "features", "metrics"}


def test_generated_images_pass_the_extractor_once(references, projection, generated):
    score_images(generated[0], references[0], projection, SETTINGS)
    before = projection.seen
    score_images(generated[0], references[0], projection, SETTINGS)
    assert projection.seen == before + 80


def test_unconditional_images_lack_consistency_and_are_told_apart_by_what_is_seen(
    references, projection, generated
):
    found = score_images(generated[0], references[0], projection, SETTINGS)
    assert found.absent == {
        "class_consistency": "the generator is not conditional",
        "train_closer": "no training images were given",
    }
    seen = projection(generated[0], 16).predicted
    expected = diversity.pixel_std(generated[0], seen, 3, 20).overall
    assert found.values["pixel_std"] == pytest.approx(expected, rel=1e-12)


def test_few_images_lose_some_metrics_and_keep_the_others(references, projection, generated):
    settings = replace(SETTINGS, num_samples=3, is_splits=5)
    images, labels = generated[0][:3], generated[1][:3]
    found = score_images(images, references[0], projection, settings, labels, references[1])
    assert found.absent == {
        "kid": "needs at least 20 generated images, has 3",
        "is": "needs at least 5 generated images, has 3",
        "precision": "needs at least 4 generated images, has 3",
        "recall": "needs at least 4 generated images, has 3",
        "pixel_std": "no class has two generated images",
        "feature_distance": "no class has two generated images",
    }
    assert {"fid", "density", "coverage", "class_kl", "train_closer"} <= found.values.keys()


def test_a_small_reference_is_no_crash(tiny, projection, cache, generated):
    from ganbench.data import Split

    one = Reference(Split(tiny.test.images[:1], tiny.test.labels[:1]), projection, cache=cache)
    found = score_images(generated[0], one, projection, SETTINGS, generated[1], one)
    assert found.absent["fid"] == "needs at least 2 images, has 1"
    assert found.absent["density"] == "needs at least 6 reference images, has 1"
    assert found.absent["train_closer"] == "needs at least 2 training images, has 1"


def test_collapsed_images_are_no_crash(references, projection, generated):
    images = generated[0][:1].expand(60, 1, 6, 6)
    found = score_images(images, references[0], projection, SETTINGS, train=references[1])
    assert found.values["fid"] > 1
    assert found.values["recall"] == 0
    assert found.values["feature_distance"] == pytest.approx(0, abs=1e-9)
    assert found.values["is_mean"] == pytest.approx(1, abs=1e-9)


def test_an_extractor_without_the_datasets_classes(references, projection, generated):
    projection.num_classes = None
    found = score_images(*generated[:1], references[0], projection, SETTINGS, generated[1])
    assert set(found.absent) == {"class_kl", "class_consistency", "train_closer"}
    assert "does not know" in found.absent["class_kl"]
    found = score_images(generated[0], references[0], projection, SETTINGS)
    assert {"pixel_std", "feature_distance"} <= found.absent.keys()


def test_only_what_is_asked_for_is_computed(references, projection, generated):
    settings = replace(SETTINGS, metrics=("fid", "classes"))
    found = score_images(generated[0], references[0], projection, settings, generated[1])
    assert found.values.keys() == {"fid", "class_kl", "class_consistency"}


def test_every_family_has_its_functions():
    assert tuple(FAMILIES) == ALL_METRICS
    assert unusable(SETTINGS, "why").absent.keys() == NAMES


class Generator(nn.Module):
    """Images of the tiny dataset's shape; the label sets the brightness."""

    def __init__(self, value: float = 0.0):
        super().__init__()
        self.project = nn.Linear(4, 36)
        self.value = value

    def forward(self, z, labels):
        shifted = self.project(z) + labels[:, None] / 3 + self.value
        return shifted.tanh().view(-1, 1, 6, 6)


ORIGIN = Origin("final", "last", step=7, images=99, train_seconds=1.5)


@pytest.fixture
def evaluator(tiny, projection, cache):
    return Evaluator(tiny, SETTINGS, extractor=projection, cache=cache)


def test_record_has_the_whole_protocol(evaluator, tiny, projection):
    torch.manual_seed(0)
    record = evaluator.score(Generator(), 4, True, ORIGIN)
    assert json.loads(json.dumps(record)) == record
    assert record.keys() == {
        "schema", "when", "weights", "step", "images", "train_seconds", "protocol", "values",
        "per_class", "absent", "batch_size", "seconds", "versions", "created_at",
    }  # fmt: skip
    assert (record["schema"], record["when"], record["weights"]) == (1, "final", "last")
    assert (record["step"], record["images"], record["train_seconds"]) == (7, 99, 1.5)
    assert record["protocol"] == SETTINGS.protocol(
        projection.sha256,
        {"dataset": "tiny", "split": "test", "count": 60, "sha256": tiny.test.sha256, "image_size": 6},
    )
    assert record["values"].keys() == ALL_VALUES
    assert record["absent"] == {}
    assert record["seconds"].keys() == {"sampling", "reference", "features", "metrics"}
    assert fid_of(record) == record["values"]["fid"]


def test_same_generator_same_numbers(evaluator):
    generator = Generator()
    first, second = (evaluator.score(generator, 4, True, ORIGIN) for _ in range(2))
    assert first["values"] == second["values"]


def test_unconditional_generators_make_exactly_the_number(evaluator, projection):
    before = projection.seen
    record = evaluator.score(Generator(), 4, False, ORIGIN)
    # 60 generated, 60 test and 90 train images
    assert projection.seen - before == 60 + 60 + 90
    assert record["absent"] == {"class_consistency": "the generator is not conditional"}


def test_cheap_scores_during_training(evaluator):
    record = evaluator.score(Generator(), 4, True, replace(ORIGIN, when="training"))
    assert record["protocol"]["reference"]["split"] == "train"
    assert record["protocol"]["num_generated"] == 30
    assert record["values"].keys() == {
        "fid", "is_mean", "is_std", "class_kl", "class_consistency",
    }  # fmt: skip


def test_nan_images_are_recorded(evaluator, projection):
    before = projection.seen
    record = evaluator.score(Generator(float("nan")), 4, False, ORIGIN)
    assert record["values"] == {}
    assert set(record["absent"].values()) == {"60 of 60 images hold NaN or inf"}
    assert record["absent"].keys() == NAMES
    assert fid_of(record) == float("inf")
    assert projection.seen == before


def test_training_goes_on_bit_for_bit(evaluator):
    def parameters(score: bool):
        torch.manual_seed(0)
        generator = Generator()
        for _ in range(3):
            loss = generator(torch.randn(5, 4), torch.randint(3, (5,))).square().mean()
            loss.backward()
            with torch.no_grad():
                for parameter in generator.parameters():
                    parameter -= parameter.grad
            if score:
                evaluator.score(generator, 4, True, ORIGIN)
                evaluator.score(generator, 4, True, replace(ORIGIN, when="training"))
        return generator.state_dict()

    with_it, without = parameters(True), parameters(False)
    assert all(torch.equal(with_it[name], without[name]) for name in without)


def test_images_the_extractor_does_not_take_are_refused_at_once(tiny, projection):
    projection.channels = (3,)
    with pytest.raises(UserError, match=r"eval.extractor=judge: takes images of 3 channels, got 1"):
        Evaluator(tiny, SETTINGS, extractor=projection)
