"""Fine-tuning here and in TRL's SFTTrainer: the same losses from the same adapter and examples."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from benchmarks.sft_peers.peer import make_peer
from benchmarks.sft_peers.workload import Workload, make_workload, peer_inputs
from benchmarks.tool_calling.calculator import calculator_data
from tailrace.formats.data.record import dump_line
from tailrace.formats.spec.run_spec import AdapterSpec, LoraSpec, ModelSpec, Schedule, TrainSpec
from training.data.tokenizer import train_tokenizer
from training.loop.final_model import save_folder
from training.models.registry import model_from_config
from training.observer import MetricPoint, Observer

STEPS = 12

RECORDS = calculator_data(seed=3, conversations=40, items=1).train
"""Conversations with several trained turns each."""

SPEC = TrainSpec(
    max_steps=STEPS,
    batch_size=4,
    max_seq_length=256,
    learning_rate=3e-2,
    weight_decay=0.1,
    warmup_steps=3,
    schedule=Schedule.COSINE,
    gradient_clip=0.3,
    adapter=AdapterSpec(LoraSpec(rank=4, alpha=8)),
)


class Losses(Observer):
    """The loss of each step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def metric(self, point: MetricPoint) -> None:
        self.values.append(point.loss)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer([dump_line(record) for record in RECORDS], 500, context=256)
    config = {
        "model_type": "llama",
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
    }
    network = model_from_config(config)
    save_folder(folder, network, network.init(3), tokenizer)
    return folder


def workload(model: Path, *, packing: bool) -> Workload:
    return make_workload(ModelSpec(source="tiny"), model, SPEC, RECORDS, packing=packing)


@pytest.mark.parametrize(("packing", "alike"), [(True, False), (False, False), (False, True)])
def test_the_losses_of_sft_trainer_are_ours(
    packing: bool, alike: bool, model: Path, tmp_path: Path
) -> None:
    here = workload(model, packing=packing)
    theirs: list[float] = []
    inputs = peer_inputs(workload(model, packing=False), model, tmp_path, STEPS)
    transformers.logging.set_verbosity_error()
    make_peer(inputs, tmp_path / "out", theirs.append, alike=alike).train()
    ours = Losses()
    here.trainer.train(here.start.weights, tmp_path / "checkpoints", ours)
    assert len(ours.values) == len(theirs) == STEPS
    assert abs(ours.values[0] - theirs[0]) < 1e-5
    assert theirs == pytest.approx(ours.values, rel=1e-3)
    assert ours.values[0] - ours.values[-1] > 0.1
