"""The command line: fast help, one line for every mistake, and exit codes that scripts can rely on."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from ganbench.cli import COMMANDS, main
from ganbench.errors import UserError

RECIPES = [
    ["loss=wgan_gp"],
    ["model=cgan", "loss=sn_hinge"],
    ["model=dcgan", "loss=bce", "remedy.ema_decay=0.9", "remedy.minibatch_std=true"],
    [
        "model=dcgan64",
        "dataset.image_size=64",
        "model.generator.features=[8,8,8,8]",
        "remedy.feature_matching=true",
    ],
    ["model=cdcgan64", "dataset.image_size=64", "model.generator.features=[8,8,8,8]"],
]
HEAVY = ("torch", "hydra", "omegaconf", "numpy", "matplotlib", "sklearn", "torchvision", "scipy", "pandas")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, where every stray file is seen."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What stderr says, which must be one line."""
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and text.startswith("ganbench: ") and "Traceback" not in text
    return text


# --- help -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_command(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([flag]) == 0
    text = capsys.readouterr().out
    for name, summary in COMMANDS.items():
        assert name in text and summary in text


def test_no_command_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: ganbench COMMAND" in "".join(capsys.readouterr())


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert main([flag]) == 0
    assert capsys.readouterr().out == f"ganbench {version('ganbench')}\n"


@pytest.mark.parametrize("recipe", RECIPES, ids=" ".join)
def test_training_imports_no_compiler(recipe: list[str]) -> None:
    """torch loads its own on many an occasion, and torchvision loads it: a third of the start's time."""
    heavy = ("torch._dynamo", "torchvision", "torch_fidelity")
    code = (
        "import sys, ganbench.cli as cli; status = cli.main(sys.argv[1:]);"
        f"print([name for name in {heavy} if name in sys.modules]); sys.exit(status)"
    )
    small = ["dataset=digits", "train.steps=1", "train.batch_size=4", "eval.enabled=false"]
    command = [sys.executable, "-c", code, "train", *small, *recipe]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists(name: str) -> None:
    assert callable(import_module(f"ganbench.commands.{name}").main)


