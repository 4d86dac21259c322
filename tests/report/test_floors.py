"""The floors that ship belong to the judges that ship, and stand under their tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import synthetic_runs as synthetic

from ganbench.config import compose
from ganbench.metrics import judge
from ganbench.metrics.protocol import EvalSettings
from ganbench.report.blocks import blocks
from ganbench.report.comparison import Options, compare
from ganbench.report.floors import KNOWN_FLOORS
from ganbench.report.render import to_text

WEIGHTS = Path(judge.__file__).with_name("weights")


@pytest.mark.parametrize("dataset", ["digits", "mnist", "fashion_mnist"])
@pytest.mark.parametrize("extractor", ["judge", "judge_b"])
def test_floors_that_ship_are_of_the_judges_that_ship(dataset: str, extractor: str) -> None:
    (path,) = KNOWN_FLOORS.glob(f"{dataset}-{extractor}-*.json")
    records = json.loads(path.read_text())
    sha256 = json.loads((WEIGHTS / f"{dataset}_{extractor}.json").read_text())["sha256"]
    settings = EvalSettings.from_config(
        compose([f"dataset={dataset}", f"eval.extractor={extractor}"])["eval"]
    )
    assert [record["floor"] for record in records] == ["train-test", "train-halves"]
    for record in records:
        assert record["protocol"] == settings.protocol(sha256, record["protocol"]["reference"])
        assert record["protocol"]["reference"]["dataset"] == dataset


def scored_on_digits(root: Path) -> tuple[Path, dict[str, Any]]:
    """A run scored by the protocol of a floor that ships, and that floor."""
    (path,) = KNOWN_FLOORS.glob("digits-judge-*.json")
    floor = json.loads(path.read_text())[0]
    run = synthetic.completed(root, dataset="digits", training=False)
    record = synthetic.record(10.0) | {"protocol": floor["protocol"]}
    (run / "scores.json").write_text(json.dumps([record]))
    return run, floor


def test_they_stand_under_a_table_of_their_protocol(root: Path) -> None:
    _, floor = scored_on_digits(root)
    (table,) = compare(Options(roots=[root])).tables
    found = {floor.name: floor for floor in table.floors}
    assert found["train against test"].values["fid"] == floor["values"]["fid"]
    assert found["train against test"].differs == ""
    assert "one half of train against the other" in found


def test_they_do_not_stand_under_somebody_elses_dataset_of_that_name(root: Path) -> None:
    """Which the judge that ships scored, too."""
    run, floor = scored_on_digits(root)
    text = (run / "scores.json").read_text()
    (run / "scores.json").write_text(text.replace(floor["protocol"]["reference"]["sha256"], "e" * 64))
    (table,) = compare(Options(roots=[root])).tables
    assert table.floors == []
    assert any(note.endswith("(reference.sha256 eeeeeeee)") for note in table.notes)


def test_a_table_without_scores_has_no_rows_of_them(root: Path) -> None:
    run, _ = scored_on_digits(root)
    assert "floor: " in to_text(blocks(compare(Options(roots=[root]))))
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, "status": "failed", "reason": "why"}))
    text = to_text(blocks(compare(Options(roots=[root]))))
    assert "1 failed" in text and "floor: " not in text
