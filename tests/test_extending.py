"""A loss from outside: one class, one YAML, this test; nothing of ganbench is touched."""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ganbench.cli import main
from ganbench.config import compose, foreign_code, loss_parameters
from ganbench.engine.gan import build_loss
from ganbench.runs import find_runs, read_run

EXTENSION = Path(__file__).parent / "extension"
SMALL = ["dataset=digits", "train.steps=2", "train.batch_size=4", "eval.enabled=false"]


def test_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXTENSION)
    config = compose(["loss=exponential", "loss.scale=2"], config_dir=str(EXTENSION))
    assert loss_parameters(config["loss"]) == {"_target_": "my_losses.Exponential", "scale": 2}
    assert config["model"]["discriminator"]["norm"] == "layer" and config["loss"]["n_critic"] == 1
    loss = build_loss(config)
    real, fake = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.5]).double()
    expected = (math.exp(-2) + 1) / 2 + math.exp(1)
    assert loss.d_loss(real, fake).item() == pytest.approx(expected, abs=1e-12)
    assert loss.g_loss(fake).item() == pytest.approx(math.exp(-1), abs=1e-12)


@pytest.mark.parametrize(
    "flag", [["--config-dir", str(EXTENSION)], [f"--config-dir={EXTENSION}"], [f"--config-d={EXTENSION}"]]
)
def test_it_trains(
    flag: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached_data: None
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *flag, "loss=exponential", "loss.scale=0.25", *SMALL]) == 0
    (path,) = find_runs(tmp_path / "outputs")
    record = read_run(path)
    assert record.info["name"]["loss"] == "exponential" and record.config["loss"]["scale"] == 0.25
    assert record.history[-1]["step"] == 2
    assert str(EXTENSION) in sys.path


def test_options_may_stand_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached_data: None
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        main(["train", SMALL[0], "--config-dir", str(EXTENSION), "-m", "loss=exponential", *SMALL[1:]]) == 0
    )
    (path,) = find_runs(tmp_path / "outputs")
    assert read_run(path).info["name"]["loss"] == "exponential"


@pytest.fixture(autouse=True)
def fresh_modules() -> Iterator[None]:
    """Pages name their modules alike: each test imports its own."""
    yield
    for name in ("margin_loss", "tiny_model", "stripes", "my_losses", "fancy"):
        sys.modules.pop(name, None)


def build(page: str, folder: Path) -> Path:
    """The folder that a page builds: each code block that begins with its path."""
    text = (Path(__file__).parents[1] / page).read_text()
    for name, content in re.findall(r"```\w+\n# (mine/[\w./]+)\n(.*?)```", text, flags=re.DOTALL):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder / "mine"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return build("docs/extending.md", tmp_path)


def test_the_readmes_loss_trains_word_for_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build("README.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config-dir", "mine", "loss=margin", *SMALL]) == 0
    (path,) = find_runs("outputs")
    assert path.parts[1:4] == ("digits", "mlp", "margin")


