"""The training on rewards that both sides run: model, settings, prompts, the first adapter.

``python -m benchmarks.methods.grpo_workload SHAPE FOLDER`` writes what the peer needs to FOLDER.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.methods.sums import prompts, sums
from tailrace.formats.data.golden import golden_v2
from tailrace.formats.data.record import dump_line
from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import ModelSpec, TrainSpec
from training.data.tokenizer import train_tokenizer
from training.loop.final_model import save_folder
from training.loop.lora import LoraAdapter
from training.loop.start import Start, prepare
from training.loop.trainer import Trainer
from training.models.adapter_folder import save_adapter
from training.models.registry import model_from_config
from training.observer import Observer
from training.rollouts.rewarded import RewardedAnswers
from training.rollouts.rewards import JudgeResources
from training.rollouts.store import RolloutStore
from training.stage.training_run import TrainingPaths, run_training

ROOT = Path(__file__).parents[2]
SMOLLM2 = ROOT / "models" / "smollm2-135m-instruct"
"""Model of ``make smollm2``."""

SEED, PROMPTS = 18, 512

STEPS = 10_000
"""Steps of a training that ends with the race."""

SHAPES: dict[str, dict[str, Any]] = {
    "smollm2": {
        "adapter": {"lora": {"rank": 16, "alpha": 32}},
        "batch_size": 8,
        "micro_batch_size": 32,
        "max_seq_length": 96,
        "grpo": {"n_samples": 8, "max_new_tokens": 24},
    },
    "4x128": {
        "batch_size": 8,
        "max_seq_length": 96,
        "grpo": {"n_samples": 8, "max_new_tokens": 24},
    },
}
"""Settings by shape: SmolLM2 with LoRA, and all weights of 4 layers of width 128."""

TINY = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class PeerInputs:
    """All that the peer trains with: plain values, so that it needs nothing of ours."""

    model: str
    """Model folder."""
    adapter: str | None
    """Folder of the first adapter, in PEFT's layout; None for a training of all weights."""
    prompts: list[dict[str, str]]
    """Prompts as the chat template renders them, with their answers."""
    batch_size: int
    micro_batch_size: int
    n_samples: int
    max_new_tokens: int
    temperature: float
    learning_rate: float
    clip: float

    def save(self, folder: Path) -> None:
        """Write the values to ``folder``."""
        (folder / "grpo.json").write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> PeerInputs:
        """Read the values of :meth:`save`."""
        return cls(**json.loads((folder / "grpo.json").read_text(encoding="utf-8")))


def make_spec(shape: str) -> TrainSpec:
    """Return the settings of a shape: a plain loss, one inner step, no divergence, no dropout."""
    settings = SHAPES[shape]
    grpo = {
        "rewards": [{"judge": {"name": "answer_correctness"}}],
        "preflight": {"mode": "off"},
        **settings["grpo"],
    }
    changes = {"max_steps": STEPS, "learning_rate": 1e-5, "log_every_steps": 1}
    return parse(TrainSpec, {**settings, **changes, "save_every_steps": STEPS, "grpo": grpo})


def task(shape: str) -> list[tuple[str, str]]:
    """Return the prompts of a shape with their answers.

    Those of the small model are golden-v2's, whose answers differ in length.
    """
    if shape == "smollm2":
        return sums(SEED, PROMPTS)
    return list({trace.prompt: trace.answer for trace in golden_v2()}.items())


def model_folder(shape: str, folder: Path) -> Path:
    """Return the model folder of a shape.

    The small model is written to ``folder``, fine-tuned until its answers end by themselves.
    """
    trained = folder / "start" / "final_model"
    if shape == "smollm2":
        return SMOLLM2
    if trained.is_dir():
        return trained
    traces = golden_v2()
    tokenizer = train_tokenizer([dump_line(trace) for trace in traces], 512, 256)
    network = model_from_config({**TINY, "vocab_size": len(tokenizer)})
    save_folder(folder / "model", network, network.init(SEED), tokenizer)
    spec = TrainSpec(max_steps=200, batch_size=8, max_seq_length=96, learning_rate=1e-3)
    paths = TrainingPaths.in_folder(folder / "start")
    run_training(ModelSpec(source="peer"), spec, traces, paths, Observer(), folder=folder / "model")
    return trained


def make_start(shape: str, folder: Path) -> Start:
    """Return the starting point of a shape."""
    records = prompts(task(shape))
    model = model_folder(shape, folder)
    return prepare(ModelSpec(source="peer"), make_spec(shape), records, model)


def make_trainer(shape: str, folder: Path, observer: Observer) -> tuple[Start, Trainer]:
    """Return our side: the starting point and the trainer."""
    spec, start = make_spec(shape), make_start(shape, folder)
    store = RolloutStore(folder / "rollouts", observer)
    source = RewardedAnswers(start, spec, store, JudgeResources(), observer)
    return start, Trainer(start.model, start.objective, source, spec, start.identity)


def main(shape: str, folder: Path) -> None:
    """Write the peer's files."""
    spec = make_spec(shape)
    start = make_start(shape, folder)
    _, trainer = make_trainer(shape, folder, Observer())
    adapter = None
    if isinstance(trainer.trainable, LoraAdapter):
        first, _ = trainer.trainable.start(start.weights)
        adapter = str(folder / "adapter")
        save_adapter(folder / "adapter", trainer.trainable, first, "peer")
    grpo = spec.grpo
    if grpo is None:
        raise TypeError("the shapes learn from rewards")
    PeerInputs(
        model=str(model_folder(shape, folder)),
        adapter=adapter,
        prompts=[
            {"prompt": start.chat.written(start.chat.prompt(prompt)), "answer": answer}
            for prompt, answer in task(shape)
        ],
        batch_size=spec.batch_size,
        micro_batch_size=spec.micro_batch_size or spec.step_rows,
        n_samples=grpo.n_samples,
        max_new_tokens=grpo.max_new_tokens,
        temperature=grpo.temperature,
        learning_rate=spec.learning_rate,
        clip=spec.gradient_clip,
    ).save(folder)
    print("{}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
