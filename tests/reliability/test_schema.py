"""Run files of every schema are read for ever; newer ones are refused and left alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_runs import tree

from ganbench import runs
from ganbench.cli import main
from ganbench.config import Config
from ganbench.engine.checkpoint import from_bytes, load_latest, to_bytes
from ganbench.errors import RunError
from ganbench.generator import load_generator
from ganbench.runs import CHECKPOINT, NewerSchemaError, read_run
from ganbench.session import train_run

FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = sorted(FIXTURES.glob("schema_*"))


def test_there_is_a_run_of_every_schema() -> None:
    assert [path.name for path in VERSIONS] == [f"schema_{n}" for n in range(1, runs.SCHEMA + 1)]
    assert all(sum(file.stat().st_size for file in path.rglob("*")) < 100_000 for path in VERSIONS)


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(request.param, tmp_path / "outputs" / "old"))


def test_a_run_of_any_schema_is_read(old: Path) -> None:
    record = read_run(old)
    assert record.status == runs.COMPLETED
    assert record.info["name"] == {"dataset": "digits", "model": "mlp", "loss": "bce"}
    assert [row["step"] for row in record.history] == [3, 6, 9, 12]
    assert [(score["when"], score["weights"], score["step"]) for score in record.scores[:3]] == [
        ("training", "last", 6),
        ("training", "last", 12),
        ("final", "last", 12),
    ]
    assert record.scores[3]["weights"] == "best" and record.scores[3]["step"] in (6, 12)
    assert all(score["values"]["fid"] > 0 for score in record.scores)
    state = load_latest(old, record.info["config_hash"])
    assert state is not None and state["step"] == 12


def test_a_run_of_any_schema_is_used(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = load_generator(old)
    assert (trained.step, trained.z_dim, trained.num_classes) == (12, 4, 10)
    before = len(read_run(old).scores)
    assert main(["evaluate", str(old), "--weights", "last"]) == 0
    assert main(["compare", str(old.parent), "--out", str(tmp_path / "report")]) == 0
    assert main(["sample", str(old), "--count", "4", "--out", str(tmp_path / "four.png")]) == 0
    assert (tmp_path / "four.png").read_bytes().startswith(b"\x89PNG")
    scores = read_run(old).scores
    assert len(scores) == before + 1
    again, first = scores[-1], next(score for score in scores if score["when"] == "final")
    # The judge that ships may have been trained anew since; all else of the protocol stands.
    assert {**again["protocol"], "extractor_sha256": ""} == {**first["protocol"], "extractor_sha256": ""}
    assert again["values"].keys() == first["values"].keys()
    assert "mlp" in capsys.readouterr().out


def newer(path: Path) -> None:
    content = json.loads(path.read_text())
    (content[0] if isinstance(content, list) else content)["schema"] = runs.SCHEMA + 1
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["run.json", "scores.json"])
def test_a_newer_schema_is_refused(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(shutil.copytree(VERSIONS[-1], tmp_path / "run"))
    newer(run / name)
    with pytest.raises(NewerSchemaError, match=rf"newer ganbench \(schema {runs.SCHEMA + 1}.*upgrade"):
        _ = read_run(run).scores
    for command in (["evaluate", str(run)], ["compare", str(run)]):
        before = {**tree(run), ".lock": None}
        assert main(command) in (1, 2)
        assert "newer ganbench" in capsys.readouterr().err
        assert {**tree(run), ".lock": None} == before


@pytest.mark.parametrize("force", [False, True])
def test_training_never_writes_over_a_newer_run(plain: Config, finished: Path, force: bool) -> None:
    newer(finished / "run.json")
    before = tree(finished)
    with pytest.raises(NewerSchemaError):
        train_run({**plain, "force": force})
    assert tree(finished) == before


def test_a_newer_checkpoint_is_refused() -> None:
    with pytest.raises(RunError, match=r"newer ganbench \(schema 2\); upgrade"):
        from_bytes(to_bytes({"schema": 2, "step": 1}))


@pytest.mark.parametrize("schema", [0, -1, True, "1", None, 1.0, [1]])
def test_a_schema_of_the_wrong_type_is_damage(finished: Path, schema: object) -> None:
    content = json.loads((finished / "run.json").read_text())
    (finished / "run.json").write_text(json.dumps({**content, "schema": schema}))
    with pytest.raises(RunError, match="damaged: schema="):
        read_run(finished)


def test_the_files_say_their_schema(finished: Path) -> None:
    assert json.loads((finished / "run.json").read_text())["schema"] == runs.SCHEMA
    assert from_bytes((finished / CHECKPOINT).read_bytes())["schema"] == 1
