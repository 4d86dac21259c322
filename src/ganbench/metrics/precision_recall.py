"""Improved precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ganbench.metrics.errors import require_count

# 32 MB of float64 against 10,000 images, the most that malloc keeps for reuse; torch-fidelity cuts
# both sides into this many rows, so fewer would mean thousands of tiny products.
CHUNK_ROWS = 400


class PrecisionRecall(NamedTuple):
    """Fractions 0..1: generated inside the real manifold, real inside the generated manifold."""

    precision: float
    recall: float


def precision_recall(generated: Tensor, reference: Tensor, k: int) -> PrecisionRecall:
    """Precision and recall of features N×D against M×D, by torch-fidelity in float64, in blocks.

    torch-fidelity's definition is the paper's eq. 1 and 2: a manifold is the union of closed balls
    around each sample, reaching to its k-th nearest neighbour in its own set, the sample itself not
    counted (``kthvalue(k + 1)`` over distances that include the zero to itself). It differs from
    the paper only in what surrounds it: the paper's features are VGG-16's, ours are the protocol's
    extractor's.

    Raises:
        MetricUndefined: either side has no k-th neighbour.
    """
    from torch_fidelity.metric_prc import (
        KEY_METRIC_PRECISION,
        KEY_METRIC_RECALL,
        prc_features_to_metric,
    )

    require_count("generated images", len(generated), k + 1)
    require_count("reference images", len(reference), k + 1)
    # Its fast path holds whole distance matrices: tens of GB at 50,000 images. This one is
    # blockwise.
    found = prc_features_to_metric(
        generated.double(),
        reference.double(),
        prc_neighborhood=k,
        prc_batch_size=CHUNK_ROWS,
        save_cpu_ram=True,
        verbose=False,
    )
    return PrecisionRecall(found[KEY_METRIC_PRECISION], found[KEY_METRIC_RECALL])
