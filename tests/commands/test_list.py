"""`ganbench list`: every choice with its purpose."""

from __future__ import annotations

import pytest

from ganbench.cli import main
from ganbench.config import group_names


@pytest.mark.parametrize("group", ["model", "loss", "dataset", "train", "eval", "experiment"])
def test_every_choice_has_a_line_with_its_purpose(group, capsys):
    assert main(["list", group]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith(group)
    found = dict(line.split(maxsplit=1) for line in lines)
    assert list(found) == list(group_names(group))


def test_a_comment_that_names_its_file_is_no_purpose(tmp_path, capsys):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "margin.yaml").write_text("# mine/loss/margin.yaml\n# With a margin\nname: margin\n")
    assert main(["list", "loss", "--config-dir", str(tmp_path)]) == 0
    found = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
    assert found["margin"] == "With a margin"


def test_an_unknown_group_comes_with_the_known_ones(capsys):
    assert main(["list", "los"]) == 2
    assert capsys.readouterr().err == (
        "ganbench: list los: no such group; choose from model, loss, dataset, train, eval, experiment\n"
    )
