from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from importlib import resources
from pathlib import Path

import pytest
import yaml

from tailrace import load_spec
from tailrace.cli.commands import demo
from tailrace.cli.embedded.stack import Stack
from tailrace.cli.errors import CommandError
from tailrace.cli.show import output
from tailrace.formats.schema import parse, to_mapping
from tailrace.formats.spec.run_spec import StageKind, TrainConfig

NANO = Path(__file__).parents[5] / "training/configs/train_golden_v2_nano.yaml"


def test_the_demo_trains_what_the_guides_offline_twin_trains() -> None:
    with resources.as_file(resources.files("tailrace.cli") / "demo.yaml") as file:
        spec = load_spec(file)
    twin = parse(TrainConfig, yaml.safe_load(NANO.read_text()))
    assert to_mapping(spec.model) == to_mapping(twin.model)
    assert to_mapping(spec.train) == to_mapping(twin.train)
    assert spec.stage_kinds() == [StageKind.TRAIN, StageKind.INFER, StageKind.JUDGE]
    assert spec.infer is not None
    assert spec.infer.eval_sets == ["dataset:train", "dataset:held_out"]


def test_the_demo_ends_soon_when_its_control_plane_does(tmp_path: Path) -> None:
    with resources.as_file(resources.files("tailrace.cli") / "demo.yaml") as file:
        spec = load_spec(file)
    # Without a worker the run never ends.
    with Stack(tmp_path, listen="127.0.0.1:0", workers=0) as stack:
        plane = stack.children[1].pid
        killer = threading.Timer(1.0, os.kill, (plane, signal.SIGKILL))
        killer.start()
        began = time.monotonic()
        with pytest.raises(CommandError, match=r"the control plane ended \(killed by SIGKILL\)"):
            asyncio.run(demo._run_while_tending(stack, spec, output.console(stderr=True)))
        killer.join()
    assert time.monotonic() - began < 10
