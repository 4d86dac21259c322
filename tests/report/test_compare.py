"""What tables say: grouping, statistics, marks, protocols, budgets, and everything that is missing."""

from __future__ import annotations

import itertools
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import synthetic_runs as synthetic

from ganbench.errors import UserError
from ganbench.metrics.judge import NUM_FEATURES
from ganbench.report import judging
from ganbench.report.aggregate import _tied
from ganbench.report.blocks import blocks, problem_lines, summary_text
from ganbench.report.columns import COLUMNS
from ganbench.report.comparison import Options, Report, compare
from ganbench.report.figures import radar
from ganbench.report.protocol import Budget
from ganbench.report.remarks import FEATURES
from ganbench.report.render import to_text
from ganbench.report.table import Row, summarise
from ganbench.report.where import matches


def compared(root: Path, **options: Any) -> Report:
    return compare(Options(roots=[root], **options))


def row(report: Report, label: str, table: int = 0) -> Row:
    return next(row for row in report.tables[table].rows if row.label == label)


def rewrite(folder: Path, **changes: Any) -> None:
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def set_scores(folder: Path, scores: list[dict[str, Any]]) -> None:
    (folder / "scores.json").write_text(json.dumps(scores))


# --- grouping and statistics ------------------------------------------------------------------------


def test_runs_that_differ_in_seed_and_housekeeping_are_one_recipe(root: Path) -> None:
    synthetic.completed(root, seed=0, fid=10.0, device="cpu")
    synthetic.completed(root, seed=1, fid=20.0, device="cuda", train__log_every=7, compile=True)
    synthetic.completed(root, seed=2, fid=60.0, eval__num_samples=5, dataset__root="/data", threads=2)
    (table,) = compared(root).tables
    (only,) = table.rows
    assert sorted(only.picks) == [0, 1, 2]
    cell = only.cells["fid"]
    assert (cell.centre, cell.low, cell.high) == (20.0, 15.0, 40.0)


def test_only_columns_in_which_recipes_differ_are_shown(root: Path) -> None:
    for loss in ("bce", "wgan_gp"):
        synthetic.completed(root, loss=loss)
    assert compared(root).tables[0].keys == ["loss"]  # n_critic and the optimiser come with the loss
    synthetic.completed(root, loss="bce", loss__optimizer__lr=0.001)
    table = compared(root).tables[0]
    assert table.keys == ["loss", "loss.optimizer.lr"]
    assert {r.label for r in table.rows} == {"bce / lr=0.001", "bce / lr=0.0002", "wgan_gp / lr=0.0001"}


def test_runs_trained_on_other_images_are_another_recipe(root: Path) -> None:
    for seed, images in enumerate(("ab12cd34" * 8, "ab12cd34" * 8, "0f" * 32)):
        rewrite(synthetic.completed(root, seed=seed), dataset_sha256=images)
    (table,) = compared(root).tables
    assert table.keys == ["dataset_sha256"]
    assert {r.label: sorted(r.picks) for r in table.rows} == {
        "dataset_sha256=ab12cd34": [0, 1],
        "dataset_sha256=0f0f0f0f": [2],
    }
    (only,) = compared(root, where=["dataset_sha256=0f0f0f0f"]).tables[0].rows
    assert sorted(only.picks) == [2] and "dataset_sha256" not in only.recipe


def test_images_that_differ_with_the_dataset_or_its_size_are_no_column(root: Path) -> None:
    for size, images in ((28, "a" * 64), (64, "b" * 64)):
        rewrite(synthetic.completed(root, dataset__image_size=size), dataset_sha256=images)
    assert compared(root).tables[0].keys == ["dataset.image_size"]


def test_runs_that_say_nothing_of_their_images_are_one_recipe(root: Path) -> None:
    for seed in (0, 1):
        rewrite(synthetic.completed(root, seed=seed), dataset_sha256=None)
    (only,) = compared(root).tables[0].rows
    assert sorted(only.picks) == [0, 1]


def test_integral_floats_are_the_same_recipe(root: Path) -> None:
    synthetic.completed(root, seed=0, train__batch_size=128)
    synthetic.completed(root, seed=1, train__batch_size=128.0)
    assert len(compared(root).tables[0].rows) == 1


def test_median_and_quartiles_by_hand() -> None:
    cell = summarise({0: 1.0, 1: 2.0, 2: 4.0, 3: 8.0, 4: 16.0}, "median")
    assert (cell.centre, cell.low, cell.high) == (4.0, 2.0, 8.0)


def test_mean_and_standard_deviation_by_hand() -> None:
    cell = summarise({0: 1.0, 1: 2.0, 2: 6.0}, "mean")
    deviation = math.sqrt((4 + 1 + 9) / 2)
    assert cell.centre == 3.0
    assert cell.low == pytest.approx(3.0 - deviation)
    assert summary_text(cell, COLUMNS["fid"], "mean", 3) == "3.00 ± 2.65"


def test_one_seed_has_no_spread() -> None:
    for stat in ("median", "mean"):
        cell = summarise({7: 12.5}, stat)  # type: ignore[arg-type]
        assert (cell.low, cell.high) == (None, None)
        assert summary_text(cell, COLUMNS["fid"], stat, 1) == "12.50"


def test_two_hundred_seeds_of_one_recipe(root: Path) -> None:
    for seed in range(200):
        settings = synthetic.config("mlp", "bce", seed)
        scores = [synthetic.record(10 + 0.01 * seed)]
        synthetic.write(root / str(seed), settings, synthetic.info(settings), scores)
    (table,) = compared(root, test=True).tables
    assert table.rows[0].cells["fid"].n == 200
    assert table.rows[0].cells["fid"].centre == pytest.approx(10.995)


def test_a_repeated_seed_counts_once_and_is_reported(root: Path) -> None:
    synthetic.completed(root, seed=0, fid=10.0)
    newer = synthetic.completed(root, seed=0, fid=30.0, device="cuda")
    rewrite(newer, finished_at="2026-01-01T00:00:00+00:00")
    (table,) = compared(root).tables
    assert table.rows[0].cells["fid"].values == {0: 30.0}
    assert any("seed 0 was run twice" in note for note in table.notes)


def test_a_root_given_twice_counts_once(root: Path) -> None:
    synthetic.completed(root, seed=0)
    report = compare(Options(roots=[root, root / "mnist"]))
    assert len(report.runs) == 1


# --- marks, sorting, filters ------------------------------------------------------------------------


