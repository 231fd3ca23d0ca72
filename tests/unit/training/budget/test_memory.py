"""The formula against what XLA's buffer assignment says."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from tailrace.formats.spec.run_spec import (
    AdapterSpec,
    BaseDtype,
    LoraSpec,
    MeshSpec,
    TrainSpec,
)
from training.budget.estimate import estimate
from training.budget.memory import FLOAT32, TOLERANCE, Plan, required_memory
from training.data.batches import AnswerSizes, Batch, BatchStream, Collator
from training.data.example_store import Example
from training.generate.programs import Programs, Rows
from training.generate.sampling import Choice
from training.loop.optimizer import learning_rate, make_optimizer
from training.loop.steps import compile_steps
from training.loop.trainable import choose_trainable
from training.loop.trainer import Trainer
from training.machine.sharding import Layout, make_mesh
from training.models.family import Model
from training.models.registry import model_from_config
from training.models.stored_weights import HeldWeights
from training.models.unpacked import Slots
from training.objectives.registry import make_objective

LENGTH = 512
SLOTS = Slots(36, 64)
"""Sizes for four packed rows whose attention is by example, up to 64 tokens each."""

GPT2 = {"n_positions": 512, "n_embd": 128, "n_layer": 2, "n_head": 4, "vocab_size": 512}
LLAMA = {
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "num_local_experts": 8,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 128,
}
DISTINCT = ("llama", "gpt2", "qwen3", "olmo2", "gemma2", "mixtral")
"""Families whose layers store different arrays; the others count as one of these."""

ADAPTER = AdapterSpec(lora=LoraSpec(rank=8))
CASES: list[tuple[str, TrainSpec]] = [
    ("gpt2", TrainSpec(batch_size=16, max_seq_length=128)),
    ("llama", TrainSpec(batch_size=16, max_seq_length=128, micro_batch_size=4)),
    ("gemma2", TrainSpec(batch_size=2, max_seq_length=LENGTH)),
    ("gemma3_text", TrainSpec(batch_size=8, max_seq_length=128, adapter=ADAPTER)),
    *((name, TrainSpec(batch_size=4, max_seq_length=LENGTH, packing=True)) for name in DISTINCT),
]


def planned(model: Model, spec: TrainSpec, trained: int) -> Plan:
    """The plan of a step on one device."""
    return Plan(
        sizes=model.dimensions,
        weights=model.parameters,
        trained=trained,
        gathered=trained,
        rows=spec.batch_size,
        passes=spec.batch_size // (spec.micro_batch_size or spec.batch_size),
        length=spec.max_seq_length,
        slots=SLOTS if spec.packing else None,
        width=FLOAT32,
        remat=False,
        can_remat=False,
        adapter=spec.adapter is not None,
        by_block=spec.adapter is not None,
        best=False,
    )


@pytest.mark.parametrize(("family", "spec"), CASES)
def test_the_formula_is_as_exact_as_it_says(family: str, spec: TrainSpec) -> None:
    model = model_from_config({"model_type": family, **(GPT2 if family == "gpt2" else LLAMA)})
    trainable = choose_trainable(model, spec)
    optimizer = make_optimizer(spec, learning_rate(spec, 10))
    trained, frozen = jax.eval_shape(lambda: trainable.start(HeldWeights(model.init(0))))
    state: Any = (trained, jax.eval_shape(optimizer.init, trained))
    layout = Layout.of(family, make_mesh(MeshSpec(), spec.batch_size))
    objective, micro = make_objective(spec), spec.micro_batch_size
    steps: Any = compile_steps(objective, trainable, optimizer, layout, micro, slots=SLOTS)
    shape = (2, spec.batch_size, spec.max_seq_length)
    whole, real = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    packed = (whole, whole) if spec.packing else ()
    batch = Batch(whole, whole, real, *packed)
    compiled = steps.lower(state, frozen, batch, 0, jax.random.key(0)).compile()
    analysis = compiled.memory_analysis()
    measured = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
    required = required_memory(planned(model, spec, trainable.parameters))
    assert required.device == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_attention_by_example_needs_less(family: str) -> None:
    model = model_from_config({"model_type": family, **(GPT2 if family == "gpt2" else LLAMA)})
    spec = TrainSpec(batch_size=4, max_seq_length=LENGTH, packing=True)
    by_example = planned(model, spec, model.parameters)
    whole = dataclasses.replace(by_example, slots=None)
    assert required_memory(by_example).activations < 0.8 * required_memory(whole).activations


@pytest.mark.parametrize("dtype", ["nf4", "int8"])
def test_a_quantized_base_counts_with_its_codes(dtype: str) -> None:
    config = {"model_type": "llama", **LLAMA, "hidden_size": 256, "intermediate_size": 768}
    model = model_from_config(config)
    lora = LoraSpec(rank=2, base_dtype=BaseDtype(dtype))
    spec = TrainSpec(max_steps=4, batch_size=1, max_seq_length=16, adapter=AdapterSpec(lora=lora))
    examples = [Example.of(tuple(range(17)), 1)] * 2
    stream = BatchStream(examples, Collator.of(spec), seed=0)
    trainer = Trainer(model, make_objective(spec), stream, spec, {})
    estimated = estimate(model, spec, trainer, stream, 0).memory
    optimizer = make_optimizer(spec, learning_rate(spec, 4))
    trained, frozen = jax.eval_shape(lambda: trainer.trainable.start(HeldWeights(model.init(0))))
    state = (trained, jax.eval_shape(optimizer.init, trained))
    steps: Any = compile_steps(make_objective(spec), trainer.trainable, optimizer, trainer.layout)
    batch, _ = stream.batch(0, 2, 1)
    analysis = steps.lower(state, frozen, batch, 0, jax.random.key(0)).compile().memory_analysis()
    measured = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
    assert estimated.device == pytest.approx(measured, rel=TOLERANCE)


def test_answers_in_progress_need_what_their_decoder_does() -> None:
    model = model_from_config({"model_type": "llama", **LLAMA})
    slots, columns = 16, 256
    choice = Choice(1.0, 1.0, 0, 1.0, logprobs=True, tempered=True)
    programs = Programs(model, choice, {0}, 4, None)
    params = jax.eval_shape(lambda: model.init(0))
    state = jax.eval_shape(lambda: programs.empty(slots, columns))
    rows = Rows(*(np.zeros(slots, np.int32) for _ in Rows._fields))
    lowered: Any = programs.decode.lower(params, state, rows, jax.random.key(0), slots)  # type: ignore[attr-defined]
    analysis = lowered.compile().memory_analysis()
    measured = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
    spec = TrainSpec(batch_size=slots, max_seq_length=64)
    plan = planned(model, spec, model.parameters)
    answers = AnswerSizes(rows=slots, columns=columns, prompts=slots // 4, prompt=32)
    sampling = required_memory(dataclasses.replace(plan, answers=answers)).sampling
    assert 0.9 * measured < model.parameters * FLOAT32 + sampling < 2 * measured


def test_the_larger_of_a_step_and_of_answers_counts_and_so_does_a_starting_model() -> None:
    model = model_from_config({"model_type": "llama", **LLAMA})
    plan = planned(model, TrainSpec(batch_size=4, max_seq_length=64), model.parameters)
    alone = required_memory(plan)
    few, many = (
        required_memory(dataclasses.replace(plan, answers=AnswerSizes(rows, 256, rows, 64)))
        for rows in (1, 1000)
    )
    assert few.device == alone.device
    assert many.device == alone.weights + alone.moments + many.sampling > alone.device
    with_copy = required_memory(dataclasses.replace(plan, starting=True))
    assert with_copy.device == alone.device + model.parameters * FLOAT32
