from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tailrace.formats.data.trace import Trace
from tailrace.formats.spec.run_spec import TrainSpec
from training.checkpoints.checkpoint import list_checkpoints
from training.data.batches import Batch, BatchStream, Collator
from training.data.chat_format import ChatFormat
from training.data.encode import Encoding, encode_records
from training.errors import CheckpointError, DivergedError, NotFiniteError, StoppedError
from training.loop.trainer import Trainer, TrainOutcome
from training.models.family import Model, Params
from training.models.registry import model_from_config
from training.models.stored_weights import HeldWeights
from training.objectives.objective import BoundModel, Metrics
from training.objectives.registry import make_objective
from training.objectives.sft import SftObjective
from training.observer import StopRequest

SPEC = TrainSpec(
    max_steps=12,
    batch_size=8,
    max_seq_length=64,
    learning_rate=1e-2,
    save_every_steps=4,
    log_every_steps=3,
    steps_per_dispatch=2,
)
SFT = make_objective(SPEC)


@pytest.fixture(scope="module")
def stream(tokenizer: Any, traces: list[Trace]) -> BatchStream:
    encoded = encode_records(traces[:20], ChatFormat(tokenizer), Encoding(64))
    return BatchStream(encoded.examples, Collator(8), seed=0)


@pytest.fixture(scope="module")
def trainer(model: Model, stream: BatchStream) -> Trainer:
    """One for all tests: compiling its steps takes longer than running them."""
    return Trainer(model, SFT, stream, SPEC, {"test": True})


@pytest.fixture(scope="module")
def whole(
    trainer: Trainer, params: Params, tmp_path_factory: pytest.TempPathFactory, recorder: Any
) -> tuple[TrainOutcome, Any]:
    """An undisturbed training and what was seen of it."""
    seen = recorder()
    return trainer.train(HeldWeights(params), tmp_path_factory.mktemp("whole"), seen), seen


def equal(first: Params, second: Params) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


