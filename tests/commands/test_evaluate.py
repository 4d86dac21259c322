from __future__ import annotations

import json
from pathlib import Path

import pytest

from ganbench import runs
from ganbench.cli import main
from ganbench.metrics.protocol import EvalSettings
from ganbench.session import train_run

FAST = ("eval.num_samples=40", "eval.kid_subset_size=20", "eval.kid_subsets=2", "eval.per_class=4")


def test_a_record_is_appended(run_of, capsys):
    run = run_of("model=cgan")
    assert main(["evaluate", str(run), *FAST]) == 0
    (first,) = runs.read_scores(run)
    assert (first["when"], first["weights"], first["step"]) == ("evaluate", "last", 3)
    assert (first["images"], first["protocol"]["num_generated"]) == (12, 40)
    assert first["protocol"]["reference"]["count"] == 500
    assert first["values"]["fid"] > 1
    assert main(["evaluate", str(run), *FAST, "eval.extractor=judge_b", "eval.seed=7"]) == 0
    again, second = runs.read_scores(run)
    assert again == first
    assert (second["protocol"]["extractor"], second["protocol"]["seed"]) == ("judge_b", 7)
    assert second["protocol"]["extractor_sha256"] != first["protocol"]["extractor_sha256"]
    output = capsys.readouterr().out
    assert f"{run}  last weights, step 3" in output
    assert "40 images against 500 of digits test" in output


def test_a_run_named_twice_is_scored_once(run_of, tmp_path, monkeypatch):
    run = run_of("model=mlp")
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "outputs", str(run), *FAST]) == 0
    assert len(runs.read_scores(run)) == 1


def test_the_score_is_that_of_training(run_of):
    run = run_of("model=cgan", "eval.enabled=true", *FAST)
    assert main(["evaluate", str(run)]) == 0
    final, later = runs.read_scores(run)
    assert (final["when"], later["when"]) == ("final", "evaluate")
    assert later["values"] == pytest.approx(final["values"], rel=1e-9)
    assert later["protocol"] == final["protocol"]
    for key in ("step", "images", "train_seconds", "weights"):
        assert later[key] == final[key]


def test_best_weights_are_scored_where_there_are_some(run_of):
    run = run_of("model=mlp", "eval.enabled=true", "eval.every=2", "eval.training_num_samples=40", *FAST)
    kept = runs.read_scores(run)
    before = len(kept)
    on_the_way = [record for record in kept if record["when"] == "training"]
    best = min(on_the_way, key=lambda record: record["values"]["fid"])["step"]
    assert main(["evaluate", str(run)]) == 0
    added = runs.read_scores(run)[before:]
    assert [(record["weights"], record["step"]) for record in added] == [("last", 3), ("best", best)]
    assert main(["evaluate", str(run), "--weights", "best"]) == 0
    assert runs.read_scores(run)[before + 2]["weights"] == "best"


def test_few_samples_lose_a_metric_and_keep_the_others(run_of, capsys):
    run = run_of("model=mlp")
    assert main(["evaluate", str(run), *FAST, "eval.num_samples=10"]) == 0
    (record,) = runs.read_scores(run)
    assert record["absent"]["kid"] == "needs at least 20 generated images, has 10"
    assert "fid" in record["values"]
    assert "no kid: needs at least 20" in capsys.readouterr().out


def test_all_runs_below_a_folder(run_of, tmp_path, capsys):
    for seed in (0, 1):
        run_of("model=mlp", f"seed={seed}")
    assert main(["evaluate", str(tmp_path / "outputs"), *FAST]) == 0
    assert [len(runs.read_scores(path)) for path in runs.find_runs(tmp_path)] == [1, 1]


def test_a_run_that_cannot_be_scored_does_not_stop_the_others(run_of, tmp_path, capsys):
    good, bad = run_of("model=mlp", "seed=0"), run_of("model=mlp", "seed=1")
    for path in (bad / "checkpoints").iterdir():
        path.unlink()
    assert main(["evaluate", str(bad), str(good), *FAST]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"ganbench: {bad}: has no usable checkpoint")
    assert error.count("\n") == 1
    assert len(runs.read_scores(good)) == 1
    assert runs.read_scores(bad) == []


def test_plus_signs_are_as_for_hydra(run_of):
    run = run_of("model=mlp")
    assert main(["evaluate", str(run), *FAST, "+eval.seed=4", "++eval.num_samples=40"]) == 0
    (record,) = runs.read_scores(run)
    assert (record["protocol"]["seed"], record["protocol"]["num_generated"]) == (4, 40)


def test_weights_of_another_extractor_are_not_ignored(run_of, capsys):
    run = run_of("model=mlp")
    assert main(["evaluate", str(run), *FAST, "eval.inception_weights=mine.pth"]) == 2
    said = capsys.readouterr().err
    assert "eval.inception_weights=mine.pth: has no effect with eval.extractor=judge; add" in said
    assert runs.read_scores(run) == []
    assert main(["evaluate", "--floors", "digits", "eval.inception_weights=mine.pth"]) == 2
    assert "eval.inception_weights=mine.pth: has no effect" in capsys.readouterr().err


