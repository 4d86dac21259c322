from __future__ import annotations

import torch

from ganbench.metrics.labels import labels_to_ask, reference_counts


def test_asking_for_as_many_as_the_reference_gives_exactly_its_counts():
    labels = torch.tensor([2] * 5 + [0] * 3 + [1] * 9)
    assert reference_counts(labels, 4, 17).tolist() == [3, 9, 5, 0]


def test_other_counts_go_by_largest_remainder():
    labels = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    assert reference_counts(labels, 3, 7).tolist() == [4, 2, 1]  # 3.5, 2.1, 1.4
    assert reference_counts(labels, 3, 1).tolist() == [1, 0, 0]


def test_labels_top_every_class_up_after_the_reference_counts():
    labels = labels_to_ask(torch.tensor([1, 4, 2]), 3)
    assert labels.tolist() == [0, 1, 1, 1, 1, 2, 2, 0, 0, 2]