class WithAccuracy(SftObjective):
    """Supervised fine-tuning that also reports the share of tokens predicted correctly."""

    def loss(
        self, model: BoundModel, rows: Batch, normalizer: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        loss, _ = super().loss(model, rows, normalizer)
        likeliest = model.decoder.logits(model.hidden(rows)).argmax(-1)
        correct = ((likeliest == rows.targets) * rows.weights).sum()
        return loss, {"accuracy": correct / normalizer}


@pytest.mark.parametrize("micro", [None, 2])
def test_metrics_of_an_objective_are_means_over_a_batch(
    model: Model,
    params: Params,
    stream: BatchStream,
    tmp_path: Path,
    recorder: Any,
    micro: int | None,
) -> None:
    spec = dataclasses.replace(SPEC, max_steps=60, micro_batch_size=micro)
    seen = recorder()
    Trainer(model, WithAccuracy(spec), stream, spec, {}).train(HeldWeights(params), tmp_path, seen)
    curve = [point.metrics["accuracy"] for point in seen.points]
    assert all(0 <= accuracy <= 1 for accuracy in curve)
    assert curve[-1] > curve[0] + 0.1


def test_loss_falls_and_metrics_come_as_asked(
    trainer: Trainer, params: Params, tmp_path: Path, recorder: Any
) -> None:
    seen = recorder()
    trained = trainer.train(HeldWeights(params), tmp_path, seen)
    assert trained.steps == 12
    assert [point.step for point in seen.points] == [1, 3, 6, 9, 12]
    assert seen.points[0].loss == pytest.approx(math.log(320), rel=0.1)
    assert seen.points[-1].loss < seen.points[0].loss - 1
    assert trained.progress.epoch_loss < seen.points[0].loss - 1
    assert seen.points[-1].epoch == 4.0
    assert all(point.tokens_per_second > 0 for point in seen.points)
    assert all(point.flops_utilization is None for point in seen.points), "a processor has none"
    assert all(point.host_memory_peak_bytes > 0 for point in seen.points)
    assert seen.points[-1].eta_seconds == 0
    assert seen.points[1].eta_seconds > 0
    assert seen.saved == [4, 8, 12]
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-00000008", "step-00000012"]
    assert seen.done == [(step, 12, "steps") for step in range(0, 13, 2)]


def test_twice_the_same(
    model: Model,
    stream: BatchStream,
    params: Params,
    whole: tuple[TrainOutcome, Any],
    tmp_path: Path,
    recorder: Any,
) -> None:
    again = Trainer(model, SFT, stream, SPEC, {"test": True}).train(
        HeldWeights(params), tmp_path, recorder()
    )
    assert equal(again.params, whole[0].params)
    assert again.progress == whole[0].progress


@pytest.mark.parametrize("at", [4, 6])
def test_released_and_resumed_equals_undisturbed(
    trainer: Trainer,
    params: Params,
    whole: tuple[TrainOutcome, Any],
    tmp_path: Path,
    recorder: Any,
    at: int,
) -> None:
    with pytest.raises(StoppedError) as stopped:
        trainer.train(HeldWeights(params), tmp_path, recorder(StopRequest.RELEASE, at))
    assert stopped.value.released
    saved = list_checkpoints(tmp_path)[-1]
    assert saved.name == f"step-{at:08d}"
    seen = recorder()
    resumed = trainer.train(HeldWeights(params), tmp_path, seen, resume=saved)
    assert equal(resumed.params, whole[0].params)
    assert resumed.progress == whole[0].progress
    assert resumed.start == at
    expected = [(p.step, p.loss, p.learning_rate) for p in whole[1].points if p.step > at]
    assert [(p.step, p.loss, p.learning_rate) for p in seen.points] == expected


def test_dropout_resumes_exactly(
    tokenizer: Any, stream: BatchStream, tmp_path: Path, recorder: Any
) -> None:
    config = {"model_type": "gpt2", "n_positions": 64, "n_embd": 8, "n_layer": 1, "n_head": 1}
    model = model_from_config({**config, "vocab_size": len(tokenizer)})
    params = model.init(0)
    assert model.config.resid_pdrop > 0
    trainer = Trainer(model, SFT, stream, SPEC, {})
    undisturbed = trainer.train(HeldWeights(params), tmp_path / "whole", recorder())
    with pytest.raises(StoppedError):
        trainer.train(HeldWeights(params), tmp_path / "cut", recorder(StopRequest.RELEASE, 6))
    saved = list_checkpoints(tmp_path / "cut")[-1]
    resumed = trainer.train(HeldWeights(params), tmp_path / "cut", recorder(), resume=saved)
    assert equal(resumed.params, undisturbed.params)


def test_cancelled_saves_nothing_more(
    trainer: Trainer, params: Params, tmp_path: Path, recorder: Any
) -> None:
    seen = recorder(StopRequest.CANCEL, 6)
    with pytest.raises(StoppedError) as stopped:
        trainer.train(HeldWeights(params), tmp_path, seen)
    assert not stopped.value.released
    assert seen.saved == [4]
    assert seen.done[-1][0] == 6


def test_stopped_before_the_first_step(
    trainer: Trainer, params: Params, tmp_path: Path, recorder: Any
) -> None:
    seen = recorder(StopRequest.RELEASE, 0)
    with pytest.raises(StoppedError):
        trainer.train(HeldWeights(params), tmp_path, seen)
    assert not seen.points
    assert not seen.saved


def test_last_ends_early_without_bending_the_schedule(
    trainer: Trainer, params: Params, whole: tuple[TrainOutcome, Any], tmp_path: Path, recorder: Any
) -> None:
    seen = recorder()
    trained = trainer.train(HeldWeights(params), tmp_path, seen, last=6)
    assert trained.steps == 6
    assert [(p.step, p.loss) for p in seen.points] == [
        (p.step, p.loss) for p in whole[1].points[:3]
    ]


def test_epochs_count_passes(model: Model, stream: BatchStream) -> None:
    def total(epochs: float) -> int:
        spec = dataclasses.replace(SPEC, max_steps=None, epochs=epochs)
        return Trainer(model, SFT, stream, spec, {}).total

    assert [total(1), total(2.5), total(0.01)] == [3, 8, 1]


def test_another_training_is_not_resumed(
    model: Model,
    stream: BatchStream,
    trainer: Trainer,
    params: Params,
    tmp_path: Path,
    recorder: Any,
) -> None:
    trainer.train(HeldWeights(params), tmp_path, recorder(), last=4)
    saved = list_checkpoints(tmp_path)[-1]
    other = Trainer(model, SFT, stream, SPEC, {"test": False})
    with pytest.raises(CheckpointError, match="test was true, is false"):
        other.train(HeldWeights(params), tmp_path, recorder(), resume=saved)
    reseeded = Trainer(model, SFT, stream, dataclasses.replace(SPEC, seed=7), {"test": True})
    with pytest.raises(CheckpointError, match="random number generator"):
        reseeded.train(HeldWeights(params), tmp_path, recorder(), resume=saved)


def test_a_model_that_is_broken_from_the_start_is_told(
    trainer: Trainer, params: Params, tmp_path: Path, recorder: Any
) -> None:
    name = "transformer.wte.weight"
    broken = {**params, name: params[name].at[0, 0].set(np.inf)}
    with pytest.raises(NotFiniteError, match=r"at step 1, before any update of the weights"):
        trainer.train(HeldWeights(broken), tmp_path, recorder())


def test_divergence_leaves_the_last_good_checkpoint(
    model: Model,
    stream: BatchStream,
    trainer: Trainer,
    params: Params,
    whole: tuple[TrainOutcome, Any],
    tmp_path: Path,
    recorder: Any,
) -> None:
    trainer.train(HeldWeights(params), tmp_path, recorder(), last=4)
    (saved,) = list_checkpoints(tmp_path)
    absurd = dataclasses.replace(SPEC, learning_rate=3e38)
    diverging = Trainer(model, SFT, stream, absurd, {"test": True})
    with pytest.raises(DivergedError, match=r"is (nan|inf) at step 6; .* of step 4 is good"):
        diverging.train(HeldWeights(params), tmp_path, recorder(), resume=saved)
    assert list_checkpoints(tmp_path) == [saved]
    resumed = trainer.train(HeldWeights(params), tmp_path, recorder(), resume=saved)
    assert equal(resumed.params, whole[0].params)


def test_weights_that_are_no_numbers_are_not_kept(
    trainer: Trainer, params: Params, tmp_path: Path, recorder: Any
) -> None:
    # Nothing reads the last position's embedding, so that loss and gradients stay finite.
    name = "transformer.wpe.weight"
    broken = {**params, name: params[name].at[63].set(np.nan)}
    with pytest.raises(DivergedError, match=r"a weight is not a finite number .* at step 4"):
        trainer.train(HeldWeights(broken), tmp_path, recorder())
    assert not list_checkpoints(tmp_path)
