"""The Inception path, end to end with random weights of the right shapes."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import random
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset
from torch_fidelity import calculate_metrics
from torch_fidelity import feature_extractor_inceptionv3 as fidelity
from torch_fidelity.metric_kid import kid_features_to_metric

from ganbench.data import Split
from ganbench.errors import UserError
from ganbench.metrics.cache import Cache
from ganbench.metrics.features import load_extractor
from ganbench.metrics.inception import WEIGHTS_FILE, InceptionExtractor, find_weights
from ganbench.metrics.protocol import EvalSettings
from ganbench.metrics.reference import Reference
from ganbench.metrics.scoring import score_images

COUNT = 5
EXACT_FID = os.environ.get("GANBENCH_SLOW_TESTS") == "1"
"""The eigenvalues of two 2048×2048 products take most of a minute; rank 4 is enough else."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A weights file that keeps the scale of what passes through, so that nothing vanishes."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = fidelity.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def extractor(weights) -> InceptionExtractor:
    return InceptionExtractor(weights)


@pytest.fixture
def low_rank(monkeypatch):
    """Eigenvalues of a matrix of low rank from its restriction to its own range."""
    exact = np.linalg.eigvals

    def eigvals(matrix):
        if EXACT_FID or len(matrix) < 100:
            return exact(matrix)
        noise = np.random.RandomState(0).normal(size=(len(matrix), 4 * COUNT))
        basis, _ = np.linalg.qr(matrix @ noise)
        return exact(basis.T @ matrix @ basis)

    monkeypatch.setattr(np.linalg, "eigvals", eigvals)


class Rgb(Dataset):
    """Grey images as torch-fidelity reads a folder of them: three equal channels."""

    def __init__(self, images):
        self.images = images.repeat(1, 3, 1, 1)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def test_scores_are_those_of_torch_fidelity(extractor, weights, low_rank, tmp_path):
    random = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (COUNT, 1, 28, 28), dtype=torch.uint8, generator=random)
    fake = real // 2
    fake[COUNT // 2 :] = 100
    fake[-1, :, :14] = 0
    settings = EvalSettings(
        num_samples=COUNT,
        extractor="inception",
        seed=3,
        kid_subsets=4,
        kid_subset_size=4,
        is_splits=2,
        pr_k=3,
    )
    reference = Reference(
        Split(real, torch.zeros(COUNT, dtype=torch.int64)), extractor, cache=Cache(tmp_path)
    )
    ours = score_images(fake, reference, extractor, settings)
    theirs = calculate_metrics(
        input1=Rgb(fake),
        input2=Rgb(real),
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(weights),
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
        fid=True,
        isc=True,
        isc_splits=2,
        kid=True,
        kid_subsets=4,
        kid_subset_size=4,
        prc=True,
        prc_neighborhood=3,
        rng_seed=3,
    )
    names = {
        "fid": "frechet_inception_distance",
        "is_mean": "inception_score_mean",
        "precision": "precision",
        "recall": "recall",
    }
    assert {name: ours.values[name] for name in names} == pytest.approx(
        {name: theirs[key] for name, key in names.items()}, rel=1e-6
    )
    # Its KID is computed in float32: ours of our features in float32 is the same number, but for what the
    # difference of nearly equal sums makes of features' last bits, and in float64 one that differs by what
    # float32 loses.
    single = kid_features_to_metric(
        extractor(fake, 64).features,
        reference.features,
        kid_subsets=4,
        kid_subset_size=4,
        rng_seed=3,
        verbose=False,
    )
    assert single["kernel_inception_distance_mean"] == pytest.approx(
        theirs["kernel_inception_distance_mean"], rel=1e-5
    )
    assert ours.values["kid_mean"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-3)
    assert ours.values["fid"] > 0.01
    assert {"class_kl", "class_consistency", "pixel_std"} <= ours.absent.keys()


def test_the_record_gets_the_hash_of_the_file(extractor, weights):
    assert extractor.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert extractor.num_classes is None


def test_other_weights_than_the_published_are_said(weights, caplog):
    InceptionExtractor(weights)
    assert "will not compare with the literature" in caplog.text


def test_shapes_of_colour_images_and_batches(extractor):
    images = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    found = extractor(images, batch_size=2)
    assert (found.features.shape, found.logits.shape) == ((3, 2048), (3, 1008))
    with pytest.raises(UserError, match="1 or 3 channels, got 2"):
        extractor(images[:, :2], batch_size=2)


def test_absent_weights_name_file_and_place(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def refuse(*_, **__):
        assert socket.getdefaulttimeout() == 5
        raise OSError("network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    with pytest.raises(UserError) as caught:
        load_extractor("inception", "mnist")
    text = str(caught.value)
    assert WEIGHTS_FILE in text
    assert str(tmp_path / "hub" / "checkpoints") in text
    assert f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS_FILE}" in text
    assert "eval.inception_weights=PATH" in text
    assert socket.getdefaulttimeout() is None


def test_a_silent_server_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("ganbench.network.TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/{WEIGHTS_FILE}"
        monkeypatch.setattr(fidelity, "URL_INCEPTION_V3", address)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with pytest.raises(UserError, match="timed out"):
            find_weights()


def test_weights_in_the_hub_folder_are_found(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / WEIGHTS_FILE).symlink_to(weights)
    assert find_weights() == tmp_path / "checkpoints" / WEIGHTS_FILE


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path(os.environ["GANBENCH_TEST_MARK"]),)


def test_random_and_damaged_files_are_refused_too(tmp_path):
    """Wrong bytes fail anywhere in torch's reader, with any exception."""
    path, whole = tmp_path / "given.pth", io.BytesIO()
    torch.save({"weight": torch.zeros(3)}, whole)
    draw = random.Random(0)
    for _ in range(100):
        content = bytearray(whole.getvalue() if draw.random() < 0.5 else draw.randbytes(200))
        for _ in range(20):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"eval\.inception_weights.*given\.pth"):
            InceptionExtractor(path)


@pytest.mark.parametrize("content", ["missing", "text", "pickle", "list", "other tensors"])
def test_a_file_of_something_else_is_refused(tmp_path, content, monkeypatch):
    path = tmp_path / "given.pth"
    monkeypatch.setenv("GANBENCH_TEST_MARK", str(tmp_path / "mark"))
    if content == "text":
        path.write_text("not weights")
    elif content == "pickle":
        path.write_bytes(pickle.dumps(Bomb(), protocol=2))
    elif content == "list":
        torch.save([1, 2], path)
    elif content == "other tensors":
        torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(UserError, match=r"eval\.inception_weights.*given\.pth"):
        InceptionExtractor(path)
    assert not (tmp_path / "mark").exists()
