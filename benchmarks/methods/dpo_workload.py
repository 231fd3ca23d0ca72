"""The training on preferences that both sides run: model, settings, pairs, the first adapter.

``python -m benchmarks.methods.dpo_workload SHAPE FOLDER STEPS`` writes what the peer needs.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.methods.grpo_workload import SEED, STEPS, model_folder
from benchmarks.methods.preferences import preferences
from benchmarks.methods.sums import sums
from benchmarks.sft_peers.workload import Workload
from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import ModelSpec, TrainSpec
from training.data.batches import BatchStream
from training.data.example_store import Example
from training.loop.lora import LoraAdapter
from training.loop.optimizer import learning_rate
from training.loop.reference import with_reference
from training.loop.start import prepare
from training.loop.trainer import Trainer
from training.models.adapter_folder import save_adapter
from training.observer import Observer

PROMPTS = 128

SHAPES: dict[str, dict[str, Any]] = {
    "smollm2": {"adapter": {"lora": {"rank": 16, "alpha": 32}}, "max_seq_length": 96},
    "4x128": {"max_seq_length": 96},
}


@dataclass(frozen=True)
class PreferenceInputs:
    """All that the peer trains with: plain values, so that it needs nothing of ours."""

    model: str
    """Model folder."""
    adapter: str | None
    """Folder of the first adapter, in PEFT's layout; None for a training of all weights."""
    steps: list[list[dict[str, list[int]]]]
    """``prompt_ids``, ``chosen_ids`` and ``rejected_ids`` of each pair, by step."""
    widths: list[int]
    """Length of our padded rows, by step."""
    learning_rates: list[float]
    """Learning rate of each step."""
    batch_size: int
    beta: float
    weight_decay: float
    beta1: float
    beta2: float
    epsilon: float
    clip: float

    def save(self, folder: Path) -> None:
        """Write the values to ``folder``."""
        (folder / "dpo.json").write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> PreferenceInputs:
        """Read the values of :meth:`save`."""
        return cls(**json.loads((folder / "dpo.json").read_text(encoding="utf-8")))


def make_workload(shape: str, folder: Path) -> Workload:
    """Return the training of a shape with its reference; a small model is made in ``folder``."""
    changes = {"max_steps": STEPS, "batch_size": 8, "learning_rate": 1e-5, "log_every_steps": 1}
    settings = {**SHAPES[shape], **changes, "save_every_steps": STEPS, "dpo": {"beta": 0.1}}
    spec = parse(TrainSpec, {**settings, "steps_per_dispatch": 1})
    records = preferences(sums(SEED, PROMPTS))
    start = prepare(ModelSpec(source="peer"), spec, records, model_folder(shape, folder))
    start = with_reference(start, spec, Observer())
    stream = BatchStream(start.encoded.examples, start.objective.collator(8), spec.seed)
    trainer = Trainer(
        start.model, start.objective, stream, spec, start.identity, (), start.reference
    )
    return Workload(start, spec, stream, trainer)


def peer_inputs(workload: Workload, model: Path, folder: Path, steps: int) -> PreferenceInputs:
    """Return the peer's values for the first steps; write the first adapter to ``folder``."""
    spec, stream, trainable = workload.spec, workload.stream, workload.trainer.trainable
    adapter = None
    if isinstance(trainable, LoraAdapter):
        first, _ = trainable.start(workload.start.weights)
        adapter = str(folder / "adapter")
        save_adapter(folder / "adapter", trainable, first, str(model))
    rows = [stream.rows(step) for step in range(steps)]
    schedule = learning_rate(spec, workload.trainer.total)
    return PreferenceInputs(
        model=str(model),
        adapter=adapter,
        steps=[[_pair(example) for example in pairs] for pairs in rows],
        widths=[stream.collator.collate([pairs]).tokens.shape[-1] for pairs in rows],
        learning_rates=[float(schedule(step)) for step in range(steps)],
        batch_size=spec.batch_size,
        beta=0.1,
        weight_decay=spec.weight_decay,
        beta1=spec.adam_beta1,
        beta2=spec.adam_beta2,
        epsilon=spec.adam_epsilon,
        clip=spec.gradient_clip,
    )


def _pair(example: Example) -> dict[str, list[int]]:
    """Return the token ids of a pair without those after the end of its answers."""
    if example.other is None:
        raise TypeError("preferences have two answers")
    first = int(np.flatnonzero(example.mask)[0])
    return {
        "prompt_ids": example.tokens[:first].tolist(),
        "chosen_ids": example.tokens[example.mask].tolist(),
        "rejected_ids": example.other.tokens[example.other.mask].tolist(),
    }


def main(shape: str, folder: Path, steps: int) -> None:
    """Write the peer's files."""
    model = model_folder(shape, folder)
    peer_inputs(make_workload(shape, folder), model, folder, steps).save(folder)
    print("{}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