def three_recipes(root: Path) -> None:
    for seed, noise in enumerate((-0.5, 0.0, 0.5, 0.2)):
        synthetic.completed(root, loss="hinge", seed=seed, fid=10 + noise)
        synthetic.completed(root, loss="bce", seed=seed, fid=10.1 + noise)
        synthetic.completed(root, loss="lsgan", seed=seed, fid=40 + noise)


def test_best_and_ties_within_noise_are_marked(root: Path) -> None:
    three_recipes(root)
    report = compared(root)
    marks = {r.label: r.cells["fid"].mark for r in report.tables[0].rows}
    assert marks == {"hinge": "best", "bce": "tie", "lsgan": ""}
    assert row(report, "hinge").cells["is"].mark == "best"  # higher is better there
    assert row(report, "lsgan").cells["pixel_std"].mark == ""  # neither is better


def test_nothing_is_marked_where_all_are_equal(root: Path) -> None:
    for loss in ("bce", "hinge", "lsgan"):
        synthetic.completed(root, loss=loss, fid=10.0)
    (table,) = compared(root).tables
    assert [r.cells["fid"].mark for r in table.rows] == ["", "", ""]


def test_few_seeds_have_a_best_but_no_ties(root: Path) -> None:
    for loss, fid in (("bce", 10.0), ("hinge", 10.01), ("lsgan", 10.0)):
        synthetic.completed(root, loss=loss, fid=fid)
    (table,) = compared(root).tables
    assert sorted(r.cells["fid"].mark for r in table.rows) == ["", "best", "best"]
    assert any("noise unknown" in note for note in table.notes)


@pytest.mark.parametrize(
    ("by", "order"),
    [
        ("fid", ["hinge", "bce", "lsgan"]),
        ("is", ["hinge", "bce", "lsgan"]),
        ("kid_mean", ["hinge", "bce", "lsgan"]),
        ("density", ["hinge", "bce", "lsgan"]),
        ("pixel_std", ["lsgan", "bce", "hinge"]),
        ("loss", ["bce", "hinge", "lsgan"]),
        ("FID", ["hinge", "bce", "lsgan"]),
        ("train s", ["bce", "hinge", "lsgan"]),
    ],
)
def test_rows_are_sorted_by_any_column(root: Path, by: str, order: list[str]) -> None:
    three_recipes(root)
    assert [r.label for r in compared(root, by=by).tables[0].rows] == order


def test_a_column_asked_for_is_shown(root: Path) -> None:
    synthetic.completed(root)
    shown = [column.name for column in compared(root, by="coverage").tables[0].columns]
    assert "coverage" in shown and "density" not in shown


def test_unknown_column_is_refused_with_a_suggestion(root: Path) -> None:
    synthetic.completed(root)
    with pytest.raises(UserError, match=r"--by precison: unknown column; did you mean precision\?"):
        compared(root, by="precison")


@pytest.mark.parametrize(
    ("where", "labels"),
    [
        (["loss=bce,lsgan"], {"bce", "lsgan"}),
        (["loss=bce,lsgan", "loss=bce"], {"bce"}),
        (["loss.name=hinge"], {"hinge"}),
        (["train.batch_size=128.0", "loss=hinge"], {"hinge"}),
        (["loss.optimizer.lr=2e-4"], {"bce", "hinge", "lsgan"}),
        (["compile=False", "loss=bce"], {"bce"}),
        (["loss.optimizer.betas=[0.5, 0.999]", "loss=bce"], {"bce"}),
        (["loss.optimizer.betas=[0.50,0.9990]", "loss= lsgan, bce"], {"bce", "lsgan"}),
        (["loss.d_loss_weight=1", "remedy.ema_decay=null", "loss=bce"], {"bce"}),  # later than these runs
    ],
)
def test_where(root: Path, where: list[str], labels: set[str]) -> None:
    three_recipes(root)
    assert {r.label for r in compared(root, where=where).tables[0].rows} == labels


def test_where_selects_seeds(root: Path) -> None:
    three_recipes(root)
    assert set(compared(root, where=["seed=0,3"]).tables[0].rows[0].picks) == {0, 3}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("loss=gan", r"--where loss=gan: matches none of 12 runs; loss is bce, hinge, lsgan"),
        ("loss=bce,lsgen,gan", r"no run has loss=lsgen; loss is bce, hinge, lsgan"),
        ("loss.optimizer.betas=[0.5,0.99]", r"matches none of 12 runs; .* is \[0.5, 0.999\]"),
        ("loss", "must be key=value"),
        ("los=bce", r"no run has the key los; did you mean loss"),
        ("train.batchsize=3", r"did you mean train\.batch_size"),
    ],
)
def test_where_that_fits_nothing_is_refused(root: Path, where: str, message: str) -> None:
    three_recipes(root)
    with pytest.raises(UserError, match=message):
        compared(root, where=[where])


def test_weights(root: Path) -> None:
    synthetic.completed(root, fid=10.0)
    assert compared(root).tables[0].rows[0].cells["fid"].centre == 10.0
    report = compared(root, weights="best")
    assert report.tables[0].rows[0].cells["fid"].centre == pytest.approx(9.7)
    assert "best weights" in report.tables[0].title


def test_newest_score_of_a_protocol_counts(root: Path) -> None:
    folder = synthetic.completed(root, fid=10.0, training=False)
    again = synthetic.record(33.0, "evaluate") | {"created_at": "2026-01-01T00:00:00+00:00"}
    old = synthetic.record(77.0, "evaluate") | {"created_at": "2020-01-01T00:00:00+00:00"}
    set_scores(folder, [again, synthetic.record(10.0), old])
    assert compared(root).tables[0].rows[0].cells["fid"].centre == 33.0


# --- numbers that are none --------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, None, "12", True, math.inf])
def test_what_is_no_number_is_absent_and_never_zero(root: Path, value: Any) -> None:
    for seed in range(3):
        folder = synthetic.completed(root, seed=seed, fid=10.0 + seed, training=False)
    scores = json.loads((folder / "scores.json").read_text())
    for record in scores:
        record["values"]["fid"] = value
    set_scores(folder, scores)
    report = compared(root)
    cell = report.tables[0].rows[0].cells["fid"]
    assert cell.values == {0: 10.0, 1: 11.0}
    assert summary_text(cell, COLUMNS["fid"], "median", 3).endswith("(n=2)")


def test_a_recipe_without_any_value_shows_a_dash(root: Path) -> None:
    synthetic.completed(root, loss="bce", fid=10.0)
    folder = synthetic.completed(root, loss="hinge", fid=math.nan, training=False)
    assert "NaN" in (folder / "scores.json").read_text()
    report = compared(root)
    assert [r.label for r in report.tables[0].rows] == ["bce", "hinge"]
    line = next(line for line in to_text(blocks(report)).splitlines() if line.startswith("hinge"))
    assert line.split()[2] == "–"


