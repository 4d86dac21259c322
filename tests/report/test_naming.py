"""What rows are called: by what tells them apart, in the fewest words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import synthetic_runs as synthetic

from ganbench.report.comparison import Options, compare
from ganbench.report.table import Table


def composed_from(experiment: str | None, folder: Path) -> Path:
    """The run as one that came from an experiment file."""
    info = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**info, "experiment": experiment}))
    return folder


def table_of(root: Path, **options: Any) -> Table:
    (table,) = compare(Options(roots=[root], **options)).tables
    return table


def test_recipes_from_experiments_are_called_by_them(root: Path) -> None:
    composed_from("lab/baseline", synthetic.completed(root, "mlp", "bce", 0))
    composed_from("lab/fast", synthetic.completed(root, "mlp", "bce", 0, loss__optimizer__lr=2e-3))
    composed_from("lab/saturating", synthetic.completed(root, "mlp", "minimax", 0))
    table = table_of(root)
    assert table.keys == ["experiment"]
    assert {row.label for row in table.rows} == {"lab/baseline", "lab/fast", "lab/saturating"}
    assert {row.short for row in table.rows} == {row.label for row in table.rows}
    (row,) = table_of(root, where=["experiment=lab/fast"]).rows
    assert row.runs[0].config["loss.optimizer.lr"] == 2e-3


def test_a_single_row_is_called_by_its_experiment(root: Path) -> None:
    for seed in (0, 1):
        composed_from("lab/baseline", synthetic.completed(root, "mlp", "bce", seed))
    assert [row.label for row in table_of(root).rows] == ["lab/baseline"]


def test_what_an_experiment_was_run_with_is_told_beside_it(root: Path) -> None:
    composed_from("cgan/bce", synthetic.completed(root, "cgan", "bce", 0))
    composed_from("cgan/bce", synthetic.completed(root, "cgan", "bce", 0, train__batch_size=64))
    composed_from("cgan/hinge", synthetic.completed(root, "cgan", "hinge", 0))
    composed_from("cgan/hinge", synthetic.completed(root, "mlp", "hinge", 0))
    table = table_of(root)
    assert table.keys == ["experiment", "model", "train.batch_size"]
    assert sorted(row.label for row in table.rows) == [
        "cgan/bce / cgan / batch_size=128",
        "cgan/bce / cgan / batch_size=64",
        "cgan/hinge / cgan / batch_size=128",
        "cgan/hinge / mlp / batch_size=128",
    ]


def test_one_experiment_run_in_several_ways_is_said_once(root: Path) -> None:
    for lr in (2e-4, 2e-3):
        composed_from("lab/baseline", synthetic.completed(root, "mlp", "bce", 0, loss__optimizer__lr=lr))
    table = table_of(root)
    assert "experiment" not in table.keys and table.shared["experiment"] == "lab/baseline"
    composed_from(None, synthetic.completed(root, "mlp", "bce", 0, loss__optimizer__lr=2e-2))
    assert "experiment" not in table_of(root).shared


def test_keys_of_one_last_name_are_told_apart(root: Path) -> None:
    for widths in ([8], [16]):
        synthetic.completed(
            root,
            "mlp",
            "bce",
            0,
            model__generator__widths=widths,
            model__discriminator__widths=[2 * widths[0]],
        )
    assert sorted(row.label for row in table_of(root).rows) == [
        "discriminator.widths=[16] / generator.widths=[8]",
        "discriminator.widths=[32] / generator.widths=[16]",
    ]


def test_what_is_off_gives_way_where_a_label_is_long(root: Path) -> None:
    off = {"ema_decay": None, "minibatch_std": False, "feature_matching": False, "pack": 1, "unroll": 0}
    for on in ({"unroll": 3}, {"feature_matching": True}, {"ema_decay": 0.999}, {"minibatch_std": True}):
        changes = {f"train__{key}": value for key, value in {**off, **on}.items()}
        synthetic.completed(root, "mlp", "bce", 0, **changes)
    labels = [row.label for row in table_of(root).rows]
    assert len(set(labels)) == 4
    for said in ("unroll=3", "feature_matching=true", "ema_decay=0.999", "minibatch_std=true"):
        assert any(said in label for label in labels)


def test_sizes_that_a_model_takes_from_the_dataset_say_nothing_more(root: Path) -> None:
    for size in (28, 64):
        sizes = {key: size for key in ("dataset__image_size", "model__generator__image_size")}
        synthetic.completed(root, "mlp", "bce", 0, **sizes)
    assert table_of(root).keys == ["dataset.image_size"]


def test_a_recipe_of_which_all_is_off_has_a_label(root: Path) -> None:
    off = {name: False for name in ("minibatch_std", "feature_matching", "packed_samples", "unrolled_steps")}
    for on in ("", *off):
        changes = {f"train__{key}": key == on for key in off}
        synthetic.completed(root, "mlp", "bce", 0, **changes)
    labels = [row.label for row in table_of(root).rows]
    assert len(set(labels)) == 5 and all(labels)


def test_experiments_name_all_rows_or_none(root: Path) -> None:
    composed_from("lab/baseline", synthetic.completed(root, "mlp", "bce", 0))
    synthetic.completed(root, "mlp", "hinge", 0)
    assert table_of(root).keys == ["loss"]
    # One recipe, by its name and by its keys.
    composed_from("lab/hinge", synthetic.completed(root, "mlp", "hinge", 1))
    assert table_of(root).keys == ["loss"]


def test_keys_that_follow_from_others_are_left_out(root: Path) -> None:
    for rate in (1e-4, 2e-4):
        rates = {f"loss__{name}": rate for name in ("d_lr", "g_lr", "optimizer__lr")}
        synthetic.completed(root, "mlp", "bce", 0, **rates)
    assert table_of(root).keys == ["loss.optimizer.lr"]
    synthetic.completed(root, "mlp", "bce", 0, loss__d_lr=4e-4, loss__g_lr=1e-4, loss__optimizer__lr=1e-4)
    assert table_of(root).keys == ["loss.d_lr", "loss.optimizer.lr"]


def test_a_later_key_left_at_its_default_is_shown_with_it(root: Path) -> None:
    """Runs from before the key have none; packs make the discriminator's channels."""
    synthetic.completed(root, "mlp", "bce", 0, model__discriminator__channels=1)
    later = {"ema_decay": None, "minibatch_std": False, "pack": 2, "feature_matching": False, "unroll": 0}
    synthetic.completed(root, "mlp", "bce", 0, model__discriminator__channels=2, remedy=later)
    table = table_of(root)
    assert table.keys == ["remedy.pack"]
    assert {row.label for row in table.rows} == {"pack=1", "pack=2"}
