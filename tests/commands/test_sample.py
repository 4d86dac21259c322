from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganbench.cli import main
from ganbench.engine.images import grid
from ganbench.engine.sampling import generate, latents
from ganbench.generator import load_generator
from ganbench.runs import RunDirectory


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def expected(run, z, labels):
    """Images uint8 N×C×H×W of the run's generator."""
    return generate(load_generator(run).network, z, labels, 0, 500, "cpu").images


def picture(path) -> torch.Tensor:
    """The grid that a picture shows, H×W, without its enlargement."""
    return torch.from_numpy(np.array(Image.open(path)))[::2, ::2]


def test_a_grid_of_one_class(run_of, here, capsys):
    run = run_of("model=cgan")
    assert main(["sample", str(run), "--class", "8", "--count", "4", "--seed", "3", "--device", "cpu"]) == 0
    images = expected(run, latents(4, 100, 3), torch.full((4,), 8))
    assert torch.equal(picture(here / "samples.png"), grid(images, 2)[0])
    assert "4 images" in capsys.readouterr().out


def test_the_same_images_from_python(run_of):
    run = run_of("model=cgan")
    trained = load_generator(run)
    assert torch.equal(trained.sample(12, seed=5), expected(run, latents(12, 100, 5), torch.arange(12) % 10))
    eights = torch.full((2,), 8)
    assert torch.equal(trained.sample(2, 5, eights), expected(run, latents(2, 100, 5), eights))


def test_a_row_for_each_class(run_of, here):
    run = run_of("model=cgan")
    assert main(["sample", str(run), "--layout", "classes", "--count", "3", "--out", "a/b.png"]) == 0
    images = expected(run, latents(30, 100, 0), torch.arange(10).repeat_interleave(3))
    assert torch.equal(picture(here / "a" / "b.png"), grid(images, 3)[0])


def test_a_row_for_each_latent(run_of, here):
    run = run_of("model=cgan")
    assert main(["sample", str(run), "--layout", "fixed-z", "--count", "2"]) == 0
    z = latents(2, 100, 0).repeat_interleave(10, dim=0)
    images = expected(run, z, torch.arange(10).repeat(2))
    assert torch.equal(picture(here / "samples.png"), grid(images, 10)[0])


def test_arrays(run_of, here):
    run = run_of("model=cgan")
    assert main(["sample", str(run), "--format", "npz", "--count", "12"]) == 0
    arrays = np.load(here / "samples.npz")
    assert arrays["labels"].tolist() == [*range(10), 0, 1]
    images = expected(run, latents(12, 100, 0), torch.arange(12) % 10)
    assert np.array_equal(arrays["images"], images.permute(0, 2, 3, 1).numpy())


def test_a_file_each(run_of, here):
    run = run_of("model=mlp")
    assert main(["sample", str(run), "--format", "png-folder", "--count", "3"]) == 0
    images = expected(run, latents(3, 100, 0), None)
    names = sorted(path.name for path in (here / "samples").iterdir())
    assert names == ["000000.png", "000001.png", "000002.png"]
    for name, image in zip(names, images, strict=True):
        assert np.array_equal(np.array(Image.open(here / "samples" / name)), image[0].numpy())
    assert main(["sample", str(run), "--format", "png-folder"]) == 2


@pytest.mark.parametrize("form", ["grid", "npz"])
def test_only_its_own_files_are_written_over(run_of, here, capsys, form):
    arguments = ["sample", str(run_of("model=mlp")), "--count", "2", "--format", form, "--out", "out"]
    assert main([*arguments, "--seed", "0"]) == 0
    first = (here / "out").read_bytes()
    assert main([*arguments, "--seed", "1"]) == 0
    assert (here / "out").read_bytes() != first
    for foreign in (b"", b"somebody's", b"\x89PNG\r\n\x1a\n"):
        (here / "out").write_bytes(foreign)
        assert main(arguments) == 2
        assert "--out out: would be written over" in capsys.readouterr().err
        assert (here / "out").read_bytes() == foreign


