"""What rows are called: by what tells them apart, in the fewest words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import synthetic_runs as synthetic

from ganbench.config import compose, group_names
from ganbench.errors import ConfigError
from ganbench.report.collect import NAMES, flatten, is_setting
from ganbench.report.comparison import Options, compare
from ganbench.report.defaults import set_by_hand
from ganbench.report.table import Table
from ganbench.report.text import setting


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
    composed_from("mine/bce", synthetic.completed(root, "cgan", "bce", 0))
    composed_from("mine/bce", synthetic.completed(root, "cgan", "bce", 0, train__batch_size=64))
    composed_from("mine/hinge", synthetic.completed(root, "cgan", "hinge", 0))
    composed_from("mine/hinge", synthetic.completed(root, "mlp", "hinge", 0))
    table = table_of(root)
    assert table.keys == ["experiment", "model", "train.batch_size"]
    assert sorted(row.label for row in table.rows) == [
        "mine/bce / cgan / batch_size=128",
        "mine/bce / cgan / batch_size=64",
        "mine/hinge / cgan / batch_size=128",
        "mine/hinge / mlp / batch_size=128",
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


def test_what_was_set_by_hand_is_told_also_of_recipes_of_other_names(root: Path) -> None:
    """Else they would be compared as nothing but two losses."""
    layered = {"model__discriminator__norm": "layer"}
    synthetic.completed(root, "mlp", "bce", 0)
    synthetic.completed(root, "mlp", "wgan_gp", 0, **layered)
    assert table_of(root).keys == ["loss"]
    changed = {"precision": "bfloat16", "loss__g_lr": 5e-3, "loss__n_critic": 2, "loss__critic_norm": "layer"}
    synthetic.completed(root, "mlp", "hinge", 0, **layered, **changed)
    table = table_of(root)
    assert table.keys[0] == "loss"
    assert {*table.keys[1:]} == {key.replace("__", ".") for key in changed}
    hinge = next(row for row in table.rows if row.recipe["loss"] == "hinge")
    assert (hinge.recipe["precision"], hinge.recipe["loss.g_lr"]) == ("bfloat16", "0.005")


def test_a_budget_has_columns_of_its_own(root: Path) -> None:
    synthetic.completed(root, "mlp", "bce", 0)
    synthetic.completed(root, "mlp", "hinge", 0, train__steps=4000)
    assert table_of(root).keys == ["loss"]


def test_nobody_knows_what_files_bring_that_are_not_shipped(root: Path) -> None:
    synthetic.completed(root, "mlp", "bce", 0)
    synthetic.completed(root, "mlp", "mine", 0, loss__n_critic=3, loss__optimizer__lr=1.0)
    assert table_of(root).keys == ["loss"]


def test_experiments_bring_what_their_files_say(root: Path) -> None:
    """The second differs from its file in its precision alone."""
    for name, loss, changes in (("bce", "bce", {}), ("wgan_gp", "wgan_gp", {"precision": "bfloat16"})):
        config = compose([f"+experiment=cgan/{name}"])
        settings = {
            f"{group}__{key}": config[group][key]
            for group in ("model", "loss", "train")
            for key in config[group]
        }
        composed_from(f"cgan/{name}", synthetic.completed(root, "cgan", loss, 0, **settings, **changes))
    assert table_of(root).keys == ["experiment", "precision"]


@pytest.mark.parametrize("chosen", [
    [f"loss={loss}", f"model={model}"]
    for loss in group_names("loss") for model in ("mlp", "dcgan", "cgan")
] + [[f"+experiment={name}"] for name in group_names("experiment")])  # fmt: skip
def test_nothing_is_set_by_hand_in_what_is_shipped(chosen: list[str]) -> None:
    try:
        config = compose(chosen)
    except ConfigError:
        pytest.skip("this loss refuses the model's normalisation")
    experiment = chosen[0].partition("experiment=")[2]
    settings = {key: setting(value) for key, value in flatten(config).items() if is_setting(key)}
    names = {name: config[name]["name"] for name in NAMES}
    assert set_by_hand(names, experiment, settings) == set()


def test_an_experiment_that_the_table_does_not_tell_brings_nothing(root: Path) -> None:
    config = compose(["+experiment=trilogy/vanilla"])
    settings = {f"loss__{key}": value for key, value in config["loss"].items()}
    composed_from("trilogy/vanilla", synthetic.completed(root, "mlp", "bce", 0, **settings))
    synthetic.completed(root, "mlp", "hinge", 0)
    assert {"loss.reuse_fakes", "loss.optimizer.betas"} <= {*table_of(root).keys}


def test_what_was_taken_out_is_told(root: Path) -> None:
    """Adam has betas of its own then."""
    synthetic.completed(root, "mlp", "hinge", 0)
    bare = {"_target_": "torch.optim.Adam", "lr": 2e-4}
    synthetic.completed(root, "mlp", "bce", 0, loss__optimizer=bare)
    assert table_of(root).keys == ["loss", "loss.optimizer.betas"]


def test_whole_numbers_are_one_setting_however_written(root: Path) -> None:
    for seed, betas in enumerate(([0, 0.9], [0.0, 0.9])):
        synthetic.completed(root, "mlp", "bce", seed, loss__optimizer__betas=betas)
    (row,) = table_of(root).rows
    assert len(row.runs) == 2


@pytest.mark.parametrize(
    "rate", ["${loss.optimizer.lr}x", "${loss.optimizer.lr}${loss.optimizer.lr}", "${loss.d_lr}"]
)
def test_references_without_an_end_are_no_trap(rate: str) -> None:
    names = {"dataset": "mnist", "model": "mlp", "loss": "bce"}
    settings = {"loss.optimizer.lr": rate, "loss.d_lr": "${loss.optimizer.lr}", "loss.g_lr": "1"}
    assert "loss.optimizer.lr" in set_by_hand(names, None, settings)


@pytest.mark.parametrize("name", ["a" * 280, "é" * 60, "../loss/bce", "bce/../bce", ""])
def test_strange_names_bring_nothing(name: str) -> None:
    names = {"dataset": "mnist", "model": "mlp", "loss": name}
    assert not {key for key in set_by_hand(names, None, {"loss.clip": "3"}) if key.startswith("loss.")}
    assert set_by_hand({**names, "loss": "bce"}, name or "nobody's", {"loss.real_label": "0.3"}) == set()
