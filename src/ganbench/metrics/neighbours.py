"""Nearest neighbours in feature space, block by block so that no whole distance matrix exists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

# 20 MB of float64: glibc, left to itself, gives each block above some 32 MB back and takes it anew.
BLOCK_ELEMENTS = 2_500_000


class Neighbours(NamedTuple):
    """Nearest point of each query: position int64 N and Euclidean distance float64 N."""

    position: Tensor
    distance: Tensor


def blocks(queries: int, points: int) -> Iterator[slice]:
    """Slices over the queries such that a block of distances holds about BLOCK_ELEMENTS numbers."""
    rows = max(1, BLOCK_ELEMENTS // max(1, points))
    for start in range(0, queries, rows):
        yield slice(start, min(start + rows, queries))


def radii(points: Tensor, k: int) -> Tensor:
    """Distance float64 N from each of points N×D to its k-th nearest other point; needs N > k."""
    points = points.double()
    found = [
        torch.cdist(points[rows], points).topk(k + 1, dim=1, largest=False).values[:, k]
        for rows in blocks(len(points), len(points))
    ]
    return torch.cat(found)


def nearest(queries: Tensor, points: Tensor) -> Neighbours:
    """Nearest of points M×D to each of queries N×D; needs M ≥ 1."""
    return _nearest(queries, points, same=False)


def nearest_other(points: Tensor) -> Neighbours:
    """Nearest other point to each of points N×D; needs N > 1."""
    return _nearest(points, points, same=True)


def _nearest(queries: Tensor, points: Tensor, same: bool) -> Neighbours:
    # The search runs in float32 (60,000 points squared), on features moved to the origin to keep
    # what cancellation would lose: candidates whose distances differ by less than a thousandth of
    # the features' spread may be taken for each other. The distance returned is exact.
    centre = points.double().mean(dim=0)
    centred = (points.double() - centre).float()
    asked = centred if same else (queries.double() - centre).float()
    half_square = centred.square().sum(dim=1) / 2
    index = torch.empty(len(asked), dtype=torch.int64)
    for rows in blocks(len(asked), len(points)):
        score = torch.addmm(half_square, asked[rows], centred.T, alpha=-1)
        if same:
            score[torch.arange(rows.stop - rows.start), torch.arange(rows.start, rows.stop)] = torch.inf
        index[rows] = score.argmin(dim=1)
    distance = (queries.double() - points[index].double()).norm(dim=1)
    return Neighbours(index, distance)
