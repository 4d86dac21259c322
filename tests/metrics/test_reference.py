from __future__ import annotations

import torch

from ganbench.data import Split
from ganbench.metrics import neighbours
from ganbench.metrics.fid import statistics
from ganbench.metrics.reference import Reference, chosen, halves


def test_images_are_looked_at_once_for_all(tiny, projection, cache):
    first = Reference(tiny.test, projection, "tiny", "test", cache=cache)
    assert first.features.shape == (60, 8)
    again = Reference(tiny.test, projection, "tiny", "test", cache=cache)
    torch.testing.assert_close(again.features, first.features, rtol=0, atol=0)
    assert torch.equal(again.seen.logits, first.seen.logits)
    assert projection.seen == 60


def test_what_is_derived_is_what_the_functions_give(tiny, projection, cache):
    for _ in range(2):  # made, then read
        reference = Reference(tiny.test, projection, cache=cache)
        fitted = statistics(reference.features)
        assert torch.equal(reference.statistics.mean, fitted.mean)
        assert torch.equal(reference.statistics.covariance, fitted.covariance)
        assert torch.equal(reference.radii(2), neighbours.radii(reference.features, 2))
        assert torch.equal(reference.radii(5), neighbours.radii(reference.features, 5))
        other = neighbours.nearest_other(reference.features)
        assert torch.equal(reference.spacing, other.distance)


def test_radii_are_looked_up_once(tiny, projection, cache, monkeypatch):
    reference = Reference(tiny.test, projection, cache=cache)
    fetch, asked = cache.fetch, []
    monkeypatch.setattr(cache, "fetch", lambda *given: (asked.append(given[1].get("k")), fetch(*given))[1])
    for k in (3, 3, 5, 3):
        reference.radii(k)
    assert [k for k in asked if k is not None] == [3, 5]


def test_other_images_weights_or_shapes_are_other_entries(tiny, projection, cache):
    first = Reference(tiny.test, projection, cache=cache).features
    other_images = Reference(tiny.train, projection, cache=cache)
    assert len(other_images.features) == 90
    projection.sha256 = "1" * 64
    Reference(tiny.test, projection, cache=cache).features.sum()
    assert projection.seen == 60 + 90 + 60
    wide = Split(tiny.test.images.view(60, 1, 4, 9), tiny.test.labels)
    assert wide.sha256 == tiny.test.sha256
    assert torch.equal(Reference(wide, projection, cache=cache).features, first)
    assert projection.seen == 60 + 90 + 60 + 60


def test_description(tiny, projection, cache):
    assert Reference(tiny.test, projection, "tiny", "test", cache=cache).describe() == {
        "dataset": "tiny",
        "split": "test",
        "count": 60,
        "sha256": tiny.test.sha256,
        "image_size": 6,
    }


def test_the_usual_size_is_not_said(projection, cache):
    images = Split(torch.zeros(3, 1, 28, 28, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))
    assert "image_size" not in Reference(images, projection, cache=cache).describe()


def test_choice_is_seeded_and_keeps_images_with_their_labels(tiny):
    one, same, other = (chosen(tiny.train, 20, seed) for seed in (1, 1, 2))
    assert one.sha256 == same.sha256 != other.sha256
    assert len(one) == 20
    for image, label in zip(one.images, one.labels, strict=True):
        where = (tiny.train.images == image).flatten(1).all(1).nonzero().item()
        assert tiny.train.labels[where] == label
    assert chosen(tiny.train, 1000, 1) is tiny.train


def test_halves_share_no_image(tiny):
    first, second = halves(tiny.train, 1000, 0)
    assert len(first) == len(second) == 45
    together = torch.cat([first.images, second.images]).flatten(1)
    assert len(together.unique(dim=0)) == 90
    assert len(halves(tiny.train, 10, 0)[1]) == 10