def test_absent_metrics_are_explained(root: Path) -> None:
    record = synthetic.record(10.0)
    del record["values"]["kid_mean"]
    record["absent"] = {"kid": "needs at least 1000 generated images, has 500"}
    set_scores(synthetic.completed(root, training=False), [record])
    notes = compared(root).tables[0].notes
    assert "kid is missing: needs at least 1000 generated images, has 500 (1 run)" in notes


# --- runs that are not completed --------------------------------------------------------------------


def test_every_status_stays_visible_with_its_reason(root: Path) -> None:
    synthetic.completed(root, seed=0)
    for seed, status in enumerate(("failed", "diverged", "interrupted"), start=1):
        synthetic.failed(root, status, f"because {status}", seed=seed)
    synthetic.failed(root, "running", "", seed=4)
    report = compared(root)
    only = report.tables[0].rows[0]
    assert sorted(only.picks) == [0]
    # Nobody holds the lock of the one marked running: it was interrupted.
    assert only.trouble == "1 failed, 1 diverged, 2 interrupted"
    text = to_text(blocks(report))
    for status in ("failed", "diverged", "interrupted"):
        assert f"because {status}" in text


def test_a_score_of_an_unfinished_run_is_not_averaged_in(root: Path) -> None:
    synthetic.completed(root, seed=0, fid=10.0)
    rewrite(synthetic.completed(root, seed=1, fid=500.0), status="diverged", reason="nan")
    only = compared(root).tables[0].rows[0]
    assert only.cells["fid"].values == {0: 10.0}
    assert only.trouble == "1 diverged"


def test_a_recipe_that_never_completed_has_a_row(root: Path) -> None:
    synthetic.completed(root, loss="bce")
    synthetic.failed(root, "diverged", "d_loss is nan at step 120", loss="wgan_clip")
    report = compared(root)
    lost = row(report, "wgan_clip")
    assert lost.picks == {} and lost.cells == {}
    assert problem_lines(report.tables[0]) == ["wgan_clip: seed 9 diverged: d_loss is nan at step 120"]


def test_alike_reasons_are_told_once(root: Path) -> None:
    synthetic.completed(root)
    for seed in range(20, 35):
        synthetic.failed(root, "failed", "no space left", seed=seed)
    (line,) = problem_lines(compared(root).tables[0])
    assert line == "bce: seeds 20, 21, 22, 23, 24, 25, 26, 27 and 7 more failed: no space left"


def test_only_failed_runs_still_make_a_table(root: Path) -> None:
    synthetic.failed(root, "failed", "out of memory")
    (table,) = compared(root).tables
    assert table.protocol is None
    assert table.rows[0].trouble == "1 failed"


def test_completed_without_scores_says_so(root: Path) -> None:
    synthetic.completed(root, seed=0)
    (synthetic.completed(root, seed=1) / "scores.json").unlink()
    only = compared(root).tables[0].rows[0]
    assert only.trouble == "1 unscored"
    assert "ganbench evaluate" in only.problems[0].reason


def test_diagnosis_has_a_column(root: Path) -> None:
    folder = synthetic.completed(root)
    assert "diagnosis" not in to_text(blocks(compared(root)))
    rewrite(folder, diagnosis=[{"name": "collapse", "step": 500}, "not a mapping"])
    assert compared(root).tables[0].rows[0].diagnosis == "collapse"
    assert "collapse" in to_text(blocks(compared(root)))


def test_diagnoses_are_counted_over_seeds(root: Path) -> None:
    for seed, names in enumerate((["collapse", "oscillation"], ["collapse", "collapse"], [])):
        folder = synthetic.completed(root, seed=seed)
        rewrite(folder, diagnosis=[{"name": name, "step": 500} for name in names])
    reason = "stopped at step 500 by train.stop_on: collapse since step 100"
    rewrite(synthetic.failed(root, "failed", reason, seed=3), diagnosis=[{"name": "collapse"}])
    report = compared(root)
    row = report.tables[0].rows[0]
    assert (row.diagnosis, row.trouble) == ("collapse ×3, oscillation", "1 failed")
    assert reason in to_text(blocks(report))


# --- protocols --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"extractor": "inception"}, "extractor inception (judge)"),
        ({"extractor_sha256": "e" * 64}, "extractor_sha256 eeeeeeee (aaaaaaaa)"),
        ({"num_generated": 5000}, "num_generated 5000 (10000)"),
        ({"version": 2}, "version 2 (1)"),
        ({"split": "train"}, "reference.split train (test)"),
        ({"pr_k": 5}, "pr_k 5 (3)"),
        ({"reference__image_size": 64}, "reference.image_size 64 (28)"),
    ],
)
def test_two_protocols_are_two_tables_and_the_difference_is_told(
    root: Path, change: dict[str, Any], told: str
) -> None:
    synthetic.completed(root, loss="bce", fid=10.0, training=False)
    other = synthetic.completed(root, loss="hinge", training=False)
    score = synthetic.record(9.0, **{k: v for k, v in change.items() if "__" not in k})
    score["protocol"]["reference"].update({k.partition("__")[2]: v for k, v in change.items() if "__" in k})
    set_scores(other, [score])
    tables = compared(root).tables
    assert sorted(r.label for table in tables for r in table.rows) == ["bce", "hinge"]
    assert [len(table.rows) for table in tables] == [1, 1]
    assert tables[1].notes[0].startswith("not comparable with table 1")
    assert told in tables[1].notes[0]
    assert all("best" not in {c.mark for r in table.rows for c in r.cells.values()} for table in tables)


def test_the_size_of_the_images_is_said_where_it_is_not_the_usual(root: Path) -> None:
    other = synthetic.completed(root, training=False)
    score = synthetic.record(9.0)
    score["protocol"]["reference"]["image_size"] = 64
    set_scores(other, [synthetic.record(8.0), score])
    usual, large = (table.protocol.describe() for table in compared(root).tables if table.protocol)
    assert "(test split); extractor" in usual
    assert "(test split, made at 64×64); extractor" in large


def test_two_datasets_are_two_tables(root: Path) -> None:
    for dataset in ("mnist", "fashion_mnist"):
        synthetic.completed(root, dataset=dataset)
    tables = compared(root).tables
    assert [table.dataset for table in tables] == ["fashion_mnist", "mnist"]
    assert tables[1].notes[0].endswith("reference.dataset mnist (fashion_mnist)")


