"""Every damaged, foreign or hostile folder is skipped with its reason, and nothing else is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import synthetic_runs as synthetic
import yaml

from ganbench.config import compose, to_yaml
from ganbench.errors import UserError
from ganbench.identity import identity
from ganbench.report.blocks import blocks
from ganbench.report.collect import collect, flatten
from ganbench.report.comparison import Options, compare
from ganbench.report.export import to_json
from ganbench.report.figures.losses import losses
from ganbench.report.html import to_html
from ganbench.report.render import to_text


def test_no_runs_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no runs found below {tmp_path.absolute()}"):
        collect([tmp_path])


def test_all_roots_are_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"{tmp_path}/a, {tmp_path}/b"):
        collect([tmp_path / "a", tmp_path / "b"])


def test_a_root_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        collect([tmp_path / "nowhere"])


def test_a_root_that_is_a_file(root: Path) -> None:
    folder = synthetic.completed(root)
    with pytest.raises(UserError, match="is a file, not a folder"):
        collect([folder / "run.json"])


def test_a_root_may_be_a_run_itself(root: Path) -> None:
    folder = synthetic.completed(root)
    assert [run.path for run in collect([folder]).runs] == [folder]


DAMAGE = {
    "run.json": ["", "{", "[]", "null", '{"schema": 1}', '{"schema": 1, "status": 3}', "\x00"],
    "config.yaml": ["", "a: [", "- 1", "!!python/object:os.system {}", "just text"],
    "scores.json": ["{", "{}", "[1, 2]", '"text"'],
}


@pytest.mark.parametrize(("name", "content"), [(name, text) for name in DAMAGE for text in DAMAGE[name]])
def test_a_damaged_file_costs_that_run_alone(root: Path, name: str, content: str) -> None:
    good = synthetic.completed(root, loss="hinge")
    bad = synthetic.completed(root, loss="bce")
    (bad / name).write_text(content)
    found = collect([root])
    assert [run.path for run in found.runs] == [good]
    (skipped,) = found.skipped
    assert skipped.path == bad
    assert skipped.reason
    assert str(bad) not in skipped.reason  # said once, before the reason


def test_bytes_that_are_no_text(root: Path) -> None:
    synthetic.completed(root, loss="hinge")
    (synthetic.completed(root, loss="bce") / "run.json").write_bytes(b"\xff\xfe\x00{")
    assert len(collect([root]).skipped) == 1


def test_a_missing_config(root: Path) -> None:
    synthetic.completed(root, loss="hinge")
    (synthetic.completed(root, loss="bce") / "config.yaml").unlink()
    (skipped,) = collect([root]).skipped
    assert "config.yaml" in skipped.reason


def test_a_missing_run_json_is_a_half_written_run(root: Path) -> None:
    synthetic.completed(root, loss="hinge")
    folder = synthetic.completed(root, loss="bce")
    (folder / "train.log").touch()
    (folder / "run.json").unlink()
    (skipped,) = collect([root]).skipped
    assert "run.json" in skipped.reason


@pytest.mark.parametrize("name", ["run.json", "scores.json"])
def test_a_newer_schema_is_skipped_with_the_reason(root: Path, name: str) -> None:
    synthetic.completed(root, loss="hinge")
    bad = synthetic.completed(root, loss="bce")
    content = json.loads((bad / name).read_text())
    (content if name == "run.json" else content[0])["schema"] = 2
    (bad / name).write_text(json.dumps(content))
    (skipped,) = collect([root]).skipped
    assert "schema 2" in skipped.reason and "upgrade" in skipped.reason


def test_one_bad_score_record_leaves_the_others(root: Path) -> None:
    folder = synthetic.completed(root, fid=10.0, training=False)
    scores = json.loads((folder / "scores.json").read_text())
    (folder / "scores.json").write_text(json.dumps([{"schema": 1, "when": "final"}, *scores]))
    report = compare(Options(roots=[root]))
    assert report.tables[0].rows[0].cells["fid"].centre == 10.0
    assert report.skipped[0].reason.startswith("scores.json, record 1: has no protocol")
    text = to_text(blocks(report))
    assert "Parts of runs left out: 1" in text and "the rest of the run is used" in text
    assert "Skipped" not in text, "a run that is used"
    assert "skipped" not in to_html(report, [])


def edited(folder: Path, old: str, new: str) -> Path:
    """The run with a part of its config.yaml replaced."""
    text = (folder / "config.yaml").read_text()
    assert old in text
    (folder / "config.yaml").write_text(text.replace(old, new))
    return folder


def test_a_configuration_edited_after_training_is_not_a_recipe(root: Path) -> None:
    synthetic.completed(root, seed=0)
    bad = edited(synthetic.completed(root, seed=1), "lr: 0.0002", "lr: 0.5")
    report = compare(Options(roots=[root]))
    assert [run.seed for run in report.runs] == [0]
    (skipped,) = report.skipped
    assert skipped.path == bad and not skipped.in_part
    assert skipped.reason.startswith("config.yaml is not the one this run was trained by (config_hash ")
    assert "put it back, or train it as a run of its own by `ganbench train config.yaml`" in skipped.reason


def test_housekeeping_may_be_edited(root: Path) -> None:
    edited(synthetic.completed(root), "output_root: outputs", "output_root: /elsewhere")
    assert collect([root]).skipped == []


@pytest.mark.parametrize("train", ["5", "[1]", "text", "null"])
def test_a_group_that_is_no_mapping_is_another_configuration(root: Path, train: str) -> None:
    synthetic.completed(root, seed=0)
    bad = synthetic.completed(root, seed=1)
    content = yaml.safe_load((bad / "config.yaml").read_text()) | {"train": yaml.safe_load(train)}
    (bad / "config.yaml").write_text(yaml.safe_dump(content))
    (skipped,) = collect([root]).skipped
    assert "config_hash" in skipped.reason


def test_a_run_that_says_no_hash_is_used(root: Path) -> None:
    folder = edited(synthetic.completed(root), "lr: 0.0002", "lr: 0.5")
    info = json.loads((folder / "run.json").read_text())
    del info["config_hash"]
    (folder / "run.json").write_text(json.dumps(info))
    assert collect([root]).skipped == []


def test_an_old_configuration_that_says_later_keys_now_is_the_same(root: Path) -> None:
    """A run from before the key, resumed since: its hash is the old one."""
    folder = synthetic.completed(root)
    content = yaml.safe_load((folder / "config.yaml").read_text())
    content["loss"]["reuse_fakes"], content["remedy"] = False, {"pack": 1, "unroll": 0}
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    assert collect([root]).skipped == []


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=mlp", "train.steps=3"],
        ["loss=wgan_gp", "loss.optimizer.lr=1e-5", "loss.optimizer.betas=[0,0.9]"],
        ["model=cgan", "remedy.pack=2", "remedy.ema_decay=0.999", "train.stop_on=[collapse]", "logger=csv"],
        ["loss.optimizer.lr=1", "+loss.optimizer.weight_decay=1e-12"],
    ],
)
def test_what_train_writes_has_the_hash_it_writes(root: Path, overrides: list[str]) -> None:
    settings = compose(["dataset=digits", *overrides])
    folder = synthetic.write(root / "run", settings, synthetic.info(synthetic.config("mlp", "bce", 0)))
    (folder / "config.yaml").write_text(to_yaml({**settings, "force": False}))
    info = json.loads((folder / "run.json").read_text()) | {"config_hash": identity(settings)}
    (folder / "run.json").write_text(json.dumps(info))
    assert collect([root]).skipped == []


def test_a_damaged_history_is_told_where_it_is_read(root: Path) -> None:
    folder = synthetic.completed(root)
    (folder / "history.csv").write_text("step\nthree\n")
    report = compare(Options(roots=[root]))
    assert report.left_out == [], "a table reads no history"
    losses(report.tables[0])
    (part,) = report.left_out
    assert part.path == folder and part.in_part and part.reason.startswith("history.csv: damaged")
    assert part.reason in to_text(blocks(report)) and part.reason in to_html(report, [])
    assert part.reason in json.loads(to_json(report))["skipped"][0]["reason"]


def test_nesting_without_end(root: Path) -> None:
    folder = synthetic.completed(root, fid=10.0, training=False)
    scores = json.loads((folder / "scores.json").read_text())
    deep = "[" * 900 + "]" * 900
    record = json.dumps(scores[0]).replace('"judge"', deep)
    (folder / "scores.json").write_text(f"[{record}, {json.dumps(scores[0])}]")
    info = (folder / "run.json").read_text().replace('"device": "cpu"', f'"device": {deep}')
    (folder / "run.json").write_text(info)
    report = compare(Options(roots=[root]))
    assert report.tables[0].rows[0].cells["fid"].centre == 10.0
    assert "nested deeper" in report.skipped[0].reason
    to_json(report)


@pytest.mark.parametrize("seed", [None, "0", 1.5, True])
def test_a_seed_that_is_none(root: Path, seed: object) -> None:
    synthetic.completed(root, loss="hinge")
    bad = synthetic.completed(root, loss="bce")
    (bad / "run.json").write_text(json.dumps(json.loads((bad / "run.json").read_text()) | {"seed": seed}))
    (skipped,) = collect([root]).skipped
    assert skipped.reason.startswith("seed: must be an integer")


def test_only_damaged_runs_say_why(root: Path) -> None:
    (synthetic.completed(root) / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"no usable run below .*: 1 skipped, the first .*damaged"):
        collect([root])


def test_skipped_folders_are_listed_in_every_table(root: Path) -> None:
    synthetic.completed(root, loss="hinge")
    bad = synthetic.completed(root, loss="bce")
    (bad / "run.json").write_text("{")
    text = to_text(blocks(compare(Options(roots=[root]))))
    assert "Skipped: 1 that could not be used" in text
    assert f"{bad}: " in text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(root: Path) -> None:
    synthetic.completed(root, loss="hinge")
    bad = synthetic.completed(root, loss="bce")
    (bad / "run.json").chmod(0)
    assert len(collect([root]).skipped) == 1


def test_names_beyond_ascii(root: Path) -> None:
    synthetic.completed(root, loss="hinge_größer")
    synthetic.completed(root, loss="对抗")
    report = compare(Options(roots=[root]))
    assert {row.label for row in report.tables[0].rows} == {"hinge_größer", "对抗"}
    lines = to_text(blocks(report)).splitlines()
    assert len({line.index(" 1 ") + line.count("对") * 2 for line in lines if " 1 " in line[:25]}) == 1


def test_control_characters_never_reach_the_terminal(root: Path) -> None:
    synthetic.failed(root, "failed", "\x1b[31mred\x07\u202eevil\r\nsecond line")
    text = to_text(blocks(compare(Options(roots=[root]))))
    assert not {"\x1b", "\x07", "\u202e", "\r"} & set(text)
    assert "second line" in text


def test_flatten() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {"a.b": 1, "a.c.d": [2], "e": None}
