from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest

from tailrace.formats.data.trace import Trace
from tailrace.formats.spec.run_spec import (
    AdapterSpec,
    FinalModel,
    LoraSpec,
    ModelSpec,
    TrainSpec,
)
from training.budget import estimate as module
from training.budget.estimate import Estimate, Free, estimate, free_memory, require_fit
from training.budget.memory import alternatives, required_memory
from training.data.batches import BatchStream, Collator
from training.data.example_store import Example
from training.errors import DoesNotFitError
from training.loop.fit import fit
from training.loop.start import prepare
from training.loop.trainer import Trainer
from training.models.registry import model_from_config
from training.models.unpacked import Slots
from training.objectives.registry import make_objective
from training.observer import Observer

SPEC = TrainSpec(max_steps=10, batch_size=8, max_seq_length=128)
EXAMPLES = [Example.of(tuple(range(40)), 10)] * 20
PLENTY = Free(device=None, host=10**12)


def estimated(spec: TrainSpec = SPEC, **changes: Any) -> Estimate:
    model = model_from_config(
        {
            "model_type": "gpt2",
            "n_positions": 128,
            "n_embd": 64,
            "n_layer": 4,
            "n_head": 4,
            "vocab_size": 1000,
        }
    )
    spec = dataclasses.replace(spec, **changes)
    stream = BatchStream(EXAMPLES, Collator.of(spec), seed=0)
    trainer = Trainer(model, make_objective(spec), stream, spec, {})
    return estimate(model, spec, trainer, stream, 0)


def test_what_it_tells() -> None:
    estimated_cost = estimated()
    assert (estimated_cost.parameters, estimated_cost.trained, estimated_cost.steps) == (
        272_256,
        272_256,
        10,
    )
    # 20 examples of 40 tokens make 3 steps.
    assert estimated_cost.tokens == round(800 * 10 / 3)
    plan = estimated_cost.plan
    assert (plan.rows, plan.passes, plan.length, plan.width) == (8, 1, 48, 4)
    text = str(estimated_cost)
    assert "272,256 of 272,256 parameters, 10 steps, about 2,667 tokens" in text
    assert "weights 1.09 MB, gradients 256 kB" in text
    assert "optimizer 2.18 MB" in text


def test_settings_that_change_the_need() -> None:
    whole = estimated().memory
    small = estimated(dataclasses.replace(SPEC, micro_batch_size=2))
    assert small.plan.passes == 4
    assert small.memory.activations < whole.activations
    assert small.memory.gradients > whole.gradients
    remat = dataclasses.replace(estimated().plan, remat=True)
    assert required_memory(remat).activations < whole.activations
    assert estimated(final_model=FinalModel.BEST).memory.host == whole.host * 4 // 3
    adapter = estimated(adapter=AdapterSpec(lora=LoraSpec(rank=2)))
    assert adapter.trained < adapter.parameters / 10
    assert adapter.memory.moments < whole.moments / 10


def test_packed_rows_are_those_of_a_batch() -> None:
    plan = estimated(dataclasses.replace(SPEC, packing=True)).plan
    # Eight examples of 39 inputs, three to a row of 128.
    assert (plan.length, plan.rows) == (128, 3)
    assert plan.slots == Slots(8, 48)


def test_what_fits_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        require_fit(estimated(), SPEC, PLENTY)
    assert "272,256 of 272,256 parameters" in caplog.text
    assert "tight" not in caplog.text


def test_close_calls_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    estimated_cost = estimated()
    need = estimated_cost.memory.device + estimated_cost.memory.host
    require_fit(estimated_cost, SPEC, Free(None, round(need / 1.1)))
    assert "memory is tight: it needs about" in caplog.text


def refusal(estimated_cost: Estimate, free: Free, spec: TrainSpec = SPEC) -> str:
    with pytest.raises(DoesNotFitError) as refused:
        require_fit(estimated_cost, spec, free)
    return str(refused.value)