def test_evaluation_seed_is_no_other_protocol_but_is_told(root: Path) -> None:
    for seed in range(2):
        folder = synthetic.completed(root, seed=seed, training=False)
        set_scores(folder, [synthetic.record(10.0, seed=seed)])
    (table,) = compared(root).tables
    assert len(table.rows[0].picks) == 2
    assert "generated with different evaluation seeds: 0, 1" in table.notes


def test_a_seed_that_is_not_the_protocols_is_told(root: Path) -> None:
    """Of several scores by one protocol the newest counts: a lucky seed must not go unseen."""
    folder = synthetic.completed(root)
    assert not any("eval.seed" in note for note in compared(root).tables[0].notes)
    records = json.loads((folder / "scores.json").read_text())
    for record in records:
        record["protocol"]["seed"] = 7
    (folder / "scores.json").write_text(json.dumps(records))
    told = "generated with eval.seed=7, not with the protocol's 20240501"
    assert told in compared(root).tables[0].notes
    for record in records:
        record["protocol"]["seed"] = "\x1b]0;x\x07" + "y" * 400
    (folder / "scores.json").write_text(json.dumps(records))
    (note,) = [note for note in compared(root).tables[0].notes if "eval.seed" in note]
    assert note.isprintable() and len(note) < 120


def test_extractor_selects(root: Path) -> None:
    synthetic.completed(root, extractors=("judge", "judge_b", "inception"))
    assert [table.protocol.extractor for table in compared(root).tables if table.protocol] == [
        "judge",
        "inception",
    ]
    everything = compared(root, extractor="all").tables
    assert [t.protocol.extractor for t in everything if t.protocol] == ["judge", "inception", "judge_b"]
    (table,) = compared(root, extractor="judge_b").tables
    assert table.protocol and table.protocol.extractor == "judge_b"
    with pytest.raises(UserError, match=r"^--extractor clip: no run was scored so; there is .*judge"):
        compared(root, extractor="clip")


def test_what_is_not_shown_is_named(root: Path) -> None:
    synthetic.completed(root, extractors=("judge", "judge_b"))
    assert "not shown: mnist by judge_b against the test split" in compared(root).notes[0]


def test_the_protocol_of_most_runs_comes_first(root: Path) -> None:
    """Numbers are numbers: as texts 20000 lies between 2 and 500."""
    for seed in range(2):
        folder = synthetic.completed(root, seed=seed, training=False)
        scores = json.loads((folder / "scores.json").read_text())
        aside = [synthetic.record(9.0, num_generated=made) for made in (500, 2, 20_000)]
        aside.append(synthetic.record(9.0, pr_k=20))
        aside.append(synthetic.record(9.0, pr_k=5))
        set_scores(folder, scores if seed else [*scores, *aside])
    protocols = [table.protocol for table in compared(root).tables]
    assert [(p.get("num_generated"), p.get("pr_k")) for p in protocols if p] == [
        ("10000", "3"),
        ("20000", "3"),
        ("10000", "5"),
        ("10000", "20"),
        ("500", "3"),
        ("2", "3"),
    ]


def test_the_dataset_of_most_runs_comes_first(root: Path) -> None:
    synthetic.completed(root, dataset="digits")
    for seed in range(2):
        synthetic.completed(root, seed=seed, dataset="mnist")
    synthetic.completed(root, dataset="a")
    assert [table.dataset for table in compared(root).tables] == ["mnist", "a", "digits"]


def test_runs_that_only_the_second_judge_scored_are_shown(root: Path) -> None:
    synthetic.completed(root, loss="bce", extractors=("judge", "judge_b"))
    synthetic.completed(root, loss="hinge", extractors=("judge_b",))
    tables = compared(root).tables
    assert [len(table.rows) for table in tables] == [2, 1], "the one of most runs first"


def test_a_ranking_that_changes_with_the_judge_is_unstable(root: Path) -> None:
    for loss, fid, other in (("bce", 10.0, 30.0), ("hinge", 20.0, 20.0), ("lsgan", 50.0, 60.0)):
        folder = synthetic.completed(root, loss=loss, training=False)
        set_scores(folder, [synthetic.record(fid), synthetic.record(other, extractor="judge_b")])
    notes = compared(root).tables[0].notes
    assert "order of 3 recipes by FID: UNSTABLE: judge_b swaps bce and hinge" in notes


def test_a_ranking_that_stays_is_said_to(root: Path) -> None:
    for loss in ("bce", "hinge"):
        synthetic.completed(root, loss=loss, extractors=("judge", "judge_b"))
    assert "order of 2 recipes by FID: the same under judge and judge_b" in compared(root).tables[0].notes


def test_times_of_different_machines_are_not_ranked(root: Path) -> None:
    synthetic.completed(root, loss="bce")
    hosts = {"device": "cuda", "host": "elsewhere"}, {"host": {"name": "vm", "cores": 2, "threads": 1}}
    for loss, changed in zip(("hinge", "lsgan"), hosts, strict=True):
        rewrite(synthetic.completed(root, loss=loss), **changed)
    (table,) = compared(root).tables
    assert {r.cells["seconds"].mark for r in table.rows} == {""}
    (note,) = [note for note in table.notes if "different machines" in note]
    assert "cuda of elsewhere" in note and "of vm (cores 2, threads 1)" in note
    (table,) = compared(root, by="seconds", test=True).tables
    assert (table.verdicts, table.verdict_notes) == ([], ["times of different machines are not compared"])
    assert all("speed" not in radar._scaled(r, table) for r in table.rows)


def test_the_judges_are_not_asked_about_times(root: Path) -> None:
    for loss in ("bce", "hinge"):
        synthetic.completed(root, loss=loss, extractors=("judge", "judge_b"))
    assert not any("under judge" in note for note in compared(root, by="seconds").tables[0].notes)


@pytest.mark.parametrize("better, mark", [("fid", "tie"), ("is", "")])
def test_a_better_mean_than_that_of_the_best_median_is_no_loss(root: Path, better: str, mark: str) -> None:
    """Seeds of two kinds: the median is the best, the mean is far from it."""
    low = [10, 10.1, 9.9, 10, 10.05, 60, 61, 59, 60]
    for seed, value in enumerate(low):
        synthetic.completed(root, loss="bce", seed=seed, fid=value, training=False)
        synthetic.completed(root, loss="hinge", seed=seed, fid=10.5 + 0.01 * seed, training=False)
    cells = {r.label: r.cells["fid"] for r in compared(root).tables[0].rows}
    assert cells["bce"].mark == "best"
    assert _tied(cells["hinge"], cells["bce"], better == "fid") == (mark == "tie")