def test_help_is_instant_and_imports_nothing_heavy() -> None:
    """About 0.1 s on an idle machine; CPU time is asserted, which a busy one does not change."""
    code = (
        "import resource, sys, ganbench.cli as cli; cli.main(['--help']);"
        f"print([name for name in {HEAVY} if name in sys.modules],"
        "sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, seconds = done.stderr.rsplit(" ", 1)
    assert modules == "[]"
    assert float(seconds) < 1.0


# --- errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ganbench tr", set(COMMANDS)),
        ("ganbench train loss=wgan", {"loss=wgan_clip", "loss=wgan_gp"}),
        ("ganbench train -m +experiment=cgan/w", {"+experiment=cgan/wgan_gp"}),
        ("ganbench compare loss=wgan", set()),
    ],
)
def test_completion_knows_commands_and_what_trains(
    line: str, offered: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the function asks that `ganbench train -sc install=bash` defines."""
    monkeypatch.setenv("COMP_LINE", line)
    assert main(["-sc", "query=bash"]) == 0
    assert set(capsys.readouterr().out.split()) == offered


def test_letters_that_a_terminal_lacks_are_question_marks() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "ganbench", "data", "digits"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "1?28?28" in done.stdout, done.stderr


def test_a_notebooks_way_to_draw_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://not.there")
    assert main(["list", "train"]) == 0
    assert "MPLBACKEND" not in os.environ


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["frain"]) == 2
    assert "unknown command 'frain'; choose one of train, evaluate" in one_line(capsys)


@pytest.mark.parametrize("command", ["list", "data", "sample", "evaluate", "compare"])
def test_an_unknown_flag_is_one_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "RUN", "--nope"]) == 2
    said = one_line(capsys)
    assert f"{command}: unrecognized arguments: --nope; see `ganbench {command} --help`" in said


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    def use(error: BaseException) -> None:
        def command(argv: list[str]) -> int:
            raise error

        monkeypatch.setattr("ganbench.commands.train.main", command)

    return use


@pytest.mark.parametrize(
    "error, code, text",
    [
        (UserError("key=1: a rule\nover two lines"), 2, "ganbench: key=1: a rule over two lines\n"),
        (ValueError("odd"), 1, "ganbench: train: ValueError: odd (--debug shows where)\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_one_line_and_a_code(
    error: BaseException, code: int, text: str, raising: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(error)
    assert main(["train"]) == code
    assert capsys.readouterr().err == text


def test_nothing_of_a_strangers_text_acts_on_the_terminal(
    raising: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(UserError("config.yaml: a\x1b[2Jb\nc\x07"))
    assert main(["train"]) == 2
    assert capsys.readouterr().err == "ganbench: config.yaml: a\ufffd[2Jb c\ufffd\n"


@pytest.mark.parametrize("error, code", [(UserError("mine"), 2), (ValueError("yours"), 1)])
@pytest.mark.parametrize("argv", [["--debug", "train"], ["train", "--debug"]])
def test_debug_shows_the_traceback_and_changes_no_code(
    error: Exception, code: int, argv: list[str], raising: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(error)
    assert main(argv) == code
    said = capsys.readouterr().err
    assert said.startswith("Traceback") and said.splitlines()[-1].startswith("ganbench: ")


def printed_to(output: int, argv: list[str], unbuffered: str) -> tuple[int, str]:
    """Exit code and stderr of the command with its stdout there."""
    command = [sys.executable, "-m", "ganbench", *argv]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, env=environment)
    return done.returncode, done.stderr


PRINTING = pytest.mark.parametrize("argv", [["--help"], ["list", "--help"], ["list"]], ids=" ".join)


def test_a_closed_pipe_is_no_traceback_of_a_log() -> None:
    """Hydra logs what `--info` asks for."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        _, said = printed_to(writing, ["train", "--info", "config"], unbuffered="1")
    finally:
        os.close(writing)
    assert said == ""


@PRINTING
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_closed_pipe_is_no_traceback(argv: list[str], unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        code, said = printed_to(writing, argv, unbuffered)
    finally:
        os.close(writing)
    assert said == ""
    assert code == 1 or (unbuffered and argv == ["list", "--help"])  # argparse ignores what it cannot print


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@PRINTING
def test_a_full_disk_behind_the_output_is_one_line(argv: list[str]) -> None:
    with open("/dev/full", "w") as full:
        code, said = printed_to(full.fileno(), argv, "")
    assert (code, said) == (1, "ganbench: standard output: No space left on device\n")


# --- bad input to train, as a user types it ---------------------------------------------------------

BAD = {
    "loss=gan": ("'loss/gan'", "bce, hinge, lsgan, minimax, sn_hinge, wgan_clip, wgan_gp"),
    "model=vae": ("'model/vae'", "cdcgan64, cgan, dcgan, dcgan64, mlp"),
    "dataset=cifar": ("'dataset/cifar'", "digits, fashion_mnist, mnist"),
    "sed=1": ("'sed'", "seed"),
    "+experiment=trilogy/vanila": ("Did you mean trilogy/vanilla?", "ganbench list experiment"),
    "train.step=1": ("'train.step'", "Did you mean train.steps?"),
    "loss=hinge loss.real_label=0.9": ("loss.real_label", "a key of loss=bce, lsgan, minimax"),
    "+experiment=cgan/bce loss.optimizer.lr=1e-5": ("no effect", "loss.d_lr and loss.g_lr"),
    "+experiment=lab/baseline train=smoke": ("train=smoke", "train.steps=20"),
    "+experiment=lab/mode_collapse train=smoke": ("+experiment=lab/mode_collapse sets", "train.steps=20"),
    "loss.real_label=0.1 loss.fake_label=0.9": ("real_label=0.1", "greater than fake_label=0.9"),
    "loss.n_critic=1000000000": ("loss.n_critic=1000000000", "at most 1000"),
    "remedy.unroll=1000000": ("remedy.unroll=1000000", "at most 100"),
    "model=cgan model.discriminator.dropout=0.999": ("dropout=0.999", "0.9961"),
    "loss.optimizer._target_=torch.optim.LBFGS ~loss.optimizer.betas": ("LBFGS", "plain step"),
    "+loss.optimizer.weight_decay=inf": ("loss.optimizer.weight_decay=inf", "finite"),
    "loss.optimizer.betas=[0.5,0.9,0.9]": ("loss.optimizer.betas", "two numbers"),
    "loss.optimizer.betas=[0.5,high]": ("loss.optimizer.betas", "two numbers"),
    "loss.optimizer.betas=[false,0.9]": ("loss.optimizer.betas", "two numbers"),
    "train.nonsense=1": ("'train.nonsense'", "ganbench train --cfg job"),
    "experiment=trilogy/wgan": ("'experiment'", "+experiment=trilogy/wgan"),
    "model.generator.more=1": ("'model.generator.more'", "+model.generator.more=1"),
    "hydra/launcher=nonsense": ("'hydra/launcher/nonsense'", "basic"),
    "+train.step=1": ("train.step", "train.steps"),
    "seed": ("'seed'", "KEY=VALUE"),
    "seed=(": ("'seed=('", "KEY=VALUE"),
    "~model=inf": ("model", "deletion"),
    "--resolve": ("--resolve", "--cfg"),
    "--nonsense": ("--nonsense",),
    "train.batch_size=0": ("train.batch_size=0", "at least 1"),
    "train.batch_size=1298": ("train.batch_size=1298", "at most the 1297"),
    "train.steps=3 train.epochs=1": ("exactly one", "train.steps=3", "train.epochs=1"),
    "train.steps=null": ("exactly one", "none of them"),
    "loss.optimizer.lr=-1": ("loss.optimizer.lr=-1", "positive"),
    "loss.n_critic=0": ("loss.n_critic=0", "at least 1"),
    "seed=-1": ("seed=-1", "at least 0"),
    "seed=text": ("seed=text", "must be an integer"),
    "device=cuda:99": ("device=cuda:99", "device=cpu"),
    "device=gpu": ("device=gpu", "auto, cpu, cuda, cuda:N or mps"),
    "loss=wgan_clip loss.critic_norm=spectral": ("loss.critic_norm=spectral", "none, batch, layer"),
    "loss=wgan_gp loss.critic_norm=batch": ("loss.critic_norm=batch", "none, layer, spectral"),
    "output_root='~/runs'": ("output_root=~/runs", "expanded", f"output_root={Path.home()}/runs"),
    "output_root=file/below": ("output_root", "Not a directory", "output_root=FOLDER"),
    "dataset=mnist dataset.root=nowhere": ("nowhere/MNIST/raw", "ganbench data", "GANBENCH_DATA"),
}


@pytest.mark.parametrize("overrides", BAD)
def test_a_mistake_is_one_line_and_leaves_nothing(
    overrides: str, elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    (elsewhere / "file").touch()
    chosen = overrides.split()
    if not any(text.startswith("dataset=") for text in chosen):
        chosen.append("dataset=digits")
    assert main(["train", *chosen]) == 2
    line = one_line(capsys)
    for part in BAD[overrides]:
        assert part in line
    assert os.listdir(elsewhere) == ["file"]


def test_a_mistake_ends_in_under_ten_seconds(elsewhere: Path) -> None:
    """From a cold start and behind all imports; CPU time, which a busy machine does not change."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "ganbench", "train", "loss=wgan_gp", "loss.critic_norm=batch"]
    done = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 10
    assert not os.listdir(elsewhere)