def test_a_smaller_batch_is_named_that_fits() -> None:
    estimated_cost = estimated()
    small = required_memory(dataclasses.replace(estimated_cost.plan, passes=4))
    text = refusal(estimated_cost, Free(None, small.device + small.host))
    assert "the training does not fit: it needs about" in text
    assert "are free. This would fit: train.micro_batch_size: 2;" in text
    # And it does.
    micro = dataclasses.replace(SPEC, micro_batch_size=2)
    require_fit(estimated(micro), micro, Free(None, small.device + small.host))


def on_accelerator(estimated_cost: Estimate) -> Estimate:
    return dataclasses.replace(
        estimated_cost, plan=dataclasses.replace(estimated_cost.plan, can_remat=True)
    )


def test_then_rematerialization_where_it_helps() -> None:
    long = dataclasses.replace(SPEC, batch_size=1)
    estimated_cost = on_accelerator(estimated(long))
    free = Free(
        required_memory(dataclasses.replace(estimated_cost.plan, remat=True)).device, 10**12
    )
    assert "This would fit: train.remat: true;" in refusal(estimated_cost, free, long)
    assert "train.remat" not in refusal(estimated(long), free, long)


def test_then_an_adapter() -> None:
    one = dataclasses.replace(SPEC, micro_batch_size=1)
    free = Free(None, estimated(one).parameters * 4 * 4)
    assert "This would fit: train.adapter: {lora: {}}" in refusal(estimated(one), free, one)


def test_a_processor_undoes_rematerialization(caplog: pytest.LogCaptureFixture) -> None:
    assert estimated(remat=True).memory == estimated().memory
    assert "saves no memory on processors" in caplog.text


def test_nothing_fits() -> None:
    text = refusal(estimated(), Free(None, 1_000_000))
    assert "No smaller batch would fit: split the weights" in text


def test_devices_and_host_are_counted_apart() -> None:
    estimated_cost = estimated()
    require_fit(
        estimated_cost,
        SPEC,
        Free(device=estimated_cost.memory.device, host=estimated_cost.memory.host),
    )
    text = refusal(estimated_cost, Free(device=estimated_cost.memory.device // 2, host=10**12))
    assert "on each device, of which" in text
    text = refusal(estimated_cost, Free(device=10**12, host=estimated_cost.memory.host // 2))
    assert "for copies of its state on the host" in text


def test_where_nobody_tells_nothing_is_refused() -> None:
    require_fit(estimated(), SPEC, Free(None, None))


def test_alternatives_need_less_each_in_its_way() -> None:
    plan = on_accelerator(estimated()).plan
    texts = [text for text, _ in alternatives(plan, [8, 4, 2, 1])]
    assert texts[0] == "train.micro_batch_size: 4"
    assert texts[3:5] == [
        "train.remat: true",
        "train.micro_batch_size: 4 and train.remat: true",
    ]


def test_free_memory_of_this_machine() -> None:
    model = model_from_config(
        {
            "model_type": "gpt2",
            "n_positions": 8,
            "n_embd": 8,
            "n_layer": 1,
            "n_head": 1,
            "vocab_size": 8,
        }
    )
    stream = BatchStream(EXAMPLES, Collator.of(SPEC), seed=0)
    free = free_memory(Trainer(model, make_objective(SPEC), stream, SPEC, {}).layout)
    assert free.device is None
    assert free.host is None or free.host > 10**6


def test_a_training_that_cannot_fit_is_refused_before_it_starts(
    tmp_path: Path, traces: list[Trace], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = TrainSpec(max_steps=2, batch_size=64, max_seq_length=64)
    start = prepare(ModelSpec(preset="gpt2-nano"), train, traces)
    monkeypatch.setattr(module, "host_memory", lambda: 80_000_000)
    with pytest.raises(DoesNotFitError, match=r"micro_batch_size: \d"):
        fit(start, train, tmp_path / "checkpoints", tmp_path / "model", Observer())
    assert not list(tmp_path.iterdir())