def test_a_folder_may_be_called_as_an_override_is(run_of, tmp_path, monkeypatch):
    run_of("model=mlp")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").rename(tmp_path / "+x=1")
    assert main(["evaluate", "+x=1", *FAST]) == 0


def test_damaged_scores_are_told_with_a_way_out(run_of, capsys):
    run = run_of("model=mlp")
    (run / "scores.json").write_text("[")
    assert main(["evaluate", str(run), *FAST]) == 1
    assert "scores.json: damaged" in (said := capsys.readouterr().err) and "move it away" in said
    (run / "scores.json").unlink()
    assert main(["evaluate", str(run), *FAST]) == 0


def test_floors_have_no_weights(capsys):
    assert main(["evaluate", "--floors", "digits", "--weights", "last"]) == 2
    assert "--weights last: floors have no weights" in capsys.readouterr().err


def test_nor_does_one_that_is_refused(run_of, tmp_path, capsys):
    """Its dataset has no judge: bad input, and the rest is scored all the same."""
    good, bad = run_of("model=mlp", "seed=0"), run_of("model=mlp", "seed=1")
    config = (bad / "config.yaml").read_text()
    (bad / "config.yaml").write_text(config.replace("name: digits", "name: stripes"))
    info = json.loads((bad / "run.json").read_text())
    del info["config_hash"]
    (bad / "run.json").write_text(json.dumps(info))
    assert main(["evaluate", str(bad), str(good), *FAST]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"ganbench: {bad}: ") and "no judge 'judge' for dataset 'stripes'" in error
    assert "use eval.extractor=inception" in error and error.count("\n") == 1
    assert len(runs.read_scores(good)) == 1 and runs.read_scores(bad) == []


def test_flags_and_overrides_come_in_any_order(run_of):
    run = run_of("model=mlp")
    assert main(["evaluate", FAST[0], "--weights", "last", str(run), *FAST[1:]]) == 0
    (record,) = runs.read_scores(run)
    assert record["protocol"]["num_generated"] == 40


def test_what_was_scored_is_kept_when_the_next_fails(run_of, capsys):
    run = run_of("model=mlp")
    (run / "checkpoints" / "generator_best.safetensors").write_bytes(b"damaged")
    assert main(["evaluate", str(run), *FAST]) == 1
    assert [record["weights"] for record in runs.read_scores(run)] == ["last"]
    assert "generator_best" in capsys.readouterr().err


def test_a_run_of_other_images_is_not_scored_against_these(run_of, capsys):
    run = run_of("model=mlp")
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, "dataset_sha256": "0" * 64}))
    assert main(["evaluate", str(run), *FAST]) == 1
    assert "was trained on other images of digits (sha256 00000000)" in capsys.readouterr().err
    assert runs.read_scores(run) == []


def test_a_configuration_edited_after_training_is_not_what_is_scored(run_of, capsys):
    run = run_of("model=mlp")
    written = (run / "config.yaml").read_text()
    edited = written.replace("seed: 0\n", "seed: 1\n", 1)
    assert edited != written
    (run / "config.yaml").write_text(edited)
    assert main(["evaluate", str(run), *FAST]) == 1
    assert "config.yaml is not the one this run was trained by" in capsys.readouterr().err
    assert runs.read_scores(run) == []


def test_a_path_may_look_like_anything(run_of, capsys):
    """As YAML the name would end before the #."""
    weights = "/nowhere/at all #1: {x}.pth"
    arguments = ["eval.extractor=inception", f"eval.inception_weights={weights}"]
    assert main(["evaluate", str(run_of("model=mlp")), *arguments]) == 2
    assert weights in capsys.readouterr().err


def test_a_folder_may_be_called_like_a_key(run_of, tmp_path, monkeypatch):
    run = run_of("model=mlp")
    monkeypatch.chdir(run.parent)
    run.rename("eval.runs")
    assert main(["evaluate", "eval.runs"]) == 0


def test_a_run_that_goes_on_keeps_its_scores(run_of):
    """`compare` does not take them for those of the weights there are then: tests/report/test_compare.py."""
    budget = ("eval.enabled=true", "eval.every=2", "eval.training_num_samples=40", *FAST)
    run = run_of("model=mlp", *budget)
    assert main(["evaluate", str(run), "eval.seed=7"]) == 0
    added = [record for record in runs.read_scores(run) if record["when"] == "evaluate"]
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, "status": "interrupted"}))
    assert train_run(runs.read_run(run).config, run).ok
    assert [record for record in runs.read_scores(run) if record["when"] == "evaluate"] == added


def test_a_checkpoint_of_another_model(run_of, capsys):
    run, other = run_of("model=mlp"), run_of("model=cgan")
    weights = "checkpoints/generator.safetensors"
    (run / weights).write_bytes((other / weights).read_bytes())
    assert main(["evaluate", str(run), *FAST]) == 1
    assert "holds weights of another run (config_hash" in capsys.readouterr().err


