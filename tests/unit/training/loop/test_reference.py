from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tailrace.formats.data.record import PreferenceRecord
from tailrace.formats.spec.methods import DpoSpec, PreferenceLoss
from tailrace.formats.spec.run_spec import (
    AdapterSpec,
    BaseDtype,
    LoraSpec,
    ModelSpec,
    TrainSpec,
)
from training.errors import CheckpointError, StoppedError
from training.loop.reference import with_reference
from training.loop.start import Start, prepare
from training.observer import Observer, StopRequest
from training.stage.training_run import TrainingPaths, run_training

NANO = ModelSpec(preset="gpt2-nano")

RECORDS = [
    PreferenceRecord(f"What is {i} + {i}?", f"It is {2 * i}", f"Nobody knows {i}", id=str(i))
    for i in range(1, 25)
]

SPEC = TrainSpec(
    max_steps=4,
    batch_size=4,
    max_seq_length=64,
    learning_rate=1e-3,
    steps_per_dispatch=2,
    save_every_steps=2,
    log_every_steps=1,
    eval_fraction=0.25,
    eval_every_steps=4,
    dpo=DpoSpec(),
)


def with_loss(**changes: Any) -> TrainSpec:
    return dataclasses.replace(SPEC, dpo=DpoSpec(**changes))


def run(folder: Path, observer: Observer, spec: TrainSpec = SPEC, **changes: Any) -> TrainingPaths:
    paths = TrainingPaths.as_artifacts(folder)
    run_training(NANO, spec, RECORDS, paths, observer, **changes)
    return paths


@pytest.fixture(scope="module")
def start() -> Start:
    return prepare(NANO, SPEC, RECORDS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, recorder: Any) -> tuple[TrainingPaths, Any]:
    """An undisturbed training, and what was seen of it."""
    seen = recorder()
    return run(tmp_path_factory.mktemp("whole"), seen), seen


def test_preferences_are_learnt_and_held_out_pairs_judge_it(whole: Any) -> None:
    paths, seen = whole
    first, last = seen.points[0], seen.points[-1]
    # Before the first update the model is its own reference.
    assert first.loss == pytest.approx(np.log(2), abs=1e-4)
    assert first.metrics["log_ratio_chosen"] == pytest.approx(0, abs=1e-3)
    assert last.loss < first.loss - 0.01
    assert last.metrics["reward_margin"] > first.metrics["reward_margin"]
    held_out = seen.evaluations[-1].metrics
    names = ("preference_accuracy_low", "preference_accuracy", "preference_accuracy_high")
    low, accuracy, high = (held_out[name] for name in names)
    assert 0 <= low <= accuracy <= high <= 1
    assert high - low > 0.1, "six pairs do not prove much"
    assert {name: array.shape for name, array in load_file(paths.reference).items()} == {
        "train": (18, 2),
        "held_out": (6, 2),
    }


def test_a_resumed_training_compares_with_the_reference_of_its_checkpoint(
    whole: Any, tmp_path: Path, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.loop.reference._computed", None)
    paths, _ = whole
    resumed = run(tmp_path, recorder(), resume=paths.checkpoints / "step-00000002")
    for name in ("model.safetensors", "config.json"):
        original = (paths.final_model / name).read_bytes()
        assert (resumed.final_model / name).read_bytes() == original
    assert resumed.reference.read_bytes() == paths.reference.read_bytes()


def test_a_checkpoint_without_the_same_reference_is_refused(
    whole: Any, start: Start, tmp_path: Path, recorder: Any
) -> None:
    checkpoint = whole[0].checkpoints / "step-00000002"
    copy = tmp_path / checkpoint.name
    copy.mkdir()
    for file in checkpoint.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    content = bytearray((copy / "reference.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "reference.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged, or belongs to other pairs"):
        with_reference(start, SPEC, recorder(), resume=copy)
    (copy / "reference.safetensors").unlink()
    with pytest.raises(CheckpointError, match="belongs to another training"):
        with_reference(start, SPEC, recorder(), resume=copy)


def test_another_beta_takes_the_same_reference_from_the_host(
    start: Start, tmp_path: Path, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = with_reference(start, SPEC, recorder(), cache=tmp_path)
    monkeypatch.setattr("training.loop.reference._computed", None)
    other = with_loss(loss=PreferenceLoss.IPO, beta=0.5)
    second = with_reference(prepare(NANO, other, RECORDS), other, recorder(), cache=tmp_path)
    assert first.identity["reference"] == second.identity["reference"]
    np.testing.assert_array_equal(first.reference["train"], second.reference["train"])  # type: ignore[index]


class ControlPlane(Observer):
    """Keeps what a training publishes, for other hosts."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def find_reference(self, key: str, path: Path) -> bool:
        if key in self.files:
            path.write_bytes(self.files[key])
        return key in self.files

    def reference(self, key: str, path: Path) -> None:
        self.files[key] = path.read_bytes()


def test_another_beta_on_another_host_computes_nothing(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = ControlPlane()
    first = with_reference(start, SPEC, there, exchange=tmp_path / "a")
    assert len(there.files) == 1
    monkeypatch.setattr("training.loop.reference._computed", None)
    other = with_loss(beta=0.5)
    second = with_reference(prepare(NANO, other, RECORDS), other, there, exchange=tmp_path / "b")
    assert first.identity["reference"] == second.identity["reference"]
    # A killed attempt finds its own in the same way, and publishes the same bytes.
    assert len(there.files) == 1


def test_a_damaged_published_reference_is_computed_again(start: Start, tmp_path: Path) -> None:
    there = ControlPlane()
    first = with_reference(start, SPEC, there, exchange=tmp_path / "a")
    there.files = dict.fromkeys(there.files, b"{")
    second = with_reference(start, SPEC, there, exchange=tmp_path / "b")
    assert first.identity == second.identity


def test_quantized_weights_have_a_separate_reference(start: Start, tmp_path: Path) -> None:
    there = ControlPlane()
    for dtype in (BaseDtype.NONE, BaseDtype.INT8):
        adapter = AdapterSpec(LoraSpec(rank=2, base_dtype=dtype))
        spec = dataclasses.replace(SPEC, adapter=adapter)
        with_reference(start, spec, there, exchange=tmp_path)
    assert len(there.files) == 2


def test_a_damaged_reference_on_the_host_is_computed_again(
    start: Start, tmp_path: Path, recorder: Any
) -> None:
    first = with_reference(start, SPEC, recorder(), cache=tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(b"{")
    second = with_reference(start, SPEC, recorder(), cache=tmp_path)
    assert first.identity == second.identity


@pytest.mark.parametrize("loss", [PreferenceLoss.SIMPO, PreferenceLoss.ORPO])
def test_losses_without_a_reference_compute_none(
    start: Start, recorder: Any, loss: PreferenceLoss
) -> None:
    spec = with_loss(loss=loss)
    plain = prepare(NANO, spec, RECORDS)
    assert with_reference(plain, spec, recorder()) is plain


def test_a_stop_is_heeded_between_batches(start: Start, recorder: Any) -> None:
    class Cancelled(Observer):
        def stop_request(self) -> StopRequest | None:
            return StopRequest.CANCEL

    with pytest.raises(StoppedError):
        with_reference(start, SPEC, Cancelled())