@pytest.mark.parametrize("weights", ["ema", "best"])
def test_a_score_of_earlier_averaged_or_best_weights_is_past(root: Path, weights: str) -> None:
    path = synthetic.completed(root, fid=5.0)
    halfway = synthetic.record(3.0, "evaluate", weights, step=1000, num_generated=500)
    final = synthetic.record(4.0, "final", weights, step=2000)
    set_scores(path, [halfway, final])
    (table,) = compared(root, weights=weights).tables
    assert table.rows[0].cells["fid"].values == {0: 4.0}
    set_scores(path, [{**halfway, "step": 2000}, final])
    assert len(compared(root, weights=weights).tables) == 2


def test_a_score_of_older_weights_is_not_one_of_the_last(root: Path) -> None:
    """`ganbench evaluate` scored the run half-way, under another protocol, and it went on."""
    path = synthetic.completed(root, fid=5.0)
    scores = json.loads((path / "scores.json").read_text())
    halfway, now = (
        synthetic.record(value, "evaluate", step=step, num_generated=500)
        for value, step in ((3.0, 1000), (2.0, 2000))
    )
    (path / "scores.json").write_text(json.dumps([*scores, halfway]))
    assert len(compared(root).tables) == 1
    (path / "scores.json").write_text(json.dumps([*scores, now, halfway]))
    _, table = compared(root).tables
    assert table.rows[0].cells["fid"].values == {0: 2.0}


# --- what else a reader must know -------------------------------------------------------------------


def test_networks_of_different_sizes_are_told(root: Path) -> None:
    sizes = {"bce": 1_648_385, "hinge": 1_648_385, "wgan_gp": 3_353_441}
    for loss, size in sizes.items():
        folder = synthetic.completed(root, loss=loss)
        rewrite(folder, parameters={"generator": 1000, "discriminator": size})
    (note,) = [note for note in compared(root).tables[0].notes if "size" in note]
    assert note == (
        "the networks differ in size, counted in parameters: "
        "discriminator 1,648,385 (bce, hinge), 3,353,441 (wgan_gp)"
    )
    (table,) = compared(root, where=["loss=bce,hinge"]).tables
    assert not any("size" in note for note in table.notes)


def test_what_the_runs_were_made_by_is_told_where_it_differs(root: Path) -> None:
    for seed, (torch, commit, dirty) in enumerate(
        [("2.14.1", "1" * 40, False), ("2.14.1", "2" * 40, True), ("2.6.0", "1" * 40, False)]
    ):
        rewrite(
            synthetic.completed(root, seed=seed),
            versions={"ganbench": "0.1.0", "torch": torch},
            git={"commit": commit, "dirty": dirty},
        )
    (note,) = [note for note in compared(root).tables[0].notes if "made by" in note]
    assert note == (
        "the runs were made by torch 2.14.1 (2), 2.6.0 (1); ganbench's commits 11111111 (2), 22222222 (1); "
        "ganbench with uncommitted changes (1)"
    )
    (table,) = compared(root, where=["seed=0"]).tables
    assert not any("made by" in note for note in table.notes)


def test_foreign_code_that_changed_between_the_runs_of_a_row_is_told(root: Path) -> None:
    for loss in ("bce", "hinge"):
        for seed in range(3):
            code = {"loss._target_": f"{seed * (loss == 'bce')}" * 64}
            rewrite(synthetic.completed(root, loss=loss, seed=seed), code=code if seed else {})
    notes = [note for note in compared(root).tables[0].notes if "code" in note]
    assert notes == ["loss._target_: its code changed between the runs of bce"]


@pytest.mark.parametrize("odd", [3, [], "text", {"loss": 3}, {"loss": None}])
def test_odd_entries_of_run_json_do_no_harm(root: Path, odd: object) -> None:
    for seed in (0, 1):
        keys = ("code", "git", "versions", "parameters", "dataset_sha256")
        rewrite(synthetic.completed(root, seed=seed), **dict.fromkeys(keys, odd))
    report = compared(root)
    assert len(report.runs) == 2 and "FID" in to_text(blocks(report))


@pytest.mark.parametrize(
    ("extractor", "made", "told"),
    [
        ("inception", 2048, "set eval.num_samples above 2,048"),
        ("inception", 2049, ""),
        ("judge", 64, "set eval.num_samples above 64"),
        ("judge", 65, ""),
    ],
)
def test_fid_of_fewer_images_than_feature_dimensions_is_told(
    root: Path, extractor: str, made: int, told: str
) -> None:
    folder = synthetic.completed(root, training=False)
    set_scores(folder, [synthetic.record(9.0, extractor=extractor, num_generated=made)])
    notes = [note for note in compared(root).tables[0].notes if "rank-deficient" in note]
    assert len(notes) == bool(told) and all(note.endswith(told) for note in notes)


def test_a_reference_of_few_images_asks_for_another_extractor(root: Path) -> None:
    folder = synthetic.completed(root, training=False)
    score = synthetic.record(9.0, extractor="inception")
    score["protocol"]["reference"]["count"] = 397
    set_scores(folder, [score])
    (note,) = [note for note in compared(root).tables[0].notes if "rank-deficient" in note]
    assert note == (
        "FID is of 397 images in 2,048 feature dimensions (inception): their covariance is rank-deficient, "
        "so FID is too high; choose another eval.extractor"
    )


def test_the_dimensions_told_are_those_of_the_judges() -> None:
    assert FEATURES["judge"] == FEATURES["judge_b"] == NUM_FEATURES


# --- floors -----------------------------------------------------------------------------------------


def write_floors(root: Path, extractor: str = "judge", **rest: Any) -> None:
    (root / "floors").mkdir(exist_ok=True)
    record = synthetic.record(1.2, "floor", extractor=extractor, **rest) | {"floor": "train-test"}
    (root / "floors" / f"mnist-{extractor}.json").write_text(json.dumps([record]))


@pytest.mark.parametrize("below", ["", "mnist", "mnist/mlp"])
def test_floors_are_the_last_rows(root: Path, below: str) -> None:
    synthetic.completed(root)
    write_floors(root)
    report = compared(root / below)
    (floor,) = report.tables[0].floors
    assert (floor.name, floor.values["fid"]) == ("train against test", 1.2)
    lines = to_text(blocks(report)).splitlines()
    rules = [index for index, line in enumerate(lines) if line.startswith("---")]
    assert lines[rules[1] + 1].startswith("floor: train against test")


def test_floors_of_another_extractor_are_not_mixed_in(root: Path) -> None:
    synthetic.completed(root)
    write_floors(root, "inception")
    (table,) = compared(root).tables
    assert table.floors == []
    assert "no floors yet: `ganbench evaluate --floors mnist` adds them" in table.notes