def test_the_page_trains_word_for_word(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(mine.parent)
    small = ["train.steps=2", "train.batch_size=4", "eval.enabled=false"]
    chosen = ["loss=margin", "model=tiny", "dataset=stripes"]
    assert main(["train", "--config-dir", "mine", *chosen, *small]) == 0
    (path,) = find_runs("outputs")
    assert path.parts[1:4] == ("stripes", "tiny", "margin")
    assert read_run(path).info["steps_done"] == 2
    assert main(["sample", str(path), "--out", "x.png"]) == 2
    assert "--trust" in capsys.readouterr().err and not Path("x.png").exists()
    assert main(["sample", str(path), "--out", "x.png", "--trust"]) == 0
    assert Path("x.png").read_bytes().startswith(b"\x89PNG")


def test_a_loss_may_have_fields_of_any_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fancy.py").write_text(
        "from dataclasses import dataclass, field\n"
        "from ganbench.losses import Hinge\n"
        "@dataclass(frozen=True)\n"
        "class Fancy(Hinge):\n"
        "    scale: float = 1.0\n"
        "    weights: list[float] = field(default_factory=lambda: [1.0])\n"
        "    made: float = field(init=False, default=3.0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = compose(["loss=hinge", "dataset=digits"])
    config["loss"] = {**config["loss"], "_target_": "fancy.Fancy", "scale": 2}
    loss = build_loss(config)
    assert (loss.scale, loss.weights, loss.made) == (2.0, [1.0], 3.0)  # type: ignore[attr-defined]


def test_its_mistakes_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config-dir", str(EXTENSION), "loss=exponential", "+loss.scal=1", *SMALL]) == 2
    assert "loss.scal: unknown key for Exponential; did you mean loss.scale?" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_run_of_ones_own_is_trained_again_where_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached_data: None, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config-dir", str(EXTENSION), "loss=exponential", *SMALL]) == 0
    (path,) = find_runs("outputs")
    moved = path.rename("moved")
    (moved / "config.yaml").rename("again.yaml")
    assert main(["train", "again.yaml"]) == 2
    assert "pass --trust" in capsys.readouterr().err
    assert main(["train", "again.yaml", "--trust", "--config-dir", str(EXTENSION)]) == 0
    assert find_runs("outputs") == [path]


def test_other_code_or_images_than_a_run_was_trained_by_are_told(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A configuration names code and images, but does not hold them."""
    monkeypatch.chdir(mine.parent)
    command = ["train", "--config-dir", "mine", "loss=margin", "model=tiny", "dataset=stripes", *SMALL[1:]]
    assert main(command) == 0
    (path,) = find_runs("outputs")
    code = read_run(path).info["code"]
    assert code["loss._target_"] == hashlib.sha256((mine / "margin_loss.py").read_bytes()).hexdigest()
    assert code.keys() == {
        f"{key}._target_" for key in ("loss", "model.generator", "model.discriminator", "dataset.source")
    }

    def says(text: str) -> int:
        capsys.readouterr()
        code = main(command)
        assert text in capsys.readouterr().err
        return code

    assert says("complete, skipped (force=true trains it anew)\n") == 0
    (mine / "margin_loss.py").write_text((mine / "margin_loss.py").read_text() + "# another version\n")
    assert says("but it was trained by other code of loss._target_\n") == 0
    info = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**info, "status": "interrupted"}))
    assert says("its first steps were taken by other code of loss._target_; force=true") == 0
    assert says("but it was trained by other code of loss._target_\n") == 0, "some of its steps were"
    assert read_run(path).info["code"]["loss._target_"].startswith(code["loss._target_"] + "+")
    (path / "run.json").write_text(json.dumps({**info, "dataset_sha256": "0" * 64}))
    assert says("was begun on other images (dataset_sha256 0000000000000000, now ") == 2


def test_a_run_that_is_begun_anew_was_trained_by_the_new_code_alone(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What went wrong before the first checkpoint left nothing to go on from."""
    monkeypatch.chdir(mine.parent)
    command = ["train", "--config-dir", "mine", "loss=margin", "model=tiny", "dataset=stripes", *SMALL[1:]]
    assert main([*command, "loss.optimizer.lr=1e30"]) == 1
    source = mine / "margin_loss.py"
    source.write_text(source.read_text() + "# mended\n")
    assert main([*command, "loss.optimizer.lr=1e30"]) == 1
    (path,) = find_runs("outputs")
    info = read_run(path).info
    assert (info["status"], info["resumed"]) == ("diverged", 0)
    assert info["code"]["loss._target_"] == hashlib.sha256(source.read_bytes()).hexdigest()


@pytest.mark.parametrize("where", ["when it is imported", "in its loss"])
def test_code_that_ends_the_program_is_named_by_every_command(
    where: str, mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a new process, for a module is imported once."""
    monkeypatch.chdir(mine.parent)
    assert main(["train", "--config-dir", "mine", "loss=margin", "dataset=digits", *SMALL[1:]]) == 0
    (path,) = find_runs("outputs")
    source = mine / "margin_loss.py"
    text = source.read_text()
    ended = "        raise SystemExit(0)\n        return softplus(self.margin"
    source.write_text(
        "raise SystemExit(0)\n"
        if where == "when it is imported"
        else text.replace("        return softplus(self.margin", ended)
    )

    def said(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "ganbench", *words], capture_output=True, text=True, timeout=120
        )
        assert done.returncode in (1, 2) and len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr

    again = said("train", str(path), "--trust", "--config-dir", "mine", "force=true")
    if where == "in its loss":
        assert "code of your own ended the program (exit code 0); take its exit out" in again
    else:
        monkeypatch.setenv("PYTHONPATH", "mine")
        for told in (again, said("evaluate", str(path), "--trust")):
            assert "loss._target_=margin_loss.LogisticMargin: cannot be imported" in told


def test_own_images_are_compared_whatever_makes_them(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A partial has no source file to hash; and a target that nothing resolves is data of the loss's."""
    monkeypatch.chdir(mine.parent)
    source = mine / "stripes.py"
    source.write_text(source.read_text() + "\n\nfrom functools import partial\nhalf = partial(stripes)\n")
    chosen = ["model=tiny", "dataset=stripes", "dataset.source._target_=stripes.half", *SMALL[1:]]
    command = ["train", "--config-dir", "mine", *chosen]
    assert main(command) == 0
    (path,) = find_runs("outputs")
    assert "dataset.source._target_" not in read_run(path).info["code"]
    info = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**info, "dataset_sha256": "0" * 64}))
    assert main(command) == 2
    assert "was begun on other images" in capsys.readouterr().err
    assert main(["train", "--config-dir", "mine", "seed=1", f"hydra.run.dir={path}", *chosen]) == 2
    assert "holds another run; choose another folder" in capsys.readouterr().err


def test_only_what_is_called_is_hashed() -> None:
    config = compose(["dataset=digits", "model=mlp", "loss=bce"])
    config["loss"]["odd"] = {"_target_": "nonsense.thing"}
    assert foreign_code(config) == {}
