"""Evaluations while training: what they compute, and what rests on them."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tailrace.formats.data.trace import Trace
from tailrace.formats.spec.distill_spec import DistillSpec, OnPolicySpec
from tailrace.formats.spec.run_spec import FinalModel, TrainSpec
from training.checkpoints.checkpoint import Checkpoint, list_checkpoints, save_checkpoint
from training.data.batches import BatchStream, Collator
from training.data.chat_format import ChatFormat
from training.data.encode import Encoding, encode_records
from training.data.example_store import Example
from training.errors import StoppedError
from training.loop.eval_loss import Evaluator
from training.loop.trainable import choose_trainable
from training.loop.trainer import Trainer, TrainOutcome
from training.machine.sharding import Layout, make_mesh
from training.models.family import Model, Params
from training.models.stored_weights import HeldWeights
from training.objectives.registry import make_objective
from training.observer import StopRequest

SPEC = TrainSpec(
    max_steps=12,
    batch_size=8,
    max_seq_length=64,
    learning_rate=0.1,
    eval_fraction=0.2,
    eval_every_steps=3,
    final_model=FinalModel.BEST,
    save_every_steps=4,
    log_every_steps=6,
    steps_per_dispatch=2,
)


@pytest.fixture(scope="module")
def held_out(tokenizer: Any, traces: list[Trace]) -> list[Example]:
    return encode_records(traces[55:66], ChatFormat(tokenizer), Encoding(64)).examples


@pytest.fixture(scope="module")
def stream(tokenizer: Any, traces: list[Trace]) -> BatchStream:
    encoded = encode_records(traces[:20], ChatFormat(tokenizer), Encoding(64))
    return BatchStream(encoded.examples, Collator(8), seed=0)


@pytest.fixture(scope="module")
def trainer(model: Model, stream: BatchStream, held_out: list[Example]) -> Trainer:
    return Trainer(model, make_objective(SPEC), stream, SPEC, {}, held_out)


@pytest.fixture(scope="module")
def undisturbed(
    trainer: Trainer, params: Params, tmp_path_factory: pytest.TempPathFactory, recorder: Any
) -> tuple[TrainOutcome, Any]:
    seen = recorder()
    return trainer.train(HeldWeights(params), tmp_path_factory.mktemp("whole"), seen), seen


def evaluator(model: Model, held_out: list[Example], spec: TrainSpec = SPEC) -> Evaluator:
    layout = Layout.of(model.family.model_type, make_mesh(spec.mesh, 1))
    trainable, objective = choose_trainable(model, spec), make_objective(spec)
    return Evaluator(objective, trainable, layout, held_out, spec, multiple=1)


def test_the_loss_does_not_depend_on_the_rows(
    model: Model, params: Params, held_out: list[Example]
) -> None:
    plain = evaluator(model, held_out).figures(params, {}).loss
    packed = (
        evaluator(model, held_out, dataclasses.replace(SPEC, packing=True)).figures(params, {}).loss
    )
    assert packed == pytest.approx(plain, abs=1e-5)
    assert plain == pytest.approx(np.log(320), rel=0.1)
    with pytest.raises(ValueError, match="no held-out examples"):
        evaluator(model, []).figures(params, {})


@pytest.mark.parametrize(("micro", "rows"), [(None, 6), (3, 3)])
def test_batches_of_answers_divide_among_the_devices_as_those_of_steps(
    micro: int | None, rows: int, model: Model, held_out: list[Example]
) -> None:
    distill = DistillSpec("models/teacher@1", on_policy=OnPolicySpec(n_samples=3))
    spec = TrainSpec(max_steps=1, batch_size=2, micro_batch_size=micro, distill=distill)
    shapes = {batch.tokens.shape[1] for batch in evaluator(model, held_out, spec)._batches}
    assert shapes == {rows}


def test_the_best_checkpoint_is_kept(
    trainer: Trainer,
    params: Params,
    tmp_path: Path,
    recorder: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted_evals: list[tuple[int, int | None]] = []

    def spied(folder: Path, saved: Checkpoint, keep: int, best: int | None = None) -> Any:
        wanted_evals.append((saved.step, best))
        return save_checkpoint(folder, saved, keep, best)

    monkeypatch.setattr("training.checkpoints.writer.save_checkpoint", spied)
    seen = recorder()
    trainer.train(HeldWeights(params), tmp_path, seen)
    assert [step for step, _ in wanted_evals] == [4, 8, 12]
    for step, best in wanted_evals:
        known_losses = [each for each in seen.evaluations if each.step <= step]
        assert best == min(known_losses, key=lambda each: each.eval_loss).step


def test_evaluations_come_at_the_first_boundary_after_their_step(
    undisturbed: tuple[TrainOutcome, Any],
) -> None:
    points = undisturbed[1].evaluations
    assert [point.step for point in points] == [4, 6, 10, 12]
    losses = [point.eval_loss for point in points]
    lowest = [loss == min(losses[: i + 1]) for i, loss in enumerate(losses)]
    assert [point.best for point in points] == lowest


def test_the_best_weights_are_kept(
    undisturbed: tuple[TrainOutcome, Any], model: Model, held_out: list[Example]
) -> None:
    trained, seen = undisturbed
    best = min(seen.evaluations, key=lambda point: point.eval_loss)
    # It learns sums and is asked for repetitions: in the end it has unlearned them.
    assert best.step < 12
    assert (trained.progress.best_step, trained.progress.best_loss) == (best.step, best.eval_loss)
    assert evaluator(model, held_out).figures(trained.params, {}).loss == best.eval_loss


@pytest.mark.parametrize("at", [4, 10])
def test_released_and_resumed_equals_undisturbed(
    trainer: Trainer,
    params: Params,
    undisturbed: tuple[TrainOutcome, Any],
    tmp_path: Path,
    recorder: Any,
    at: int,
) -> None:
    with pytest.raises(StoppedError):
        trainer.train(HeldWeights(params), tmp_path, recorder(StopRequest.RELEASE, at))
    # Another host gets the newest checkpoint alone; it holds the best weights, too.
    seen = recorder()
    resumed = trainer.train(
        HeldWeights(params), tmp_path, seen, resume=list_checkpoints(tmp_path)[-1]
    )
    assert resumed.progress == undisturbed[0].progress
    for name, value in undisturbed[0].params.items():
        np.testing.assert_array_equal(resumed.params[name], value)
    expected = [(p.step, p.eval_loss) for p in undisturbed[1].evaluations if p.step > at]
    assert [(p.step, p.eval_loss) for p in seen.evaluations] == expected


def test_training_ends_when_the_loss_no_longer_falls(
    model: Model,
    stream: BatchStream,
    held_out: list[Example],
    params: Params,
    tmp_path: Path,
    recorder: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spec = dataclasses.replace(
        SPEC,
        early_stopping_patience=2,
        early_stopping_min_delta=100.0,
        final_model=FinalModel.LAST,
    )
    trainer = Trainer(model, make_objective(spec), stream, spec, {}, held_out)
    seen = recorder()
    with caplog.at_level(logging.INFO):
        ended = trainer.train(HeldWeights(params), tmp_path, seen)
    assert (ended.steps, ended.stopped_early) == (10, True)
    assert [point.step for point in seen.evaluations] == [4, 6, 10]
    assert "training ends at step 10: the evaluation loss has not fallen for 2" in caplog.text
    # What was stopped stays stopped, and a stop in between does not reset the count.
    with pytest.raises(StoppedError):
        trainer.train(HeldWeights(params), tmp_path / "cut", recorder(StopRequest.RELEASE, 6))
    saved = list_checkpoints(tmp_path / "cut")[-1]
    resumed = trainer.train(HeldWeights(params), tmp_path / "cut", recorder(), resume=saved)
    assert (resumed.start, resumed.steps, resumed.stopped_early) == (6, 10, True)
    for name, value in ended.params.items():
        np.testing.assert_array_equal(resumed.params[name], value)
