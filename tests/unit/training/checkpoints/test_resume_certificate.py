"""The certificates of a resumed training equal those of an undisturbed one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tailrace.formats.certificate import (
    CERTIFICATE,
    CERTIFICATES,
    Certificate,
    Finding,
    compare,
    read_certificates,
)
from tailrace.formats.data.trace import Trace
from tailrace.formats.spec.run_spec import TrainSpec
from training.checkpoints.checkpoint import list_checkpoints
from training.checkpoints.metrics import MetricsFile
from training.data.batches import BatchStream, Collator
from training.data.chat_format import ChatFormat
from training.data.encode import Encoding, encode_records
from training.errors import StoppedError
from training.loop.trainer import Trainer
from training.models.family import Model, Params
from training.models.stored_weights import HeldWeights
from training.objectives.registry import make_objective
from training.observer import Observers, StopRequest

SPEC = TrainSpec(
    max_steps=10,
    batch_size=8,
    max_seq_length=64,
    learning_rate=1e-2,
    save_every_steps=4,
    log_every_steps=3,
    steps_per_dispatch=2,
)


@pytest.fixture(scope="module")
def trainer(model: Model, tokenizer: Any, traces: list[Trace]) -> Trainer:
    encoded = encode_records(traces[:20], ChatFormat(tokenizer), Encoding(64))
    stream = BatchStream(encoded.examples, Collator.of(SPEC), seed=0)
    return Trainer(model, make_objective(SPEC), stream, SPEC, {"train": {"seed": 1}})


def read(folder: Path) -> list[Certificate]:
    path = folder / CERTIFICATES
    return read_certificates(path.read_text(), str(path))


def train(
    trainer: Trainer,
    params: Params,
    folder: Path,
    observer: Any,
    resume: Path | None = None,
    step: int = 0,
) -> None:
    metrics = MetricsFile(folder / "metrics.jsonl", step)
    try:
        trainer.train(
            HeldWeights(params), folder / "checkpoints", Observers(metrics, observer), resume
        )
    finally:
        metrics.close()


def test_resumed_equals_undisturbed_and_another_training_does_not(
    trainer: Trainer, params: Params, tmp_path: Path, recorder: Any
) -> None:
    undisturbed, cut = tmp_path / "whole", tmp_path / "cut"
    train(trainer, params, undisturbed, recorder())
    # The last step is certified though no checkpoint is due there.
    assert [one.step for one in read(undisturbed)] == [4, 8, 10]
    with pytest.raises(StoppedError):
        train(trainer, params, cut, recorder(StopRequest.RELEASE, 6))
    assert [one.step for one in read(cut)] == [4, 6]
    saved = list_checkpoints(cut / "checkpoints")[-1]
    train(trainer, params, cut, recorder(), saved, step=6)
    resumed = read(cut)
    assert [one.step for one in resumed] == [4, 6, 8, 10]
    issued = compare(resumed, read(undisturbed))
    assert (issued.finding, issued.steps) == (Finding.EQUAL, [4, 8, 10])
    assert (issued.identity, issued.conditions) == ([], [])
    certificates = (list_checkpoints(cut / "checkpoints")[-1] / CERTIFICATE).read_text()
    assert read_certificates(certificates, CERTIFICATE) == [resumed[2]]
    assert resumed[0].conditions["mesh"] == "data 1 × fsdp 1 × tensor 1"
    assert resumed[0].conditions["packages.jax"]

    other = {name: value + 1e-3 for name, value in params.items()}
    train(trainer, other, tmp_path / "other", recorder())
    changed = [
        dataclasses.replace(one, identity={**one.identity, "train.seed": "2"})
        for one in read(tmp_path / "other")
    ]
    issued = compare(resumed, changed)
    assert (issued.finding, issued.first_difference) == (Finding.OTHER_TRAINING, 4)
    assert issued.identity == ["train.seed: 1 | 2"]
    assert {"parameters", "optimizer", "cursor"} == set(issued.parts)