def test_floors_of_other_counts_say_so(root: Path) -> None:
    synthetic.completed(root)
    write_floors(root, num_generated=60_000)
    notes = compared(root).tables[0].notes
    assert any("num_generated 60000 (10000)" in note for note in notes)


def test_of_several_floors_the_nearest_protocol_counts(root: Path) -> None:
    """Whatever the names of their files, and whichever was stored last."""
    synthetic.completed(root)
    (root / "floors").mkdir()
    for name, made, value in (("a", 50, 9.0), ("b", 10_000, 1.2), ("c", 60_000, 0.5)):
        record = synthetic.record(value, "floor", num_generated=made) | {"floor": "train-test"}
        (root / "floors" / f"{name}.json").write_text(json.dumps([record]))
    (floor,) = compared(root).tables[0].floors
    assert (floor.values["fid"], floor.differs) == (1.2, "")


@pytest.mark.parametrize("content", ["{", "[1, {}]", '{"protocol": 3}', "[[[["])
def test_damaged_floors_do_no_harm(root: Path, content: str) -> None:
    synthetic.completed(root)
    write_floors(root)
    (root / "floors" / "bad.json").write_text(content)
    assert len(compared(root).tables[0].floors) == 1


@pytest.mark.parametrize("levels", [50, 1500], ids=["followed", "parsed by Python 3.13 and not followed"])
def test_floors_whose_protocol_is_nested_without_end_do_no_harm(root: Path, levels: int) -> None:
    synthetic.completed(root)
    write_floors(root, odd="DEEP")
    path = root / "floors" / "mnist-judge.json"
    path.write_text(path.read_text().replace('"DEEP"', '{"a": ' * levels + "1" + "}" * levels))
    assert compared(root).tables[0].floors == []


@pytest.mark.timeout(60)
def test_a_pipe_among_the_floors_is_not_waited_for(root: Path) -> None:
    synthetic.completed(root)
    write_floors(root)
    os.mkfifo(root / "floors" / "x.json")
    (root / "floors" / "zero.json").symlink_to("/dev/zero")
    assert len(compared(root).tables[0].floors) == 1


def floors_of(root: Path, images: str, count: int = 10_000) -> None:
    """Both floors of a dataset called mnist, whose test images have the given hash."""
    (root / "floors").mkdir(exist_ok=True)
    records = [
        synthetic.record(1.2, "floor") | {"floor": "train-test"},
        synthetic.record(1.1, "floor", split="train") | {"floor": "train-halves"},
    ]
    records[0]["protocol"]["reference"] |= {"sha256": images, "count": count}
    records[1]["protocol"]["reference"] |= {"sha256": "c" * 64, "count": 10_000}
    (root / "floors" / "mnist-judge.json").write_text(json.dumps(records))


@pytest.mark.parametrize("count", [10_000, 400], ids=["as many images", "fewer"])
def test_floors_of_another_dataset_of_that_name_are_left_out(root: Path, count: int) -> None:
    synthetic.completed(root)
    floors_of(root, "b" * 64, count)
    (table,) = compared(root).tables
    assert table.floors == [], "the halves neither, though their reference is of train"
    (note,) = [note for note in table.notes if "floors" in note]
    assert note == (
        "no floors: those of mnist are of other images than this table's reference "
        "(reference.sha256 mnisttest)"
    )
    floors_of(root, "mnisttest")
    (table,) = compared(root).tables
    assert [floor.name for floor in table.floors] == [
        "train against test",
        "one half of train against the other",
    ]


def test_other_images_are_never_among_the_settings_cut_off(root: Path) -> None:
    """The half of a train split is no whole one: only the reader can tell."""
    synthetic.completed(root)
    floors_of(root, "mnisttest")
    path = root / "floors" / "mnist-judge.json"
    records = json.loads(path.read_text())
    records[1]["protocol"] |= {"pr_k": 5, "dc_k": 7, "kid_subsets": 9, "is_splits": 5, "num_generated": 500}
    path.write_text(json.dumps(records[1:]))
    folder = next(run.path for run in compared(root).runs)
    set_scores(folder, [synthetic.record(9.0, split="train")])
    (table,) = compared(root).tables
    (floor,) = table.floors
    assert floor.differs.startswith("reference.sha256 cccccccc (mnisttrain), ") and "more" in floor.differs


# --- budgets ----------------------------------------------------------------------------------------


def test_different_budgets_are_told_in_the_table(root: Path) -> None:
    synthetic.completed(root, loss="bce")
    synthetic.completed(root, loss="wgan_gp")
    report = compared(root)
    (table,) = report.tables
    assert table.budgets == ["images", "critic steps"]
    assert row(report, "wgan_gp").budget == {"steps": 2000, "images": 1_280_000, "critic steps": 10_000}
    assert any("--at images=256000" in note for note in table.notes)


def test_an_equal_budget_is_advised_only_where_scores_on_the_way_allow_it(root: Path) -> None:
    for loss in ("bce", "wgan_gp"):
        synthetic.completed(root, loss=loss, training=False)
    (table,) = compared(root).tables
    assert any("different budgets" in note for note in table.notes)
    assert not any("--at" in note for note in table.notes)


def test_kid_of_a_single_seed_has_its_spread_over_subsets_beside_it(root: Path) -> None:
    """KID 12/2000 = 6 and its standard deviation 12/9000 = 1.33, in thousandths."""
    synthetic.completed(root, loss="bce", fid=12.0)
    for seed in (0, 1):
        synthetic.completed(root, loss="hinge", seed=seed)
    (table,) = compared(root).tables
    (note,) = [note for note in table.notes if note.startswith("KID")]
    assert note == "KID ×10³ ± its standard deviation over subsets of images: bce 6.00 ± 1.33"


@pytest.mark.parametrize(
    ("weights", "images", "advised"),
    [("last", 100_000, True), ("best", 100_000, False), ("last", 1_000, False)],
    ids=["there", "of other weights", "before the first score"],
)
def test_an_equal_budget_is_advised_where_it_can_be_had(
    weights: Any, images: int, advised: bool, root: Path
) -> None:
    for loss, factor in (("bce", 1), ("lsgan", 2)):
        rewrite(synthetic.completed(root, "mlp", loss, 0), images_seen=factor * images)
    notes = " ".join(compared(root, weights=weights).tables[0].notes)
    assert "different budgets" in notes and (f"--at images={images}" in notes) == advised


