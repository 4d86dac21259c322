"""A run directory somebody else made: nothing in it acts, and each attempt ends in a clear refusal."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_runs import tree

from ganbench import runs
from ganbench.cli import main
from ganbench.config import Config
from ganbench.engine.checkpoint import from_bytes, to_bytes
from ganbench.errors import ConfigError, RunError, UserError
from ganbench.generator import load_generator
from ganbench.identity import identity
from ganbench.runs import CHECKPOINT, GENERATOR, PREVIOUS_CHECKPOINT, RunDirectory, read_run
from ganbench.runs.layout import OWN_FOLDERS
from ganbench.session import run_path, train_run

FIXTURE = Path(__file__).parent / "fixtures" / "schema_1"


class Attack:
    """Unpickled carelessly, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURE, tmp_path / "outputs" / "run"))


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """What an attack would make; it is never there."""
    path = tmp_path / "attacked"
    yield path
    assert not path.exists()


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder of somebody else's, with a file in it; it stays as it is."""
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "secret.txt").write_text("run: zq7kx\n")
    (folder / "step_0.png").write_bytes(b"a picture")
    (folder / "last.pt").write_bytes((FIXTURE / CHECKPOINT).read_bytes())
    before = tree(folder)
    yield folder
    assert tree(folder) == before