def test_the_target_is_looked_at_before_the_work(here, capsys, monkeypatch):
    monkeypatch.setattr("ganbench.engine.sampling.generate", lambda *_: pytest.fail("sampled"))
    (here / "foreign").write_bytes(b"somebody's")
    (here / "full").mkdir()
    (here / "full" / "file").touch()
    for arguments, message in {
        ("--out", "foreign"): "would be written over",
        ("--out", "."): "is a folder; name a file",
        ("--out", "full", "--format", "png-folder"): "not empty",
        ("--count", "1000001"): "--count 1000001: must be at most 1000000",
    }.items():
        assert main(["sample", "any", *arguments]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("form", ["grid", "npz"])
def test_of_a_file_only_the_ends_are_read(here, capsys, form):
    (here / "huge").touch()
    os.truncate(here / "huge", 300 << 30)
    assert main(["sample", "any", "--format", form, "--out", "huge"]) == 2
    assert "--out huge: would be written over" in capsys.readouterr().err


def test_images_of_all_classes_are_counted(run_of, here, capsys):
    run = run_of("model=cgan")
    assert main(["sample", str(run), "--layout", "fixed-z", "--count", "200000"]) == 2
    said = capsys.readouterr().err
    assert (
        "--count 200000: --layout fixed-z makes 2000000 images of 10 classes; must be at most 1000000" in said
    )


def test_best_weights(run_of, here):
    fast = ("eval.num_samples=40", "eval.kid_subset_size=20", "eval.kid_subsets=2", "eval.per_class=4")
    run = run_of("model=mlp", "eval.enabled=true", "eval.every=2", "eval.training_num_samples=40", *fast)
    arguments = ["sample", str(run), "--count", "2", "--format", "npz"]
    assert main([*arguments, "--weights", "best", "--out", "best.npz"]) == 0
    images = np.load(here / "best.npz")["images"]
    network = load_generator(run, "best").network
    wanted = generate(network, latents(2, 100, 0), None, 0, 500, "cpu").images
    assert np.array_equal(images, wanted.permute(0, 2, 3, 1).numpy())


def test_file_names_of_a_conditional_model_tell_the_class(run_of, here):
    run = run_of("model=cgan")
    assert main(["sample", str(run), "--format", "png-folder", "--count", "2", "--out", "x"]) == 0
    assert sorted(path.name for path in (here / "x").iterdir()) == ["000000_class0.png", "000001_class1.png"]


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("mlp", ["--class", "8"], "--class 8: the model of RUN is not conditional"),
        ("mlp", ["--layout", "fixed-z"], "--layout fixed-z: the model of RUN is not conditional"),
        ("cgan", ["--class", "10"], "--class 10: must lie in 0..9"),
        ("cgan", ["--class", "-1"], "--class -1: must lie in 0..9"),
        ("cgan", ["--class", "1", "--layout", "classes"], "--layout classes shows every class"),
        ("cgan", ["--count", "0"], "--count 0: must be at least 1"),
        ("cgan", ["--seed", "-1"], "--seed -1: must be at least 0"),
        ("cgan", ["--seed", "99999999999999999999"], "must be below 2**63"),
        ("cgan", ["--out", "x.jpg"], "--out x.jpg: --format grid writes .png files"),
        ("cgan", ["--count", "many"], "sample: argument --count: invalid int value"),
        ("cgan", ["--weights", "best"], "has no best weights"),
        ("cgan", ["--device", "gpu"], "device=gpu: must be"),
        ("cgan", ["--out", "/proc/no/file.png"], "--out /proc/no/file.png: cannot be written"),
    ],
)
def test_bad_usage_is_one_line(run_of, here, capsys, model, arguments, message):
    run = run_of(f"model={model}")
    assert main(["sample", str(run), *arguments]) == 2
    error = capsys.readouterr().err
    assert message.replace("RUN", str(run)) in error
    assert error.count("\n") == 1
    assert list(here.iterdir()) == []


def test_a_folder_that_is_no_run(here, capsys):
    assert main(["sample", str(here)]) == 2
    assert "not a run directory" in capsys.readouterr().err


def test_a_configuration_edited_after_training_is_not_what_is_sampled(run_of, here, capsys):
    run = run_of("model=mlp")
    written = (run / "config.yaml").read_text()
    edited = written.replace("seed: 0\n", "seed: 1\n", 1)
    assert edited != written
    (run / "config.yaml").write_text(edited)
    assert main(["sample", str(run)]) == 2
    assert "config.yaml is not the one this run was trained by" in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_images_with_nan_are_said(run_of, spoil, here, capsys):
    run = run_of("model=mlp")
    spoil(run)
    assert main(["sample", str(run), "--count", "5"]) == 0
    assert "5 images hold NaN or inf, shown grey" in capsys.readouterr().err


def test_weights_of_another_run_are_refused(run_of, here, capsys):
    run, other = run_of("model=mlp"), run_of("model=mlp", "seed=1")
    name = "checkpoints/generator.safetensors"
    (run / name).write_bytes((other / name).read_bytes())
    assert main(["sample", str(run)]) == 2
    assert "holds weights of another run (config_hash" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "way"), [("completed", "again with force=true"), ("interrupted", "again")]
)
def test_a_run_without_a_checkpoint_says_how_it_comes_to_one(run_of, here, capsys, status, way):
    run = run_of("model=mlp")
    shutil.rmtree(run / "checkpoints")
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, "status": status}))
    assert main(["sample", str(run)]) == 2
    assert capsys.readouterr().err.strip().endswith(f"run its training command {way}")


def test_a_run_in_training_is_waited_for(run_of, here, capsys):
    run = run_of("model=mlp")
    shutil.rmtree(run / "checkpoints")
    with contextlib.closing(RunDirectory(run).open()):
        assert main(["sample", str(run)]) == 2
    assert "in the hands of process" in capsys.readouterr().err