def test_a_column_without_a_value_is_said(root: Path) -> None:
    synthetic.completed(root)
    note = "--by consistency: no score of this table has it"  # the model is not conditional
    assert note in compared(root, by="consistency").tables[0].notes
    assert not any("--by" in said for said in compared(root, by="kid").tables[0].notes)


def test_a_budget_before_the_first_score_is_refused_with_that(root: Path) -> None:
    synthetic.completed(root)
    with pytest.raises(
        UserError, match=r"--at steps=1: the first score .* steps=\d+; choose a larger budget"
    ):
        compared(root, at=Budget("steps", 1))
    with pytest.raises(UserError, match="no run reached it with a score; choose a smaller budget"):
        compared(root, at=Budget("steps", 1e9))


def test_where_takes_lists_as_training_does(root: Path) -> None:
    synthetic.completed(root)
    for text in ("[0.5, 0.999]", "[0.5,0.999]"):
        assert compared(root, where=[f"loss.optimizer.betas={text}"]).tables
    with pytest.raises(
        UserError, match=r"--where experiment=a: no run has the key experiment; e\.g\. dataset"
    ):
        compared(root, where=["experiment=a"])


def test_a_recipe_that_failed_is_not_hidden_with_the_second_judge(root: Path) -> None:
    for seed in range(3):
        synthetic.completed(root, "mlp", "bce", seed, extractors=("judge", "judge_b"))
    failed = synthetic.failed(root, "failed", "stopped by train.stop_on: collapse", "mlp", "lsgan", 0)
    set_scores(failed, [synthetic.record(30, "evaluate", extractor="judge_b", step=120)])
    said = to_text(blocks(compared(root)))
    assert "stopped by train.stop_on" in said


@pytest.mark.parametrize("dataset", ["/etc", "**x", "a/**b", "[", ""])
def test_a_strange_name_of_a_dataset_stops_nothing(root: Path, dataset: str) -> None:
    synthetic.completed(root, "mlp", "bce", 0)
    strange = synthetic.completed(root, "mlp", "lsgan", 0)
    record = synthetic.record(30, "final")
    record["protocol"]["reference"]["dataset"] = dataset
    set_scores(strange, [record])
    assert len(compared(root).tables) == 2


def test_one_recipe_by_two_names_is_told(root: Path) -> None:
    for loss in ("hinge", "sn_hinge"):
        synthetic.completed(root, "cgan", loss, 0, fid=9.0)
    synthetic.completed(root, "cgan", "bce", 0, fid=9.5)
    (note,) = [note for note in compared(root).tables[0].notes if "one recipe by several names" in note]
    assert note.endswith("hinge, sn_hinge")


def test_a_baseline_may_have_a_list_for_a_value(root: Path) -> None:
    for widths in ([256, 512], [512, 512]):
        for seed in range(2):
            synthetic.completed(root, "mlp", "bce", seed, model__generator__widths=widths)
    report = compared(root, baseline="model.generator.widths=[256, 512]")
    assert len(report.tables[0].verdicts) == 1


def test_equal_budgets_need_no_columns(root: Path) -> None:
    for loss in ("bce", "hinge"):
        synthetic.completed(root, loss=loss)
    assert compared(root).tables[0].budgets == []


def test_equal_budget_takes_the_last_score_before_it(root: Path) -> None:
    synthetic.completed(root, loss="bce", fid=10.0)  # scored at 51,200, 102,400, ... 256,000 images
    synthetic.completed(root, loss="wgan_gp", fid=10.0)  # at 256,000, 512,000, ...
    report = compared(root, at=Budget.parse("images=256000"))
    (table,) = report.tables
    assert table.protocol and table.protocol.split == "train"
    assert row(report, "bce").cells["fid"].centre == pytest.approx(10.0)
    assert row(report, "wgan_gp").cells["fid"].centre == pytest.approx(10.0 * (1 + 3 * 0.8**2))
    assert row(report, "wgan_gp").cells["seconds"].centre == pytest.approx(0.2 * 148)


@pytest.mark.parametrize(("at", "part"), [("steps=1300", 0.6), ("seconds=30", 0.6), ("images=110_000", 0.4)])
def test_equal_budget_on_every_axis(root: Path, at: str, part: float) -> None:
    synthetic.completed(root, fid=10.0)
    cell = compared(root, at=Budget.parse(at)).tables[0].rows[0].cells["fid"]
    assert cell.centre == pytest.approx(10.0 * (1 + 3 * (1 - part) ** 2))


def test_runs_that_stopped_before_the_budget_are_left_out_and_named(root: Path) -> None:
    synthetic.completed(root, loss="bce")
    synthetic.completed(root, loss="hinge", train__steps=500)
    report = compared(root, at=Budget.parse("steps=1000"))
    short = next(r for r in report.tables[0].rows if "hinge" in r.label)
    assert short.picks == {}
    assert short.problems[0].reason == "ended at 500 steps, before steps=1000"


def test_a_diverged_run_counts_for_a_budget_it_reached(root: Path) -> None:
    rewrite(synthetic.completed(root, fid=10.0), status="diverged", reason="nan at step 1900")
    table = compared(root, at=Budget.parse("steps=800")).tables[0]
    assert list(table.rows[0].picks) == [0]
    assert table.rows[0].trouble == ""
    assert any("counts, though its status is diverged (nan at step 1900)" in note for note in table.notes)


@pytest.mark.parametrize(
    "text", ["images", "epochs=3", "steps=0", "steps=-5", "steps=many", "images=nan", ""]
)
def test_senseless_budgets_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="must be images=N, seconds=S or steps=N"):
        Budget.parse(text)


def test_budget_without_scores_during_training_is_refused(root: Path) -> None:
    synthetic.completed(root, training=False)
    with pytest.raises(UserError, match=r"eval\.every=N"):
        compared(root, at=Budget.parse("steps=100"))
    with pytest.raises(UserError, match="--at with --weights best"):
        compared(root, at=Budget.parse("steps=100"), weights="best")


# --- verdicts ---------------------------------------------------------------------------------------


def six_seeds(root: Path) -> None:
    for seed in range(6):
        synthetic.completed(root, loss="bce", seed=seed, fid=20 + 0.1 * seed, training=False)
        synthetic.completed(root, loss="hinge", seed=seed, fid=10 + 0.2 * seed, training=False)
        if seed < 2:
            synthetic.completed(root, loss="lsgan", seed=seed, fid=5.0, training=False)


