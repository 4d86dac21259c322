"""`ganbench evaluate`: score past runs again, and the floors of a dataset."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganbench.commands import Parser
from ganbench.errors import ConfigError, RunError, UserError, exited, fail, first_line, told

if TYPE_CHECKING:
    from ganbench.config import Config
    from ganbench.metrics.evaluation import Evaluator
    from ganbench.runs import RunRecord

KEYS = ("eval.", "dataset.root=", "dataset.image_size=", "device=", "output_root=", "threads=")
"""How an override begins; anything else is a folder."""

TEXTS = (
    "eval.extractor",
    "eval.inception_weights",
    "eval.reference_split",
    "dataset.root",
    "device",
    "output_root",
)
"""Keys whose values are text, whatever it looks like."""

OF_TRAINING = ("eval.enabled", "eval.every", "eval.training_num_samples")
"""Keys that say when and how `ganbench train` scores, and mean nothing here."""

EPILOG = """KEY=VALUE changes how runs are scored: eval.* (another protocol), dataset.root, device, threads.
With --floors also dataset.image_size, the size that images have before they are judged, and output_root.
Records are appended to each run's scores.json, never replaced. Floors go to OUTPUT_ROOT/floors.

examples:
  ganbench evaluate outputs/mnist/cgan/bce/s0-1a2b3c4d
  ganbench evaluate outputs eval.extractor=judge_b
  ganbench evaluate --floors mnist"""


def main(argv: list[str]) -> int:
    """Score every run found at or below the folders given; 1 when one could not be scored, 2 when refused.

    Raises:
        UserError: bad usage, or floors that cannot be made.
    """
    arguments = parser().parse_intermixed_args(argv)
    given = [text for text in arguments.runs if text.lstrip("+").startswith(KEYS) and "=" in text]
    folders = [text for text in arguments.runs if text not in given]
    if not folders and not arguments.floors:
        raise UserError("evaluate: name a run, or a dataset with --floors; see `ganbench evaluate --help`")
    if not folders and arguments.weights != "all":
        raise UserError(f"--weights {arguments.weights}: floors have no weights; leave it out, or name a run")
    changes = dict(_parse(text.lstrip("+")) for text in given)  # with a + or without, as for Hydra
    # All that can be refused is, before the first image is made.
    floors = {name: _floors_config(name, changes) for name in arguments.floors}
    paths = _runs(folders)
    if paths and "dataset.image_size" in changes:
        raise ConfigError("dataset.image_size: a run's own was trained with; only --floors can change it")
    if not floors and "output_root" in changes:
        raise ConfigError("output_root: says where --floors go; a run's scores stay in its own folder")
    for name, config in floors.items():
        _floors(name, config)
    scorer = _Scorer(changes, arguments.weights, arguments.trust)
    return max((_attempt(scorer, path) for path in paths), default=0)


def _attempt(scorer: _Scorer, path: Path) -> int:
    """Score one run; where it cannot be scored say why, so that the others are: 1, or 2 for bad input."""
    try:
        scorer(path)
    except SystemExit as error:
        return fail(f"{path}: {exited(error)}", 1)
    except BrokenPipeError:
        raise  # that of the output, not the run's
    except (UserError, OSError, RuntimeError) as error:
        said = told(error) if isinstance(error, RuntimeError) else str(error)
        reason = said if str(path) in said else f"{path}: {said}"
        # Of a user's errors all but those of the run itself: refused code or configuration, missing data.
        refused = isinstance(error, UserError) and not isinstance(error, RunError)
        return fail(reason, 2 if refused else 1)
    return 0


def parser() -> argparse.ArgumentParser:
    """The flags."""
    made = Parser(
        prog="ganbench evaluate",
        description="Score finished or unfinished runs again, under another protocol if asked.",
        epilog=EPILOG,
    )
    made.add_argument(
        "runs", nargs="*", metavar="RUN|KEY=VALUE", help="run directories or folders that hold some"
    )
    made.add_argument(
        "--weights",
        choices=("all", "last", "best", "ema"),
        default="all",
        help="which weights (default: all there are)",
    )
    made.add_argument(
        "--floors",
        action="append",
        default=[],
        metavar="DATASET",
        help="score real images against real images: what a perfect generator would get",
    )
    made.add_argument("--trust", action="store_true", help="import whatever code the run's config.yaml names")
    return made


class _Scorer:
    """Scores runs one after the other; those of one dataset and protocol share what they need."""

    def __init__(self, changes: dict[str, Any], weights: str, trust: bool) -> None:
        self.changes = changes
        self.weights = weights
        self.trust = trust
        self._evaluators: dict[str, Evaluator] = {}

    def __call__(self, path: Path) -> None:
        from ganbench.runs import NewerSchemaError, RunDirectory, read_run, read_scores

        record = read_run(path)
        try:
            _ = record.scores  # to which those to be made are added
        except NewerSchemaError:
            raise
        except RunError as error:
            raise RunError(f"{error}; move it away, and the run is scored anew") from error
        config = self._config(record)
        record.require_unchanged()  # what it says now is not what made the images
        run = RunDirectory(path).open()
        try:
            made: list[dict[str, Any]] = []
            for weights in self._which(record):
                made.append(self._score(record, config, weights, made))
                run.write_scores([*read_scores(path), made[-1]])
                print(f"{path}  {weights} weights, step {made[-1]['step']}")
                print(describe(made[-1]))
        finally:
            run.close()

    def _config(self, record: RunRecord) -> Config:
        """The run's configuration under the changes asked for, checked."""
        from ganbench.config import validate, validate_stored

        validate_stored(record.config, record.path / "config.yaml", self.trust)
        return _require_used(
            self.changes, validate(_changed({**record.config, "device": "auto"}, self.changes))
        )

    def _which(self, record: RunRecord) -> list[str]:
        from ganbench.runs import GENERATOR
        from ganbench.schema import lookup

        if self.weights != "all":
            return [self.weights]
        there = ["best"] if (record.path / GENERATOR["best"]).exists() else []
        # An unfinished run has its average in the checkpoint alone.
        averaged = lookup(record.config, "remedy.ema_decay") is not None
        return ["last", *there, *(["ema"] if averaged else [])]

    def _score(
        self, record: RunRecord, config: Config, weights: str, before: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        from ganbench.generator import load_generator
        from ganbench.scorer import score_trained

        # First what is quick to find missing; the extractor and the data take seconds.
        trained = load_generator(record, weights, self.trust)
        evaluator = self._evaluator(config)
        _require_its_data(record, evaluator)
        last = before[0] if weights == "best" and before else None
        return score_trained(evaluator, trained, "evaluate", weights, last)

    def _evaluator(self, config: Config) -> Evaluator:
        # How runs were scored while they trained is nothing to this.
        settings = {key: value for key, value in config["eval"].items() if f"eval.{key}" not in OF_TRAINING}
        key = json.dumps([config["dataset"], settings], sort_keys=True)
        if key not in self._evaluators:
            self._evaluators[key] = _build_evaluator(config)
        return self._evaluators[key]


def _require_its_data(record: RunRecord, evaluator: Evaluator) -> None:
    dataset, trained_on = evaluator.dataset, record.info.get("dataset_sha256")
    if trained_on not in (None, dataset.sha256):
        raise RunError(
            f"{record.path}: was trained on other images of {dataset.name} (sha256 {str(trained_on)[:8]}) "
            f"than these ({dataset.sha256[:8]}); name the folder of those with dataset.root=FOLDER"
        )


def describe(record: dict[str, Any]) -> str:
    """A score record in words: protocol, values, and why those absent are."""
    protocol, values = record["protocol"], record["values"]
    reference = protocol["reference"]
    lines = [
        f"{protocol['extractor']} {protocol['extractor_sha256'][:8]}: {protocol['num_generated']} images "
        f"against {reference['count']} of {reference['dataset']} {reference['split']}"
    ]
    if values:
        lines.append("  ".join(f"{name} {value:.4g}" for name, value in values.items()))
    lines += [f"no {name}: {reason}" for name, reason in record["absent"].items()]
    return "\n".join(f"  {line}" for line in lines)


def _runs(folders: Iterable[str]) -> list[Path]:
    """The run directories at or below the folders, each once.

    Raises:
        UserError: a folder without any, or something else that looks like an override.
    """
    from ganbench.runs import find_runs

    paths: dict[Path, Path] = {}
    for folder in folders:
        if ("=" in folder or folder.startswith("~")) and not Path(folder).exists():
            raise ConfigError(
                f"{folder}: only eval.*, dataset.root, device and threads may be changed here, with --floors "
                "also dataset.image_size and output_root; a run's other keys say how it was trained"
            )
        if not Path(folder).is_dir():
            raise RunError(f"{folder}: no such folder (looked for {Path(folder).absolute()})")
        found = find_runs(folder)
        if not found:
            raise RunError(f"{folder}: no run directory here or below; `ganbench train` makes one")
        for path in found:
            paths.setdefault(path.resolve(), path)
    return list(paths.values())


def _parse(override: str) -> tuple[str, Any]:
    import yaml

    key, _, text = override.partition("=")
    if key in OF_TRAINING:
        raise ConfigError(f"{key}: says how a run is scored while it trains; leave it out here")
    if key in TEXTS:
        return key, None if text in ("", "null") else text
    try:
        return key, yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{override}: not a value ({first_line(error)})") from error


def _changed(config: Config, changes: dict[str, Any]) -> Config:
    changed = {key: dict(value) if isinstance(value, dict) else value for key, value in config.items()}
    for key, value in changes.items():
        *parents, last = key.split(".")
        node = changed
        for parent in parents:
            if not isinstance(node.get(parent), dict):
                raise ConfigError(f"{key}: no such key; `ganbench train --cfg job` shows all")
            node = node[parent]
        node[last] = value
    return changed


def _require_used(changes: dict[str, Any], config: Config) -> Config:
    """Refuse weights of an extractor that the changed configuration does not ask for."""
    weights, extractor = changes.get("eval.inception_weights"), config["eval"]["extractor"]
    if weights is not None and extractor != "inception":
        raise ConfigError(
            f"eval.inception_weights={weights}: has no effect with eval.extractor={extractor}; add "
            "eval.extractor=inception, or leave it out"
        )
    return config


def _build_evaluator(config: Config) -> Evaluator:
    from ganbench.data import build_dataset
    from ganbench.engine.device import set_up
    from ganbench.hardware import resolve_device
    from ganbench.metrics.evaluation import Evaluator
    from ganbench.metrics.protocol import EvalSettings

    device = resolve_device(config["device"])
    set_up(config["threads"], deterministic=False)
    return Evaluator(build_dataset(config["dataset"]), EvalSettings.from_config(config["eval"]), device)


def _floors_config(name: str, changes: dict[str, Any]) -> Config:
    from ganbench.config import compose, group_names, validate

    known = group_names("dataset")
    if name not in known:
        raise ConfigError(f"--floors {name}: unknown dataset; choose one of {', '.join(known)}")
    if "eval.reference_split" in changes:
        raise ConfigError("eval.reference_split: a floor says itself which images it compares; leave it out")
    return _require_used(changes, validate(_changed(compose([f"dataset={name}"]), changes)))


def _floors(name: str, config: Config) -> None:
    from ganbench.metrics.floors import floors
    from ganbench.metrics.protocol import protocol_key
    from ganbench.runs import atomic_write_text

    evaluator = _build_evaluator(config)
    records = floors(evaluator.dataset, evaluator.extractor, evaluator.settings, evaluator.cache)
    key = protocol_key(records[0]["protocol"])
    path = Path(config["output_root"]) / "floors" / f"{name}-{config['eval']['extractor']}-{key}.json"
    try:
        atomic_write_text(path, json.dumps(records, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(
            f"output_root: cannot write {path}: {error.strerror}; choose another with output_root=FOLDER"
        ) from error
    for record in records:
        print(f"{name}  {record['floor']}")
        print(describe(record))
    print(f"stored in {path}")