def reconfigure(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    change(config)
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def refused(*arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says while it refuses: one line for each thing it refuses, no traceback."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) in (1, 2)
    said = capsys.readouterr().err
    assert said.startswith("ganbench: ")
    assert "Traceback" not in said and "--debug" not in said
    return said


# --- checkpoints ------------------------------------------------------------------------------------


def zipped_attack(mark: Path) -> bytes:
    """A checkpoint as torch writes it, whose pickle is the attack; its checksums are right."""
    buffer = io.BytesIO()
    torch.save({"schema": 1, "config_hash": "x", "step": Attack(mark)}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["zip", "plain pickle", "old torch format"])
def test_a_malicious_checkpoint(
    run: Path, mark: Path, form: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    content = zipped_attack(mark)
    if form == "plain pickle":
        content = pickle.dumps(Attack(mark))
    elif form == "old torch format":
        buffer = io.BytesIO()
        torch.save(Attack(mark), buffer, _use_new_zipfile_serialization=False)
        content = buffer.getvalue()
    with pytest.raises(RunError, match="unreadable"):
        from_bytes(content)
    (run / GENERATOR["last"]).unlink()
    (run / PREVIOUS_CHECKPOINT).write_bytes(content)
    (run / CHECKPOINT).write_bytes(content)
    with pytest.raises(RunError, match="no usable checkpoint"):
        load_generator(run)
    assert "not used" in caplog.text
    for command in ("sample", "evaluate"):
        assert "no usable checkpoint" in refused(command, run, capsys=capsys)


def test_training_does_not_open_a_malicious_checkpoint(plain: Config, finished: Path, mark: Path) -> None:
    info = json.loads((finished / "run.json").read_text())
    (finished / "run.json").write_text(json.dumps({**info, "status": runs.INTERRUPTED}))
    for name in (CHECKPOINT, PREVIOUS_CHECKPOINT):
        (finished / name).write_bytes(zipped_attack(mark))
    assert train_run(plain).ok
    assert (finished / "train.log").read_text().count("not used") == 2


def test_a_few_compressed_bytes_do_not_fill_the_memory() -> None:
    whole = to_bytes({"weights": torch.zeros(1000)})
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(packed, "w") as target:
        for record in source.infolist():
            target.writestr(record.filename, source.read(record), zipfile.ZIP_DEFLATED)
    with pytest.raises(RunError, match="not a checkpoint of ganbench"):
        from_bytes(packed.getvalue())


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 64, b"\x08" + b"\0" * 7 + b'{"a": 1}'])
def test_damaged_weights(run: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (run / GENERATOR["last"]).write_bytes(content)
    assert "generator.safetensors: damaged" in refused("sample", run, capsys=capsys)


# --- configurations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "builtins.exec",
        "subprocess.run",
        "torch.hub.load",
        "torch.load",
        "torch.optim.sgd.torch.hub.load",
        "torch.nn.Linear",
        "ganbench.data.os.system",
        "ganbench.data.os",
        "ganbench.data:os.system",
        "ganbench.models.layers.nn",
        "ganbench.models.layers.nn.Linear",
        "ganbench.models.layers.spectral_norm",
        "ganbench.losses.dataclass",
        "ganbench.generator.load_generator",
        "ganbench.models.mlp.Generator.__init__.__globals__",
        "ganbench.models.mlp.__builtins__",
        "ganbench.models.nothing.Generator",
        "ganbench.models..mlp.Generator",
        " os.system",
        "os.system\n",
        "",
        None,
        ["os.system"],
        {"_target_": "os.system"},
        3,
    ],
    ids=str,
)
def test_a_target_that_is_none_of_ours(
    run: Path, mark: Path, target: object, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in ("generator", "discriminator"):
        shutil.copy(FIXTURE / "config.yaml", run)
        reconfigure(run, lambda config, key=key: config["model"].update({key: {"_target_": target}}))
        if isinstance(target, str):
            reconfigure(
                run, lambda config, key=key: config["model"][key].update(command=f"touch {mark}", model="x")
            )
        refused("evaluate", run, capsys=capsys)
        if key == "generator":
            with pytest.raises(UserError):
                load_generator(run)
            refused("sample", run, capsys=capsys)


@pytest.mark.parametrize("target", ["ganbench.data.load_dataset", "ganbench.data.torchvision_dataset"])
def test_our_own_functions_in_the_wrong_place(
    run: Path, outside: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reading a dataset could fetch one into a folder of the attacker's choice."""
    node = {"_target_": target, "name": "mnist", "root": str(outside)}
    reconfigure(run, lambda config: config["model"].update(generator=node))
    with pytest.raises(UserError):
        load_generator(run)
    refused("sample", run, capsys=capsys)


def test_a_dataset_from_somewhere_else_is_not_fetched(
    run: Path, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def point_outside(config: dict[str, Any]) -> None:
        config["dataset"].update(root=str(outside))
        config["dataset"]["source"] = {
            "_target_": "ganbench.data.torchvision_dataset",
            "class_name": "MNIST",
            "files": {"train-images-idx3-ubyte": "0" * 64},
        }

    reconfigure(run, point_outside)
    before = sorted(outside.rglob("*"))
    refused("evaluate", run, capsys=capsys)
    assert sorted(outside.rglob("*")) == before


def test_trust_is_asked_for_and_given(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reconfigure(run, lambda config: config["model"]["generator"].update(_target_="torch.nn.Identity"))
    with pytest.raises(ConfigError, match="--trust"):
        load_generator(run)
    # Trusted, it is imported, and found not to fit the weights.
    with pytest.raises(RunError, match="do not fit"):
        load_generator(run, trust=True)


@pytest.mark.parametrize("widths", [[10**9, 10**9], [10**6], [2**62], [-1], [0], "wide", None, [[3]]])
def test_sizes_that_do_not_fit_take_no_memory(
    run: Path, widths: object, capsys: pytest.CaptureFixture[str]
) -> None:
    reconfigure(run, lambda config: config["model"]["generator"].update(widths=widths))
    assert "do not fit" in refused("sample", run, capsys=capsys)


@pytest.mark.parametrize(
    "change",
    [
        {"z_dim": 10**12},
        {"z_dim": "4"},
        {"z_dim": True},
        {"conditional": "no"},
        {"generator": None},
        {"generator": []},
        {"generator": {}},
    ],
    ids=str,
)
def test_wrong_values_of_the_model(
    run: Path, change: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    reconfigure(run, lambda config: config["model"].update(change))
    assert "config.yaml: damaged" in refused("sample", run, capsys=capsys)


# --- JSON and YAML ----------------------------------------------------------------------------------

ALIASES = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(24)
)

HOSTILE = {
    "run.json": {
        "oversized": '{"schema": 1, "pad": "' + "x" * (1 << 20) + '"}',
        "nested": '{"schema": 1, "a": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "number": '{"schema": ' + "9" * 10_000 + "}",
        "list": "[1]",
        "binary": "\0\1\2",
    },
    "config.yaml": {
        "oversized": "a: " + "x" * (1 << 18),
        "nested in brackets": "a: " + "[" * 900 + "]" * 900,
        "nested in dashes": "- " * 2000 + "a",
        "nested in lines": "\n".join(" " * i + "a:" for i in range(300)),
        "aliases": ALIASES,
        "endless": "a: &a [*a]",
        "object": "!!python/object/apply:os.system ['true']",
        "tag": "seed: !!int ''",
        "date": "seed: 2001-01-01",
        "list": "[1]",
    },
    "scores.json": {
        "oversized": "[" + " " * (1 << 25) + "]",
        "nested": "[" * 100_000 + "]" * 100_000,
        "object": "{}",
        "numbers": "[1, 2]",
    },
    "history.csv": {
        "field": "step\n" + "1" * 200_000,
        "columns": "a,b\n1,2\n",
        "text": ",".join(runs.HISTORY_COLUMNS) + "\n" + "x," * 10 + "x\n",
        "binary": "\0" * 1000,
    },
}


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in HOSTILE for kind in HOSTILE[name]])
def test_hostile_text(run: Path, name: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    (run / name).write_text(HOSTILE[name][kind])
    with pytest.raises(RunError, match=name):
        record = read_run(run)
        _ = record.scores, record.history
    if name in ("run.json", "config.yaml"):
        for command in ("sample", "evaluate", "compare"):
            refused(command, run, capsys=capsys)


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "history.csv", GENERATOR["last"]])
def test_a_sparse_file_of_many_gigabytes(run: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with (run / name).open("r+b") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(RunError, match=rf"{name}: {1 << 40} bytes, more than"):
        _ = read_run(run).history
        load_generator(run)


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "scores.json", GENERATOR["last"], ".lock"])
@pytest.mark.timeout(60)
def test_a_pipe_keeps_nobody_waiting(run: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    for command in ("sample", "evaluate", "compare"):
        main([command, str(run), *(["--out", str(run.parent / "out.png")] if command == "sample" else [])])
    said = capsys.readouterr().err
    assert "Traceback" not in said and "--debug" not in said
    if name != ".lock":
        assert "no regular file" in said


# --- links ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "scores.json", "history.csv"])
def test_a_link_out_is_not_read(
    run: Path, outside: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / name).unlink()
    (run / name).symlink_to(outside / "secret.txt")
    with pytest.raises(RunError, match="leads out of the run directory through a symbolic link"):
        record = read_run(run)
        _ = record.scores, record.history
    capsys.readouterr()
    main(["compare", str(run)])
    said = capsys.readouterr()
    assert "zq7kx" not in said.out + said.err


@pytest.mark.parametrize("name", [GENERATOR["last"], "checkpoints"])
def test_weights_through_a_link_are_not_read(run: Path, outside: Path, name: str) -> None:
    if (run / name).is_dir():
        shutil.copytree(run / name, outside.parent / "weights")
        shutil.rmtree(run / name)
        (run / name).symlink_to(outside.parent / "weights")
    else:
        (run / name).unlink()
        (run / name).symlink_to(outside / "secret.txt")
    with pytest.raises(RunError, match="symbolic link"):
        load_generator(run)


def test_a_checkpoint_through_a_link_is_not_read(
    run: Path, outside: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (run / GENERATOR["last"]).unlink()
    (run / CHECKPOINT).unlink()
    (run / CHECKPOINT).symlink_to(outside / "last.pt")
    with pytest.raises(RunError, match="no usable checkpoint"):
        load_generator(run)
    assert "symbolic link" in caplog.text


def test_links_in_a_circle(run: Path) -> None:
    (run / "run.json").unlink()
    (run / "run.json").symlink_to("run.json")
    with pytest.raises(RunError, match=r"run\.json"):
        read_run(run)


@pytest.mark.parametrize("name", [*OWN_FOLDERS, "train.log", ".lock"])
@pytest.mark.parametrize("force", [False, True])
def test_nothing_is_written_through_a_link(plain: Config, outside: Path, name: str, force: bool) -> None:
    """A planted link must not make a run empty, overwrite or delete what it leads to."""
    path = run_path(plain)
    path.mkdir(parents=True)
    target = outside / "secret.txt" if name in ("train.log", ".lock") else outside
    (path / name).symlink_to(target)
    with pytest.raises(RunError, match="symbolic link"):
        train_run({**plain, "force": force})


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(
    plain: Config, finished: Path, outside: Path
) -> None:
    names = ("config.yaml", "history.csv", "samples/step_0.png", CHECKPOINT, ".run.json.1.tmp")
    for name in names:
        (finished / name).unlink(missing_ok=True)
        (finished / name).symlink_to(outside / "secret.txt")
    (finished / f".history.csv.{os.getpid()}.tmp").symlink_to(outside / "secret.txt")
    assert train_run({**plain, "force": True}).ok
    assert not any((finished / name).is_symlink() for name in names)


def test_runs_behind_links_are_not_found(run: Path, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(run)
    assert runs.find_runs(tmp_path / "root") == []


# --- other people's files ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.yaml", "run.json", "train.log", "samples/final.png"])
@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_is_no_run_is_left_alone(plain: Config, tmp_path: Path, name: str, force: bool) -> None:
    folder = tmp_path / "project"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text('{"name": "my project"}')
    before = tree(folder)
    with pytest.raises(RunError, match="choose another folder"):
        train_run({**plain, "force": force}, folder)
    after = tree(folder)
    after.pop(".lock", None)
    assert after == before


def test_force_deletes_what_a_run_made_and_nothing_else(plain: Config, finished: Path) -> None:
    mine = ["notes.md", "samples/favourite.png", "checkpoints/kept.pt", "plots/poster.png", "a/config.yaml"]
    for name in mine:
        (finished / name).parent.mkdir(exist_ok=True)
        (finished / name).write_text("mine")
    (finished / "samples/step_999.png").write_text("an earlier run's")
    assert train_run({**plain, "force": True}).ok
    assert all((finished / name).read_text() == "mine" for name in mine)
    assert not (finished / "samples/step_999.png").exists()


# --- text -------------------------------------------------------------------------------------------


def test_names_are_shown_not_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\u202e"
    info = json.loads((run / "run.json").read_text())
    info.update(name=dict.fromkeys(("dataset", "model", "loss"), evil), status="failed", reason=evil)
    info.update(device=evil, host={"name": evil})
    (run / "run.json").write_text(json.dumps(info))
    scores = json.loads((run / "scores.json").read_text())
    for score in scores:
        score["protocol"]["extractor"] = evil
        score["protocol"]["reference"]["dataset"] = evil
        score["absent"] = {evil: evil}
    (run / "scores.json").write_text(json.dumps(scores))

    def rename(config: dict[str, Any]) -> None:
        for group in ("dataset", "model", "loss"):
            config[group]["name"] = evil

    reconfigure(run, rename)
    info["config_hash"] = identity(read_run(run).config)
    (run / "run.json").write_text(json.dumps(info))
    for form in ("html", "table", "markdown", "latex", "csv", "json"):
        assert main(["compare", str(run.parent), "--format", form, "--published"]) == 0
        said = capsys.readouterr().out
        assert "\x1b" not in said and "\u202e" not in said
        if form == "html":
            assert "<script" not in said and "onerror=alert(2)>" not in said
            assert "&lt;script&gt;" in said


def test_the_lock_says_nothing_to_a_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = RunDirectory(folder).open()
    (folder / ".lock").write_bytes(b"\x1b[31mprocess 1 on host <b>\xff\n" * 20)
    try:
        with pytest.raises(RunError) as caught:
            RunDirectory(folder).open()
    finally:
        run.close()
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)
