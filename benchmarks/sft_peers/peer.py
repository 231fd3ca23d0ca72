"""TRL's side of the race: ``python -m benchmarks.sft_peers.peer FOLDER [alike]``.

SFTTrainer trains PEFT's copy of our first adapter on our token ids and labels, in our order. It
pads a batch to its longest example; ``alike`` pads to the length of our padded rows. Its head, its
metrics and its sampler are its own.
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
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from benchmarks.sft_peers.pace import Pace
from benchmarks.sft_peers.workload import IGNORED, PeerInputs

LIBRARY: Any = transformers
TRL: Any = trl
COLLATOR: Any = DataCollatorForLanguageModeling


class AlikeCollator(COLLATOR):  # type: ignore[misc]
    """TRL's collator with rows as long as ours."""

    def __init__(self, pad_token_id: int, widths: list[int]) -> None:
        super().__init__(pad_token_id=pad_token_id)
        self._widths = iter(widths)

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return TRL's batch, padded further."""
        batch = super().torch_call(examples)
        # Our rows leave out the last token, which is only predicted.
        missing = max(0, next(self._widths) - batch["input_ids"].shape[1])
        fill = {"input_ids": self.pad_token_id, "labels": IGNORED, "attention_mask": 0}
        return {
            name: torch.nn.functional.pad(values, (0, missing), value=fill[name])
            for name, values in batch.items()
        }


class PacedTrainer:
    """Base of a trainer of TRL with our learning rates, which reports the loss of each step."""

    args: Any
    optimizer: Any

    def __init__(self, rates: list[float], report: Callable[[float], None], **options: Any) -> None:
        self._rates = rates
        self._report = report
        self._loss = 0.0
        super().__init__(**options)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return our schedule: that of transformers has a rate of zero in its first step."""
        rates = [*self._rates, 0.0]
        peak = self.args.learning_rate
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer or self.optimizer, lambda step: rates[min(step, len(rates) - 1)] / peak
        )
        return self.lr_scheduler

    def training_step(self, *arguments: Any, **options: Any) -> Any:
        """Keep the loss, before the update."""
        loss: Any = super().training_step(*arguments, **options)  # type: ignore[misc]
        self._loss = loss.item()
        return loss

    def report_step(self) -> None:
        """Report the loss of the step, after its update."""
        self._report(self._loss)


class PeerTrainer(PacedTrainer, TRL.SFTTrainer):  # type: ignore[misc]
    """SFTTrainer at a pace."""


class StepReporter(LIBRARY.TrainerCallback):  # type: ignore[misc]
    """Callback that reports the end of each step."""

    def __init__(self, trainer: PacedTrainer, begin: Callable[[], None]) -> None:
        self._trainer = trainer
        self._begin = begin

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Report that the first step is ready."""
        self._begin()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Report a step."""
        self._trainer.report_step()


def make_peer(
    inputs: PeerInputs,
    output: Path,
    report: Callable[[float], None],
    begin: Callable[[], None] = lambda: None,
    *,
    alike: bool = False,
) -> PeerTrainer:
    """Return SFTTrainer with our inputs; ``train()`` runs their steps."""
    base = LIBRARY.AutoModelForCausalLM.from_pretrained(inputs.model, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, inputs.adapter, is_trainable=True)
    tokenizer = LIBRARY.AutoTokenizer.from_pretrained(inputs.model)
    peak = max(inputs.learning_rates)
    settings = TRL.SFTConfig(
        output_dir=str(output),
        per_device_train_batch_size=inputs.batch_size,
        max_steps=len(inputs.steps),
        train_sampling_strategy="sequential",
        learning_rate=peak,
        weight_decay=inputs.weight_decay,
        adam_beta1=inputs.beta1,
        adam_beta2=inputs.beta2,
        adam_epsilon=inputs.epsilon,
        max_grad_norm=inputs.clip,
        max_length=None,
        # Its defaults would be slower on a CPU, or not float32.
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    collator = AlikeCollator(tokenizer.pad_token_id, inputs.widths) if alike else None
    trainer = PeerTrainer(
        inputs.learning_rates,
        report,
        model=model,
        args=settings,
        train_dataset=datasets.Dataset.from_list(
            [example for step in inputs.steps for example in step]
        ),
        processing_class=tokenizer,
        data_collator=collator,
    )
    trainer.remove_callback(LIBRARY.PrinterCallback)
    trainer.add_callback(StepReporter(trainer, begin))
    return trainer


def warm_up(trainer: Any) -> None:
    """Run one step's forward and backward pass, whose gradients are thrown away."""
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    trainer.compute_loss(trainer.model, dict(batch)).backward()
    trainer.model.zero_grad()


def main(folder: Path, *, alike: bool) -> None:
    """Train at the pace of standard input."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    LIBRARY.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    pace = Pace()
    with tempfile.TemporaryDirectory() as output:
        inputs = PeerInputs.load(folder)
        warm_up(make_peer(inputs, Path(output), pace.step))
        make_peer(inputs, Path(output), pace.step, pace.start, alike=alike).train()


if __name__ == "__main__":
    main(Path(sys.argv[1]), alike="alike" in sys.argv[2:])