def test_a_run_still_being_written(run_of, capsys):
    run = run_of("model=mlp")
    held = runs.RunDirectory(run).open()
    try:
        assert main(["evaluate", str(run), *FAST]) == 1
    finally:
        held.close()
    assert "held by process" in capsys.readouterr().err
    assert runs.read_scores(run) == []


def test_a_generator_that_makes_nan(run_of, spoil):
    run = run_of("model=mlp")
    spoil(run)
    assert main(["evaluate", str(run), *FAST]) == 0
    (record,) = runs.read_scores(run)
    assert record["values"] == {}
    assert record["absent"]["fid"] == "40 of 40 images hold NaN or inf"


def test_code_that_a_run_names_is_not_imported(run_of, tmp_path, monkeypatch, capsys):
    run = run_of("model=mlp")
    (tmp_path / "foreign.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("ganbench.losses.BCE", "foreign.Loss"))
    assert "foreign.Loss" in (run / "config.yaml").read_text()
    assert main(["evaluate", str(run), *FAST]) == 2
    assert "pass --trust" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a run"),
        (["RUN", "eval.num_sample=5"], "did you mean eval.num_samples?"),
        (["RUN", "eval.num_samples=many"], "eval.num_samples=many"),
        (["RUN", "eval.num_samples=1"], "eval.num_samples"),
        (["RUN", "eval.extractor=vgg"], "eval.extractor"),
        (["RUN", "eval.is_splits=[1"], "not a value"),
        (["RUN", "eval.seed=4294967296"], "eval.seed=4294967296: must be at most 4294967295"),
        (["RUN", "eval.num_samples=1000000000000"], "must be at most 1000000"),
        (["RUN", "eval.foo.bar=1"], "eval.foo.bar: no such key"),
        (["RUN", "eval.pr_k.x=1"], "eval.pr_k.x: no such key"),
        (["RUN", "eval.every=3"], "eval.every: says how a run is scored while it trains"),
        (["RUN", "dataset.image_size=64"], "only --floors"),
        (["RUN", "output_root=elsewhere"], "output_root: says where --floors go"),
        (["--floors", "digits", "eval.reference_split=train"], "eval.reference_split: a floor says itself"),
        (["--floors", "digits", "eval.foo.bar=1"], "eval.foo.bar: no such key"),
        (["--floors", "digits", "RUN/none"], "no such folder"),
        (["RUN", "loss=bce"], "only eval.*"),
        (["RUN/none"], "no such folder"),
        (["RUN/checkpoints"], "no run directory here or below"),
        (["RUN", "--weight", "best"], "unrecognized arguments"),
        (["RUN", "--weights", "first"], "invalid choice"),
        (["RUN", "device=cuda:99"], "device=cuda:99"),
        (["RUN", "eval.extractor=inception", "eval.inception_weights=none.pth"], "no such file"),
        (["--floors", "nonsense"], "nonsense"),
    ],
)
def test_bad_usage_is_one_line(run_of, capsys, arguments, message):
    run = run_of("model=mlp")
    assert main(["evaluate", *(text.replace("RUN", str(run)) for text in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert runs.read_scores(run) == []


def test_floors_are_printed_and_stored(tmp_path, capsys):
    folder = tmp_path / "outputs"
    assert main(["evaluate", "--floors", "digits", f"output_root={folder}", *FAST]) == 0
    (path,) = (folder / "floors").iterdir()
    records = json.loads(path.read_text())
    assert [record["floor"] for record in records] == ["train-test", "train-halves"]
    assert records[0]["protocol"]["num_generated"] == 40
    output = capsys.readouterr().out
    assert "digits  train-test" in output
    assert str(path) in output


def test_floors_stand_under_the_table_of_their_protocol(run_of, tmp_path, capsys):
    run_of("model=mlp", "eval.enabled=true", "eval.kid_subsets=2")
    outputs = tmp_path / "outputs"
    assert main(["evaluate", "--floors", "digits", f"output_root={outputs}", "eval.kid_subsets=2"]) == 0
    fid = json.loads(next((outputs / "floors").iterdir()).read_text())[0]["values"]["fid"]
    capsys.readouterr()
    assert main(["compare", str(outputs)]) == 0
    table = capsys.readouterr().out
    assert "train against test" in table
    assert f"{fid:.3g}" in table
    assert "another protocol" not in table.split("train against test")[1].split("\n")[0]


def test_defaults_of_the_command_are_those_of_the_run(run_of):
    run = run_of("model=mlp")
    assert main(["evaluate", str(run)]) == 0
    (record,) = runs.read_scores(run)
    kept = EvalSettings.from_config(runs.read_run(run).config["eval"])
    assert record["protocol"]["num_generated"] == kept.num_samples == 500
    assert Path(run / "run.json").exists()
