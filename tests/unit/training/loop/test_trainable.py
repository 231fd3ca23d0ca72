"""Adapters in training, together with all that changes how batches are computed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tailrace.formats.data.trace import Trace
from tailrace.formats.spec.run_spec import (
    AdapterSpec,
    BaseDtype,
    Dtype,
    FinalModel,
    LoraSpec,
    TrainSpec,
)
from training.checkpoints.checkpoint import list_checkpoints
from training.data.batches import BatchStream, Collator
from training.data.chat_format import ChatFormat
from training.data.encode import Encoding, encode_records
from training.errors import ConfigError, StoppedError
from training.loop.lora import LoraAdapter
from training.loop.trainable import AllWeights, choose_trainable
from training.loop.trainer import Trainer
from training.models.family import Model, Params
from training.models.registry import model_from_config
from training.models.stored_weights import HeldWeights
from training.objectives.registry import make_objective
from training.observer import StopRequest

SPEC = TrainSpec(
    max_steps=8,
    batch_size=8,
    micro_batch_size=2,
    max_seq_length=64,
    packing=True,
    learning_rate=1e-2,
    warmup_steps=2,
    adapter=AdapterSpec(
        lora=LoraSpec(
            rank=2,
            alpha=8.0,
            dropout=0.1,
            target_modules=["c_attn"],
            base_dtype=BaseDtype.NF4,
        )
    ),
    remat=True,
    eval_fraction=0.2,
    eval_every_steps=2,
    early_stopping_patience=6,
    final_model=FinalModel.BEST,
    save_every_steps=4,
    log_every_steps=2,
    steps_per_dispatch=2,
)


def test_everything_at_once_resumes_exactly(
    tokenizer: Any, traces: list[Trace], tmp_path: Path, recorder: Any
) -> None:
    config = {"model_type": "gpt2", "n_positions": 64, "n_embd": 8, "n_layer": 1, "n_head": 1}
    # The adapter's dropout is enough: random numbers are what takes longest to compile.
    still = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
    model = model_from_config({**config, **still, "vocab_size": len(tokenizer)})
    params = model.init(0)
    # Two steps are an epoch: every call has rows of one shape, which is compiled once.
    encoded = encode_records(traces[:16], ChatFormat(tokenizer), Encoding(64))
    stream = BatchStream(encoded.examples, Collator.of(SPEC), seed=0)
    trainer = Trainer(model, make_objective(SPEC), stream, SPEC, {}, encoded.examples[:2])
    seen = recorder()
    whole = trainer.train(HeldWeights(params), tmp_path / "whole", seen)
    assert whole.progress.epoch_loss < seen.points[0].loss
    assert set(whole.params) == {n for t in trainer.trainable.targets for n in (t.down, t.up)}
    with pytest.raises(StoppedError):
        trainer.train(HeldWeights(params), tmp_path / "cut", recorder(StopRequest.RELEASE, 6))
    saved = list_checkpoints(tmp_path / "cut")[-1]
    again = recorder()
    resumed = trainer.train(HeldWeights(params), tmp_path / "cut", again, resume=saved)
    assert resumed.start == 6
    assert resumed.progress == whole.progress
    for name, value in whole.params.items():
        np.testing.assert_array_equal(resumed.params[name], value)
    assert [p.eval_loss for p in again.evaluations] == [p.eval_loss for p in seen.evaluations[-1:]]


def test_what_a_spec_asks_for(model: Model) -> None:
    full = choose_trainable(model, dataclasses.replace(SPEC, adapter=None, dtype=Dtype.BFLOAT16))
    assert isinstance(full, AllWeights)
    assert (full.parameters, str(full.dtype)) == (model.parameters, "bfloat16")
    low = choose_trainable(model, SPEC)
    assert isinstance(low, LoraAdapter)
    assert low.parameters < model.parameters / 2
    stranger = AdapterSpec(lora=LoraSpec(target_modules=["q_proj"]))
    with pytest.raises(ConfigError, match="no linear layer 'q_proj'"):
        choose_trainable(model, dataclasses.replace(SPEC, adapter=stranger))


def test_full_tuning_trains_the_weights_themselves(model: Model, params: Params) -> None:
    trainable = choose_trainable(model, dataclasses.replace(SPEC, adapter=None))
    trained, frozen = trainable.start(HeldWeights(params))
    assert not frozen
    assert trainable.merge(trained, {}) is trained