def test_verdicts_on_known_answers(root: Path) -> None:
    six_seeds(root)
    (table,) = compared(root, test=True).tables
    told = {(v.first, v.second): v.outcome for v in table.verdicts}
    assert told == {
        ("lsgan", "hinge"): "too few seeds",
        ("lsgan", "bce"): "too few seeds",
        ("hinge", "bce"): "better",
    }
    text = to_text(blocks(compared(root, test=True)))
    line = next(line for line in text.splitlines() if line.startswith("hinge") and "better than" in line)
    assert line.split()[-2:] == ["6", "paired"]
    assert "0.031" in line  # 2 / 2^6


@pytest.mark.parametrize("baseline", ["bce", "loss=bce", "loss.name=bce"])
def test_verdicts_against_a_baseline(root: Path, baseline: str) -> None:
    six_seeds(root)
    (table,) = compared(root, baseline=baseline).tables
    assert [(v.first, v.second) for v in table.verdicts] == [("lsgan", "bce"), ("hinge", "bce")]


def test_verdicts_where_higher_is_better(root: Path) -> None:
    six_seeds(root)
    (table,) = compared(root, test=True, by="is").tables
    verdict = next(v for v in table.verdicts if {v.first, v.second} == {"hinge", "bce"})
    assert (verdict.first, verdict.outcome) == ("hinge", "better")
    assert verdict.difference > 0


def test_out_of_reach_is_said_with_the_way_out(root: Path) -> None:
    for seed in range(3):
        for loss in ("bce", "hinge"):
            synthetic.completed(root, loss=loss, seed=seed, training=False)
    (table,) = compared(root, test=True).tables
    assert "n=3 paired: 0.25" in table.verdict_notes[0]
    assert "6 paired, 4 unpaired" in table.verdict_notes[1]
    (table,) = compared(root, test=True, unpaired=True).tables
    assert "n=3 unpaired: 0.1" in table.verdict_notes[0]


@pytest.mark.parametrize(
    ("comparisons", "said"),
    [
        (1, "6 paired, 4 unpaired"),
        (1035, "no number is enough paired, 9 unpaired"),
        (1225, "no number of them is enough"),
    ],
)
def test_seeds_that_would_do_are_said_for_each_kind(
    comparisons: int, said: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, loss in itertools.product(range(3), ("bce", "hinge")):
        synthetic.completed(root, loss=loss, seed=seed, training=False)
    needed = judging.seeds_needed
    monkeypatch.setattr(judging, "seeds_needed", lambda _, paired: needed(comparisons, paired))
    (table,) = compared(root, test=True).tables
    assert said in table.verdict_notes[1]


def test_so_many_pairs_are_tested_only_when_asked_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    six_seeds(root)
    monkeypatch.setattr(judging, "MAX_PAIRS", 1)
    (asked,) = compared(root, test=True).tables
    assert len(asked.verdicts) == 3 and asked.verdict_notes == []
    report = compared(root)
    judging.add_verdicts(report.tables, "fid", None, unpaired=False, asked=False)
    (unasked,) = report.tables
    assert not unasked.verdicts and "3 pairs were not tested" in unasked.verdict_notes[0]


def test_a_baseline_nobody_has_is_refused(root: Path) -> None:
    six_seeds(root)
    with pytest.raises(UserError, match=r"--baseline gan: no such row; rows: lsgan, hinge, bce"):
        compared(root, baseline="gan")


def test_a_baseline_may_be_called_by_what_is_enough(root: Path) -> None:
    for rate, size in ((1e-3, 64), (1e-2, 32)):
        synthetic.completed(root, loss__optimizer__lr=rate, train__batch_size=size)
    row = compared(root).tables[0].rows[0]
    assert len(row.short) < len(row.label)
    (table,) = compared(root, baseline=row.short).tables
    assert [verdict.second for verdict in table.verdicts] == [row.label]


def test_why_there_is_no_verdict_is_said(root: Path) -> None:
    """A baseline without a score, one of another table, a single recipe."""
    six_seeds(root)
    synthetic.failed(root, "diverged", "d_loss is nan", loss="wgan_clip")
    synthetic.completed(root, dataset="digits")
    mnist, digits = compared(root, baseline="wgan_clip").tables
    assert mnist.verdict_notes == ["no verdicts: the baseline wgan_clip has no FID (1 diverged)"]
    assert digits.verdict_notes == ["no verdicts: the baseline wgan_clip is not in this table"]
    assert "the baseline wgan_clip has no FID" in to_text(blocks(compared(root, baseline="wgan_clip")))
    mnist, digits = compared(root, unpaired=True).tables
    assert mnist.verdicts and digits.verdict_notes == [
        "no verdicts: 1 of 1 recipes has FID, and it takes two"
    ]


def test_runs_without_scores_stand_in_no_table_of_another_image_size(root: Path) -> None:
    synthetic.completed(root)
    synthetic.failed(root, "diverged", "d_loss is nan", loss="hinge")
    synthetic.failed(root, "diverged", "d_loss is nan", loss="lsgan", dataset__image_size=64)
    scored, unscored = compared(root).tables
    assert {row.label for row in scored.rows} == {"bce", "hinge"}
    assert [row.runs[0].names["loss"] for row in unscored.rows] == ["lsgan"]


def test_an_ambiguous_baseline_is_refused(root: Path) -> None:
    for model in ("mlp", "cgan"):
        synthetic.completed(root, model=model)
        synthetic.completed(root, model=model, loss="hinge")
    for short in ("mlp / bce", "cgan / bce"):
        with pytest.raises(UserError, match=rf"--baseline bce: 2 rows fit; name one: .*{short}"):
            compared(root, baseline="bce")
        (table,) = compared(root, baseline=short).tables
        assert {verdict.second for verdict in table.verdicts} == {short}
    with pytest.raises(UserError, match=r"--baseline bce: 2 rows fit; name one"):
        compared(root, baseline="bce")
    assert compared(root, baseline="model=mlp,loss=bce").tables[0].verdicts


def test_sorting_by_words_tests_fid(root: Path) -> None:
    six_seeds(root)
    (table,) = compared(root, test=True, by="loss").tables
    assert [r.label for r in table.rows] == ["bce", "hinge", "lsgan"]
    assert {(v.first, v.second): v.outcome for v in table.verdicts}["bce", "hinge"] == "worse"


def test_a_column_without_better_is_not_tested(root: Path) -> None:
    synthetic.completed(root)
    with pytest.raises(UserError, match="--by pixel_std: has no better or worse"):
        compared(root, test=True, by="pixel_std")


def test_images_are_chosen_by_the_whole_hash_or_its_first_digits() -> None:
    whole = "ab12cd34" + "0" * 56
    assert matches("ab12cd34", [whole]) and matches("ab12cd34", ["ab12cd34"])
    assert not matches("ab12cd34", ["ab12cd35" + "0" * 56])
