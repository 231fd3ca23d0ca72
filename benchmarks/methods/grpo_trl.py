"""TRL's side of the race: ``python -m benchmarks.methods.grpo_trl FOLDER``.

GRPOTrainer trains PEFT's copy of our first adapter, or all weights, on our rendered prompts, with
the same numbers of prompts, answers and new tokens, rewarded by the same judge. Its sampler, its
losses and its metrics are its own; dropout is off and the divergence has no weight.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import peft
import torch
import transformers
import trl

from benchmarks.methods.grpo_workload import PeerInputs
from benchmarks.sft_peers.pace import Pace
from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.spec.judge_spec import JudgeSpec
from training.judges.answer_correctness import AnswerCorrectnessJudge
from training.judges.base import JudgeSetup

LIBRARY: Any = transformers
TRL: Any = trl


class Paced(LIBRARY.TrainerCallback):  # type: ignore[misc]
    """Callback that trains at a pace."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Report that the first step is ready."""
        self._pace.start()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Count a step."""
        self._pace.step(0.0)


def reward() -> Callable[..., list[float]]:
    """Return TRL's form of the judge that rewards here."""
    judge = AnswerCorrectnessJudge(JudgeSetup(JudgeSpec("answer_correctness")))

    def score(completions: list[str], answer: list[str], **_: Any) -> list[float]:
        items = [EvalItem("0", "p", expected_answer=text, marked=False) for text in answer]
        pairs = zip(items, completions, strict=True)
        return [judge.judge(item, text).score for item, text in pairs]

    return score


def make_peer(inputs: PeerInputs, output: Path, pace: Pace) -> Any:
    """Return GRPOTrainer with our inputs."""
    model = LIBRARY.AutoModelForCausalLM.from_pretrained(inputs.model, dtype=torch.float32)
    if inputs.adapter is not None:
        model = peft.PeftModel.from_pretrained(model, inputs.adapter, is_trainable=True)
    tokenizer = LIBRARY.AutoTokenizer.from_pretrained(inputs.model)
    rows = inputs.batch_size * inputs.n_samples
    settings = TRL.GRPOConfig(
        output_dir=str(output),
        per_device_train_batch_size=inputs.micro_batch_size,
        gradient_accumulation_steps=rows // inputs.micro_batch_size,
        num_generations=inputs.n_samples,
        max_completion_length=inputs.max_new_tokens,
        temperature=inputs.temperature,
        top_k=0,
        beta=0.0,
        num_iterations=1,
        loss_type="grpo",
        max_steps=10_000,
        learning_rate=inputs.learning_rate,
        lr_scheduler_type="constant",
        max_grad_norm=inputs.clip,
        disable_dropout=True,
        # Its defaults would be slower on a CPU, or not float32.
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = TRL.GRPOTrainer(
        model=model,
        reward_funcs=reward(),
        args=settings,
        train_dataset=datasets.Dataset.from_list(inputs.prompts),
        processing_class=tokenizer,
        callbacks=[Paced(pace)],
    )
    trainer.remove_callback(LIBRARY.PrinterCallback)
    return trainer


def main(folder: Path) -> None:
    """Train at the pace of standard input."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    LIBRARY.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as output:
        make_peer(PeerInputs.load(folder), Path(output), Pace()).train()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
