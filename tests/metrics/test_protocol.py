from __future__ import annotations

import subprocess
import sys

from ganbench.metrics.protocol import CHEAP_METRICS, EvalSettings, now, protocol_key

REFERENCE = {"dataset": "mnist", "split": "test", "count": 10_000, "sha256": "ab"}


def test_defaults_are_protocol_version_1():
    assert EvalSettings().protocol("cd", REFERENCE) == {
        "version": 1,
        "extractor": "judge",
        "extractor_sha256": "cd",
        "reference": REFERENCE,
        "num_generated": 10_000,
        "seed": 20240501,
        "quantisation": "round((x+1)*127.5) to uint8",
        "kid_subsets": 100,
        "kid_subset_size": 1_000,
        "is_splits": 10,
        "pr_k": 3,
        "dc_k": 5,
        "per_class": 1_000,
    }


def test_defaults_are_those_of_the_configuration():
    from ganbench.config import compose

    assert EvalSettings.from_config(compose()["eval"]) == EvalSettings()


def test_few_images_during_training_are_still_of_some_class():
    assert EvalSettings(training_num_samples=2_000).during_training(10).per_class == 200
    assert EvalSettings(training_num_samples=5).during_training(10).per_class == 1


def test_counts_belong_to_the_dataset():
    from ganbench.config import compose

    settings = EvalSettings.from_config(compose(["dataset=digits"])["eval"])
    assert (settings.num_samples, settings.per_class, settings.kid_subset_size) == (500, 50, 100)


def test_during_training_it_is_cheap_and_against_train():
    cheap = EvalSettings(seed=3).during_training(num_classes=10)
    assert (cheap.num_samples, cheap.per_class, cheap.seed) == (2_000, 200, 3)
    assert (cheap.reference_split, cheap.metrics) == ("train", CHEAP_METRICS)


def test_scores_compare_exactly_within_one_protocol():
    settings = EvalSettings()
    key = protocol_key(settings.protocol("cd", REFERENCE))
    assert protocol_key(EvalSettings(seed=9).protocol("cd", REFERENCE)) == key
    others = [
        EvalSettings(num_samples=500).protocol("cd", REFERENCE),
        EvalSettings(extractor="judge_b").protocol("cd", REFERENCE),
        settings.protocol("ef", REFERENCE),
        settings.protocol("cd", {**REFERENCE, "split": "train"}),
        settings.protocol("cd", {**REFERENCE, "sha256": "ba"}),
    ]
    assert len({key, *map(protocol_key, others)}) == 6


def test_key_does_not_depend_on_the_order_of_fields():
    protocol = EvalSettings().protocol("cd", REFERENCE)
    assert protocol_key(dict(reversed(protocol.items()))) == protocol_key(protocol)


def test_needs_no_torch():
    code = "import sys, ganbench.metrics.protocol; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_stamp():
    assert now().endswith("+00:00")
