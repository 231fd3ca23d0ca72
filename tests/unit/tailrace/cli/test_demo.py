from __future__ import annotations

from importlib import resources
from pathlib import Path

import yaml

from tailrace import load_spec
from tailrace.formats.run_spec import StageKind, TrainConfig
from tailrace.formats.schema import parse, to_mapping

NANO = Path(__file__).parents[4] / "training/configs/train_golden_v2_nano.yaml"


def test_the_demo_trains_what_the_guides_offline_twin_trains() -> None:
    with resources.as_file(resources.files("tailrace.cli") / "demo.yaml") as file:
        spec = load_spec(file)
    twin = parse(TrainConfig, yaml.safe_load(NANO.read_text()))
    assert to_mapping(spec.model) == to_mapping(twin.model)
    assert to_mapping(spec.train) == to_mapping(twin.train)
    assert spec.stage_kinds() == [StageKind.TRAIN, StageKind.INFER, StageKind.JUDGE]
    assert spec.infer is not None
    assert spec.infer.eval_sets == ["dataset:train", "dataset:held_out"]
