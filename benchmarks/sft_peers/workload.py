"""The training that both sides run: model, settings, examples, and the first adapter as files.

``python -m benchmarks.sft_peers.workload FOLDER STEPS`` writes what the peer needs to FOLDER.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tool_calling.calculator import calculator_data
from tailrace.formats.data.record import Record
from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import ModelSpec, TrainSpec
from tailrace.spec_file import read_file
from training.data.batches import BatchStream
from training.loop.lora import LoraAdapter
from training.loop.optimizer import learning_rate
from training.loop.start import Start, prepare
from training.loop.trainer import Trainer
from training.models.adapter_folder import save_adapter

ROOT = Path(__file__).parents[2]
RUN_FILE = ROOT / "docs" / "examples" / "smollm2_tools.yaml"
"""Run that both sides train as; its model comes from ``make smollm2``."""

SEED, CONVERSATIONS = 16, 500
"""Arguments of the generator, as its command has them by default."""

BATCH, ROW = 8, 1792
"""Conversations of a step, as in the run file, and tokens of a packed row, which holds them."""

IGNORED = -100
"""Label of a token that is not learnt, in transformers."""

PEER_FILE = "peer.json"


@dataclass(frozen=True)
class Workload:
    """A training here, ready to start."""

    start: Start
    spec: TrainSpec
    stream: BatchStream
    trainer: Trainer


@dataclass(frozen=True)
class PeerInputs:
    """All that the peer trains with: plain values, so that it needs nothing of ours."""

    model: str
    """Model folder."""
    adapter: str
    """Folder of the first adapter, in PEFT's layout."""
    batch_size: int
    steps: list[list[dict[str, list[int]]]]
    """``input_ids`` and ``labels`` of each example, by step."""
    widths: list[int]
    """Length of our padded rows, by step."""
    learning_rates: list[float]
    """Learning rate of each step."""
    weight_decay: float
    beta1: float
    beta2: float
    epsilon: float
    clip: float

    @property
    def useful_tokens(self) -> list[int]:
        """Tokens of each step without padding."""
        return [sum(len(example["input_ids"]) for example in step) for step in self.steps]

    def save(self, folder: Path) -> None:
        """Write the values to ``folder``."""
        (folder / PEER_FILE).write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> PeerInputs:
        """Read the values of :meth:`save`."""
        return cls(**json.loads((folder / PEER_FILE).read_text(encoding="utf-8")))


def run_file_workload(*, packing: bool) -> Workload:
    """Return the training of the run file in smaller steps."""
    content: dict[str, Any] = read_file(RUN_FILE)
    model = parse(ModelSpec, content["model"], "model")
    run = parse(TrainSpec, content["train"], "train")
    spec = dataclasses.replace(run, batch_size=BATCH, max_seq_length=ROW)
    folder = ROOT / str(model.source)
    records = calculator_data(SEED, CONVERSATIONS, items=1).train
    return make_workload(model, folder, spec, records, packing=packing)


def make_workload(
    model: ModelSpec, folder: Path, spec: TrainSpec, records: Sequence[Record], *, packing: bool
) -> Workload:
    """Return a training whose calls are single steps and whose metrics have each step's loss."""
    spec = dataclasses.replace(spec, packing=packing, steps_per_dispatch=1, log_every_steps=1)
    start = prepare(model, spec, records, folder)
    stream = BatchStream(
        start.encoded.examples, start.objective.collator(spec.batch_size), spec.seed
    )
    trainer = Trainer(start.model, start.objective, stream, spec, start.identity)
    return Workload(start, spec, stream, trainer)


def peer_inputs(workload: Workload, model: Path, folder: Path, steps: int) -> PeerInputs:
    """Write the first adapter to ``folder``; return the peer's values for the first steps."""
    spec, trainer, stream = workload.spec, workload.trainer, workload.stream
    adapter = trainer.trainable
    if not isinstance(adapter, LoraAdapter):
        raise TypeError("the run must train an adapter")
    first, _ = adapter.start(workload.start.weights)
    save_adapter(folder / "adapter", adapter, first, str(model))
    rows = [stream.rows(step) for step in range(steps)]
    schedule = learning_rate(spec, trainer.total)
    return PeerInputs(
        model=str(model),
        adapter=str(folder / "adapter"),
        batch_size=spec.batch_size,
        steps=[
            [
                {
                    "input_ids": example.tokens.tolist(),
                    "labels": np.where(example.mask, example.tokens, IGNORED).tolist(),
                }
                for example in examples
            ]
            for examples in rows
        ],
        widths=[stream.collator.collate([examples]).tokens.shape[-1] for examples in rows],
        learning_rates=[float(schedule(step)) for step in range(steps)],
        weight_decay=spec.weight_decay,
        beta1=spec.adam_beta1,
        beta2=spec.adam_beta2,
        epsilon=spec.adam_epsilon,
        clip=spec.gradient_clip,
    )


def main(folder: Path, steps: int) -> None:
    """Write the peer's files for the run file's training."""
    workload = run_file_workload(packing=False)
    source = ROOT / str(parse(ModelSpec, read_file(RUN_FILE)["model"], "model").source)
    peer_inputs(workload, source, folder, steps).save(folder)
    print("{}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
