"""Distillations from a teacher's stored tokens, in this process."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tailrace.formats.data.record import CompletionRecord
from tailrace.formats.spec.distill_spec import DistillSpec
from tailrace.formats.spec.run_spec import AdapterSpec, LoraSpec, ModelSpec, TrainSpec
from tests.unit.training.conftest import Recorder
from tests.unit.training.taught_models import save_student_and_teacher
from training.checkpoints.checkpoint import checkpoint_identity
from training.errors import CheckpointError, ConfigError
from training.loop import stored_teacher
from training.loop.stored_teacher import TOP_TOKENS
from training.objectives.distill import DIVERGENCE
from training.stage.training_run import TrainingPaths, run_training

TOP_K = 4

SPEC = TrainSpec(
    distill=DistillSpec("models/teacher@1", top_k=TOP_K),
    max_steps=30,
    batch_size=8,
    max_seq_length=64,
    learning_rate=1e-2,
    eval_fraction=0.2,
    eval_every_steps=30,
    log_every_steps=10,
    save_every_steps=20,
)

RECORDS = [
    CompletionRecord(f"What is {i} + {i}?", f"It is {2 * i}.", [], str(i)) for i in range(50, 90)
]


class Publisher(Recorder):
    """Observer that keeps what is published, as the control plane does."""

    def __init__(self) -> None:
        super().__init__()
        self.published: dict[str, bytes] = {}

    def find_reference(self, key: str, path: Path) -> bool:
        if key in self.published:
            path.write_bytes(self.published[key])
        return key in self.published

    def reference(self, key: str, path: Path) -> None:
        self.published[key] = path.read_bytes()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return save_student_and_teacher(tmp_path_factory.mktemp("models"), RECORDS)


def distill(
    folder: Path,
    models: tuple[Path, Path],
    observer: Recorder,
    resume: Path | None = None,
    **changes: Any,
) -> TrainingPaths:
    paths = dataclasses.replace(TrainingPaths.in_folder(folder), exchange=folder / "exchange")
    student, teacher = models
    spec = dataclasses.replace(SPEC, **changes)
    source = ModelSpec(source="models/student@1")
    run_training(
        source, spec, RECORDS, paths, observer, folder=student, resume=resume, teacher=teacher
    )
    return paths


@pytest.fixture(scope="module")
def taught(
    tmp_path_factory: pytest.TempPathFactory, models: tuple[Path, Path]
) -> tuple[TrainingPaths, Publisher]:
    observer = Publisher()
    return distill(tmp_path_factory.mktemp("taught"), models, observer), observer


def test_the_held_out_divergence_at_least_halves(taught: tuple[TrainingPaths, Publisher]) -> None:
    _, observer = taught
    held_out = observer.evaluations[-1]
    assert held_out.metrics[DIVERGENCE] == pytest.approx(held_out.eval_loss)
    assert held_out.eval_loss < observer.points[0].loss / 2


def test_probabilities_of_the_stored_tokens_and_of_the_rest_add_up(
    taught: tuple[TrainingPaths, Publisher],
) -> None:
    arrays = load_file(taught[0].reference)
    for part in ("train", "held_out"):
        tokens, log_probs = arrays[f"{part}.tokens"], arrays[f"{part}.log_probs"]
        assert tokens.shape == (len(log_probs), TOP_K)
        np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, rtol=1e-5)
        assert (np.diff(log_probs[:, :TOP_K]) <= 0).all()


def test_a_resumed_training_takes_the_published_tokens(
    taught: tuple[TrainingPaths, Publisher],
    models: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths, observer = taught
    again = Publisher()
    again.published = observer.published
    monkeypatch.setattr(stored_teacher, "_computed", None)
    resumed = distill(tmp_path, models, again, paths.checkpoints / "step-00000020")
    name = "model.safetensors"
    assert (resumed.final_model / name).read_bytes() == (paths.final_model / name).read_bytes()


def test_a_checkpoint_is_refused_if_its_tokens_are_gone(
    taught: tuple[TrainingPaths, Publisher],
    models: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint = taught[0].checkpoints / "step-00000020"
    facts = checkpoint_identity(checkpoint)[TOP_TOKENS]
    assert (facts["top_k"], len(facts["log_probs"])) == (TOP_K, 64)
    computed = stored_teacher._computed

    def elsewhere(*arguments: Any) -> Any:
        arrays = computed(*arguments)
        arrays["train.log_probs"][0, 0] += 1e-6
        return arrays

    monkeypatch.setattr(stored_teacher, "_computed", elsewhere)
    with pytest.raises(CheckpointError, match="log-probabilities of another machine"):
        distill(tmp_path, models, Publisher(), checkpoint)


@pytest.mark.parametrize(
    "changes",
    [{"packing": True}, {"adapter": AdapterSpec(LoraSpec(rank=2)), "micro_batch_size": 2}],
    ids=["packed", "adapter in parts"],
)
def test_the_first_loss_is_the_same_however_it_is_computed(
    taught: tuple[TrainingPaths, Publisher],
    models: tuple[Path, Path],
    tmp_path: Path,
    changes: dict[str, Any],
) -> None:
    observer = Publisher()
    distill(tmp_path, models, observer, max_steps=1, eval_every_steps=0, **changes)
    assert observer.points[0].loss == pytest.approx(taught[1].points[0].loss, rel=1e-4)


def test_more_tokens_than_there_are_are_refused(models: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"top_k must be below \d+, the number of tokens"):
        distill(tmp_path, models, Publisher(), distill=DistillSpec("models/teacher@1", top_k=1000))
