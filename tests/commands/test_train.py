"""`ganbench train`: one run, and sweeps that a bad job does not stop."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from ganbench import runs, session
from ganbench.cli import main
from ganbench.commands import train as command
from ganbench.config import identity, validate
from ganbench.engine.loop import Training
from ganbench.engine.signals import Interrupted
from ganbench.runs import find_runs, read_run

pytestmark = pytest.mark.usefixtures("cached_data")

SMALL = ["dataset=digits", "train.steps=2", "train.batch_size=4", "eval.enabled=false", "output_root=out"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*overrides: str) -> int:
    flags = [text for text in overrides if text == "-m"]
    return main(["train", *flags, *SMALL, *(text for text in overrides if text != "-m")])


def statuses() -> dict[int, str]:
    """Status of each run below ``out`` by its seed."""
    return {record.info["seed"]: record.status for record in map(read_run, find_runs("out"))}


def table(text: str) -> list[list[str]]:
    """Rows of the sweep's table, without its header."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("run "))
    assert lines[start].split() == ["run", "status", "seconds", "d_loss", "g_loss", "reason"]
    rows = []
    for line in lines[start + 2 :]:
        if re.match(r"\d+ (runs?|jobs)\b", line):
            break
        rows.append(line.split())
    return rows


def test_one_run(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("loss=lsgan", "seed=4") == 0
    (path,) = find_runs("out")
    assert str(path) in capsys.readouterr().out
    assert path.parts[:4] == ("out", "digits", "mlp", "lsgan") and path.name.startswith("s4-")
    assert os.listdir(elsewhere) == ["out"]
    assert yaml.safe_load((path / ".hydra" / "overrides.yaml").read_text()) == [
        *SMALL,
        "loss=lsgan",
        "seed=4",
    ]
    composed = yaml.safe_load((path / ".hydra" / "config.yaml").read_text())
    assert composed["loss"]["d_lr"] == "${loss.optimizer.lr}"
    assert set(yaml.safe_load((path / ".hydra" / "hydra.yaml").read_text())) == {"hydra"}
    record = read_run(path)
    assert (
        path.name == f"s4-{identity(validate(record.config))[:8]}" == f"s4-{record.info['config_hash'][:8]}"
    )


def test_a_run_ends_with_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("model=cgan", "loss=lsgan") == 0
    (path,) = find_runs("out")
    assert capsys.readouterr().out.splitlines() == [
        f"samples           {path}/samples/final.png",
        f"samples by class  {path}/samples/per_class.png",
        f"loss curves       {path}/plots/loss_curves.png",
        f"history           {path}/history.csv",
        f"everything else   {path}/run.json",
    ]


def test_two_pluses_set_a_key_where_there_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("-m", "loss=bce,wgan_gp", "++loss.gp_weight=5") == 1
    refused, trained = table(capsys.readouterr().out)
    assert "refused" in refused and trained[1] == "completed"
    (path,) = find_runs("out")
    assert read_run(path).config["loss"]["gp_weight"] == 5


def test_the_same_command_again_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    capsys.readouterr()
    assert train() == 0
    assert "complete, skipped (force=true trains it anew)" in capsys.readouterr().err
    assert train("force=true") == 0
    assert "skipped" not in capsys.readouterr().err
    assert len(find_runs("out")) == 1


def test_a_folder_of_ones_own_choice() -> None:
    assert train("hydra.run.dir=mine") == 0
    assert read_run("mine").status == runs.COMPLETED
    assert not Path("out").exists()


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training fails for seed 1."""
    original = Training.advance

    def advance(self: Training) -> None:
        if self.config["seed"] == 1:
            raise RuntimeError("out of luck")
        original(self)

    monkeypatch.setattr(Training, "advance", advance)


def test_a_failed_run_is_exit_code_1(broken: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("seed=1") == 1
    error = capsys.readouterr().err
    assert "failed: RuntimeError: out of luck" in error and "Traceback" not in error
    assert statuses() == {1: "failed"}


def test_two_seeds_two_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("-m", "seed=0,1") == 0
    rows = table(capsys.readouterr().out)
    assert [(row[0][:18], row[1]) for row in rows] == [
        ("digits/mlp/bce/s0-", "completed"),
        ("digits/mlp/bce/s1-", "completed"),
    ]
    for row, path in zip(rows, sorted(find_runs("out")), strict=True):
        record = read_run(path)
        last = record.history[-1]
        assert row[2:] == [
            f"{record.info['seconds']['train']:.1f}",
            f"{last['d_loss']:.4g}",
            f"{last['g_loss']:.4g}",
        ]
    assert statuses() == {0: "completed", 1: "completed"}


def test_the_flag_may_stand_anywhere() -> None:
    assert main(["train", *SMALL, "-m", "seed=5,6"]) == 0
    assert statuses() == {5: "completed", 6: "completed"}


def test_a_failing_job_does_not_stop_the_rest(broken: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("-m", "seed=0,1,2") == 1
    output = capsys.readouterr()
    assert [row[1] for row in table(output.out)] == ["completed", "failed", "completed"]
    assert "3 runs, 1 not completed" in output.out and "out of luck" in output.out
    assert statuses() == {0: "completed", 1: "failed", 2: "completed"}


def test_a_refused_job_does_not_stop_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("-m", "loss=wgan_clip,bce", "loss.critic_norm=spectral") == 1
    output = capsys.readouterr()
    rows = table(output.out)
    assert [row[1] for row in rows] == ["refused", "completed"]
    assert rows[0][0] == "loss=wgan_clip", "what all jobs were given is left out"
    assert "loss.critic_norm=spectral" in " ".join(rows[0][2:])
    assert "Traceback" not in output.err and len(find_runs("out")) == 1


def test_sweeps_may_be_given_as_parameters_of_the_sweeper(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("-m", '+hydra.sweeper.params.seed="3,4"') == 0
    assert statuses() == {3: "completed", 4: "completed"}


def test_an_interpolation_into_nothing_is_one_line_with_its_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("seed=${nowhere}") == 2
    assert capsys.readouterr().err == "ganbench: seed: Interpolation key 'nowhere' not found\n"


def test_a_job_that_breaks_before_its_run_does_not_stop_the_rest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dataset or model of the user's own can raise anything."""
    original = session.build_dataset
    calls: list[Any] = []

    def build(settings: Any, *rest: Any) -> Any:
        calls.append(settings)
        if len(calls) == 1:
            raise ZeroDivisionError("in a source of the user's own")
        return original(settings, *rest)

    monkeypatch.setattr(session, "build_dataset", build)
    assert train("-m", "seed=0,1") == 1
    output = capsys.readouterr()
    assert [row[1] for row in table(output.out)] == ["failed", "completed"]
    assert "ZeroDivisionError" in output.out and statuses() == {1: "completed"}


@pytest.mark.parametrize("key", ["loss.gp_weight", "+loss.gp_weight"])
def test_a_sweep_names_the_way_to_set_what_only_its_recipes_have(
    key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("-m", "+experiment=cgan/wgan_gp,cgan/bce", f"{key}=5") == 2
    said = capsys.readouterr().err
    assert "In a sweep over recipes ++loss.gp_weight=VALUE sets it" in said and said.count("\n") == 1
    assert train("loss=bce", "loss.gp_weight=5") == 2
    assert "In a sweep" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "overrides, said",
    [
        (["loss=bce", "loss.gp_weight=5"], "It is a key of loss=wgan_gp, not of this recipe's"),
        (["loss=wgan_clip", "loss.optimizer.betas=[0.5,0.9]"], "It is a key of loss=bce, hinge, lsgan,"),
        (["loss=wgan_gp", "loss.gp_wieght=5"], "Did you mean loss.gp_weight?"),
        (["loss=wgan_clip", "loss.optimizer.betas=[0.5,0.9]"], "use +loss.optimizer.betas="),
        (["+experiment=lab/baseline", "+experiment=cgan/bce"], "+experiment: named twice"),
    ],
)
def test_a_key_or_experiment_too_many(
    overrides: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*overrides) == 2
    assert said in capsys.readouterr().err


def test_a_skipped_run_says_from_which_experiment_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    healed = ["loss.optimizer.lr=2e-4", "loss.optimizer.betas=[0.5,0.999]"]
    assert train("+experiment=lab/mode_collapse", *healed) == 0
    assert train("+experiment=lab/mode_collapse", *healed) == 0
    assert "it came from" not in capsys.readouterr().err
    assert train("+experiment=lab/baseline") == 0
    assert "skipped (force=true trains it anew); it came from +experiment=lab/mode_collapse" in (
        capsys.readouterr().err
    )


def test_code_that_ends_the_program_does_not_end_a_sweep(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(elsewhere))
    (elsewhere / "rash.py").write_text(
        "import sys\nfrom ganbench.losses import BCE\n\n\n"
        "class Rash(BCE):\n    def d_loss(self, real_logits, fake_logits):\n        sys.exit(0)\n"
    )
    said = "code of your own ended the program (exit code 0); take its exit out"
    assert train("loss._target_=rash.Rash") == 2
    assert said in capsys.readouterr().err
    assert train("-m", "loss._target_=rash.Rash,ganbench.losses.BCE") == 1
    told = capsys.readouterr()
    assert said in told.err and [row[1] for row in table(told.out)] == ["refused", "completed"]


def test_keys_without_effect_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    idle = ("eval.every=1", "remedy.unroll_lr=0.1", "train.sample_labels=[1]", "precision=bfloat16_penalty")
    more = ("loss.same_batch=true", "eval.inception_weights=mine.pth")
    assert train("eval.enabled=false", *more, *idle) == 0
    said = capsys.readouterr().err
    for line in (
        "eval.every=1: has no effect, as eval.enabled=false",
        "eval.inception_weights=mine.pth: has no effect, as eval.extractor=judge",
        "loss.same_batch=true: has no effect, as loss.n_critic=1",
        "remedy.unroll_lr=0.1: has no effect, as remedy.unroll=0",
        "train.sample_labels: has no effect, as model=mlp is unconditional",
        "precision=bfloat16_penalty: has no effect, as loss=bce has no penalty: it is bfloat16",
    ):
        assert line in said
    assert train("seed=5") == 0
    assert "no effect" not in capsys.readouterr().err


@pytest.mark.parametrize("there", [False, True], ids=["new", "in an output_root that is there"])
@pytest.mark.parametrize("mistake", ["loss=bce,lsgam", "seed=range(0,3,0)", "+hydra.launcher.foo=1"])
def test_a_sweep_that_is_refused_leaves_nothing(
    elsewhere: Path, mistake: str, there: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if there:
        Path("out").mkdir()
    assert train("-m", "loss=bce,lsgan", mistake) == 2
    assert "FileNotFound" not in capsys.readouterr().err
    assert [path.name for path in elsewhere.rglob("*")] == (["out"] if there else [])


@pytest.mark.parametrize(
    "overrides",
    [
        ["output_root=file"],
        ["output_root=file/below"],
        ["-m", "output_root=file"],
        ["-m", "hydra.sweep.dir=file"],
        ["hydra.run.dir=file"],
        ["hydra.run.dir=file/below"],
    ],
)
def test_a_folder_that_cannot_be_made_is_one_line(
    elsewhere: Path, overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("in the way")
    flags = [text for text in overrides if text == "-m"]
    assert main(["train", *flags, *SMALL[:-1], *overrides[len(flags) :]]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "output_root=FOLDER" in said and "Error" not in said
    assert [path.name for path in elsewhere.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "overrides", [["hydra.run.dir=new/deep", "seed=-1"], ['hydra.run.dir="~x/y"'], ["hydra.run.dir=???"]]
)
def test_a_refused_run_leaves_no_folder_of_its_choice(
    elsewhere: Path, overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*overrides) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(elsewhere.iterdir())


def test_an_interrupted_start_leaves_no_folder_of_its_choice(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "build_dataset", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    assert train("hydra.run.dir=new/deep") == 130
    assert not list(elsewhere.iterdir())


def test_what_a_path_leads_to_is_left_alone(elsewhere: Path) -> None:
    Path("mine").mkdir()
    Path("mine/multirun.yaml").write_text("theirs")
    assert train("hydra.run.dir=new/../mine", "seed=-1") == 2
    assert Path("mine/multirun.yaml").read_text() == "theirs"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config-name", "mine"], "--config-name and --config-path: all begins with ganbench's own"),
        (["--config-path=cfg"], "--config-name and --config-path: all begins with ganbench's own"),
        (["--config-dir", "cfg", "loss=broken"], 'in "'),
        (
            ["--config-dir", "shadow", "loss=bce"],
            "--config-dir shadow: loss/bce.yaml is the name of a file of",
        ),
        (
            ["--config-dir", "run", "loss=bce"],
            "--config-dir run: config.yaml is the name of a file of ganbench",
        ),
        (["--config-dir", "bytes", "loss=mine"], "bytes/loss/mine.yaml: is no text in UTF-8"),
        (["hydra.job.chdir=true"], "hydra.job.chdir=true: runs have folders of their own"),
        (["loss=bce,lsgan"], "add -m to sweep over the values"),
        (["train.sample_labels=1,2"], "or write the list train.sample_labels=[A,B] that it is"),
        (["loss=[bce,lsgan]"], "loss=[bce,lsgan]: must be one name; sweep over several by -m loss=A,B"),
        (["loss=null"], "give a group the name of one of its files"),
        (
            ["outputs/typo"],
            "'outputs/typo': neither KEY=VALUE nor a run directory or config.yaml that is there",
        ),
        (["hydra.launcher.n_jobs=2"], "It is a key of hydra/launcher=joblib"),
    ],
    ids=str,
)
def test_what_hydra_would_take_otherwise_is_one_line(
    arguments: list[str], said: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "cfg/loss/broken.yaml": b"x: [1",
        "shadow/loss/bce.yaml": b"real_label: 0.8",
        "run/config.yaml": b"",
        "bytes/loss/mine.yaml": b"\xff\xfe",
    }
    for name, content in files.items():
        Path(name).parent.mkdir(parents=True)
        Path(name).write_bytes(content)
    assert main(["train", *SMALL, *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not Path("out").exists()


def test_files_that_are_not_chosen_stop_nothing(elsewhere: Path) -> None:
    Path("cfg/loss").mkdir(parents=True)
    Path("cfg/loss/._mine.yaml").write_bytes(b"\xff")
    Path("cfg/loss/.#mine.yaml").symlink_to("nowhere")
    Path("cfg/loss/other.yaml").write_bytes(b"\xff")
    assert train("--config-dir=cfg", "loss=bce") == 0


def test_a_long_first_override_is_no_path(elsewhere: Path) -> None:
    seeds = ",".join(map(str, range(200)))
    assert main(["train", f"train.sample_labels=[{seeds}]", *SMALL]) == 2


def test_a_folder_of_ones_choice_may_stand_in_a_file(elsewhere: Path) -> None:
    Path("cfg/experiment").mkdir(parents=True)
    Path("cfg/experiment/chosen.yaml").write_text("# @package _global_\nhydra: {run: {dir: chosen}}\n")
    assert train("--config-dir=cfg", "+experiment=chosen") == 0
    assert find_runs("chosen") == [Path("chosen")] and not Path("out").exists()


def test_a_sweep_has_no_single_folder(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("-m", "seed=0,1", "hydra.run.dir=mine") == 2
    assert "those of a sweep are put below output_root" in capsys.readouterr().err
    assert not list(Path().iterdir())


def test_a_run_may_be_put_where_one_is(elsewhere: Path) -> None:
    Path("here").mkdir()
    os.chdir("here")
    assert train("hydra.run.dir=.") == 0
    assert find_runs(".") == [Path(".")] and not Path("out").exists()


def test_a_file_that_cannot_be_read_is_no_folder_to_choose(
    elsewhere: Path, without_rights: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("cfg/loss").mkdir(parents=True)
    Path("cfg/loss/mine.yaml").touch(mode=0o000)
    with without_rights():
        assert train("--config-dir", "cfg", "loss=mine") == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.endswith("mine.yaml: Permission denied")


def test_files_of_somebody_else_stay_in_the_folder_of_a_sweep() -> None:
    Path("s").mkdir()
    Path("s/job_0.json").write_text("mine")
    assert train("-m", "hydra.sweep.dir=s", "seed=1") == 0
    assert Path("s/job_0.json").read_text() == "mine"


def test_letters_that_hydra_does_not_know_are_quoted_twice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *SMALL[:-1], "output_root=/josé"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert """'output_root="/josé"'""" in said
    assert main(["train", *SMALL[:-1], 'output_root="josé"']) == 0
    assert find_runs("josé")


def test_a_sweep_of_which_jobs_are_refused_keeps_its_record(elsewhere: Path) -> None:
    assert train("-m", "loss.optimizer.lr=-1,1e-3") == 1
    (folder,) = Path("out/.sweeps").iterdir()
    names = {path.name for path in folder.iterdir()}
    assert {"multirun.yaml", "ganbench_job_0.json", "ganbench_job_1.json"} <= names


def test_jobs_of_one_run_are_counted_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("-m", "train.stop_on=null,[collapse]", "seed=0,1") == 0
    output = capsys.readouterr().out
    assert "4 jobs of 2 runs" in output.splitlines() and len(table(output)) == 4
    assert len(find_runs("out")) == 2


def test_a_sweep_over_what_its_own_folder_is_named_by(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-m", *SMALL[:-1], "output_root=a,b", "train.steps=0"]) == 1
    assert "2 runs, 2 not completed" in capsys.readouterr().out
    assert main(["train", "-m", *SMALL[:-1], "output_root=a,b"]) == 0
    assert [row[1] for row in table(capsys.readouterr().out)] == ["completed", "completed"]


def test_a_sweep_tells_of_its_own_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("-m", "hydra.sweep.dir=s", "loss.optimizer.lr=-1,-2,1e-3") == 1
    capsys.readouterr()
    assert train("-m", "hydra.sweep.dir=s", "seed=1") == 0
    assert len(table(capsys.readouterr().out)) == 1


def test_a_signal_stops_the_sweep(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = Training.advance

    def advance(self: Training) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        original(self)

    monkeypatch.setattr(Training, "advance", advance)
    assert train("-m", "seed=0,1") == 130
    assert statuses() == {0: "interrupted"}
    said = capsys.readouterr().out
    assert [row[1] for row in table(said)] == ["interrupted"]
    assert said.endswith(
        "1 not completed; the same command goes on with these and begins what was not begun\n"
    )


def test_a_signal_before_anything_was_begun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(command, "finalise", interrupted)
    assert train() == 143
    assert train("-m", "seed=0,1") == 143
    assert [row[-4:] for row in table(capsys.readouterr().out)] == [
        ["interrupted", "stopped", "by", "SIGTERM"]
    ]


class Stopped:
    """A relay that a signal has reached."""

    received = signal.SIGTERM

    def __enter__(self) -> Stopped:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


def test_a_signal_that_ends_workers_while_they_begin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a worker process managed by the executor was unexpectedly terminated")

    monkeypatch.setattr("ganbench.engine.signals.Relay", Stopped)
    monkeypatch.setattr(command, "_job", broken)
    assert train("-m", "seed=0,1") == 143
    assert capsys.readouterr().err.endswith("ganbench: stopped by SIGTERM\n")


def test_an_interrupted_run_is_resumed_by_the_same_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = Training.advance

    def advance(self: Training) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        original(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", advance)
        assert train() == 128 + signal.SIGTERM
    said = capsys.readouterr().err
    assert said.count("SIGTERM") == 1 and "the same command resumes it" in said
    assert train() == 0
    assert "resumed at step 1" in capsys.readouterr().err
    assert statuses() == {0: "completed"}
