"""The formula against what XLA's buffer assignment says."""

from __future__ import annotations

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
from training.data.batches import Batch, BatchStream, Collator
from training.data.example_store import Example
from training.loop.optimizer import learning_rate, make_optimizer
from training.loop.steps import compile_steps
from training.loop.trainable import choose_trainable
from training.loop.trainer import Trainer
from training.machine.sharding import Layout, make_mesh
from training.models.registry import model_from_config
from training.models.stored_weights import HeldWeights
from training.objectives.registry import make_objective

ROWS, LENGTH = 16, 128
GPT2 = {
    "model_type": "gpt2",
    "n_positions": 256,
    "n_embd": 128,
    "n_layer": 2,
    "n_head": 4,
    "vocab_size": 512,
}
LLAMA = {
    "model_type": "llama",
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}

MIXTRAL = {**LLAMA, "model_type": "mixtral", "intermediate_size": 128}


@pytest.mark.parametrize(("config", "micro"), [(GPT2, None), (LLAMA, 4), (MIXTRAL, None)])
def test_the_formula_is_as_exact_as_it_says(config: dict[str, Any], micro: int | None) -> None:
    model = model_from_config(config)
    spec = TrainSpec(max_steps=10, batch_size=ROWS, micro_batch_size=micro, max_seq_length=LENGTH)
    trainable = choose_trainable(model, spec)
    optimizer = make_optimizer(spec, learning_rate(spec, 10))
    params: Any = jax.eval_shape(lambda: model.init(0))
    state: Any = (params, jax.eval_shape(optimizer.init, params))
    layout = Layout.of(model.family.model_type, make_mesh(MeshSpec(), ROWS))
    steps: Any = compile_steps(make_objective(spec), trainable, optimizer, layout, micro)
    shape = (2, ROWS, LENGTH)
    whole, real = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    batch = Batch(whole, whole, real)
    compiled = steps.lower(state, {}, batch, 0, jax.random.key(0)).compile()
    analysis = compiled.memory_analysis()
    plan = Plan(
        sizes=model.dimensions,
        weights=model.parameters,
        trained=model.parameters,
        gathered=model.parameters,
        rows=ROWS,
        passes=ROWS // micro if micro else 1,
        length=LENGTH,
        width=FLOAT32,
        remat=False,
        can_remat=False,
        adapter=False,
        by_block=False,
        best=False,
    )
    measured = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
    assert required_memory(plan).device == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.parametrize("dtype", ["nf4", "int8"])
def test_a_quantized_base_counts_with_its_codes(dtype: str) -> None:
    config = {**LLAMA, "hidden_size": 256, "intermediate_size": 768}
    model = model_from_config(config)
    lora = LoraSpec(rank=2, base_dtype=BaseDtype(dtype))
    spec = TrainSpec(max_steps=4, batch_size=1, max_seq_length=16, adapter=AdapterSpec(lora=lora))
    examples = [Example.of(tuple(range(17)), 1)] * 2
    stream = BatchStream(examples, Collator.of(spec), seed=0)
    trainer = Trainer(model, make_objective(spec), stream, spec, {})
    planned = estimate(model, spec, trainer, stream, examples, 0).memory
    optimizer = make_optimizer(spec, learning_rate(spec, 4))
    trained, frozen = jax.eval_shape(lambda: trainer.trainable.start(HeldWeights(model.init(0))))
    state = (trained, jax.eval_shape(optimizer.init, trained))
    steps: Any = compile_steps(make_objective(spec), trainer.trainable, optimizer, trainer.layout)
    batch, _ = stream.batch(0, 2, 1)
    analysis = steps.lower(state, frozen, batch, 0, jax.random.key(0)).compile().memory_analysis()
    measured = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
    assert planned.device == pytest.approx(measured, rel=TOLERANCE)
