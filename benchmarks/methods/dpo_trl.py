"""TRL's side of the race: ``python -m benchmarks.methods.dpo_trl FOLDER``.

DPOTrainer trains PEFT's copy of our first adapter, or all weights, on our token ids, in our order,
padded to the length of our rows. It computes the reference's log-probabilities before the first
step, as is done here; dropout is off. Its losses and its metrics are its own.
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
from trl.trainer.dpo_trainer import DataCollatorForPreference

from benchmarks.methods.dpo_workload import PreferenceInputs
from benchmarks.sft_peers.pace import Pace
from benchmarks.sft_peers.peer import PacedTrainer, StepReporter, warm_up

LIBRARY: Any = transformers
TRL: Any = trl
COLLATOR: Any = DataCollatorForPreference


class AlikeCollator(COLLATOR):  # type: ignore[misc]
    """TRL's collator with rows as long as ours."""

    def __init__(self, pad_token_id: int, width: int) -> None:
        super().__init__(pad_token_id=pad_token_id)
        self._width = width

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return TRL's batch, padded further."""
        batch = super().torch_call(examples)
        # Our rows leave out the last token, which is only predicted.
        missing = max(0, self._width + 1 - batch["input_ids"].shape[1])
        fill = {"input_ids": self.pad_token_id, "attention_mask": 0, "completion_mask": 0}
        return {
            name: torch.nn.functional.pad(values, (0, missing), value=fill[name])
            if name in fill
            else values
            for name, values in batch.items()
        }


class PeerTrainer(PacedTrainer, TRL.DPOTrainer):  # type: ignore[misc]
    """DPOTrainer at a pace, on token ids."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


def make_peer(
    inputs: PreferenceInputs, output: Path, report: Callable[[float], None], begin: Any
) -> PeerTrainer:
    """Return DPOTrainer with our inputs; ``train()`` runs their steps."""
    model = LIBRARY.AutoModelForCausalLM.from_pretrained(inputs.model, dtype=torch.float32)
    if inputs.adapter is not None:
        model = peft.PeftModel.from_pretrained(model, inputs.adapter, is_trainable=True)
    tokenizer = LIBRARY.AutoTokenizer.from_pretrained(inputs.model)
    settings = TRL.DPOConfig(
        output_dir=str(output),
        per_device_train_batch_size=inputs.batch_size,
        max_steps=len(inputs.steps),
        precompute_ref_log_probs=True,
        beta=inputs.beta,
        loss_type="sigmoid",
        train_sampling_strategy="sequential",
        learning_rate=max(inputs.learning_rates),
        weight_decay=inputs.weight_decay,
        adam_beta1=inputs.beta1,
        adam_beta2=inputs.beta2,
        adam_epsilon=inputs.epsilon,
        max_grad_norm=inputs.clip,
        max_length=None,
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
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    trainer = PeerTrainer(
        inputs.learning_rates,
        report,
        model=model,
        args=settings,
        train_dataset=datasets.Dataset.from_list([pair for step in inputs.steps for pair in step]),
        processing_class=tokenizer,
        data_collator=AlikeCollator(pad, max(inputs.widths)),
    )
    trainer.remove_callback(LIBRARY.PrinterCallback)
    trainer.add_callback(StepReporter(trainer, begin))
    return trainer


def main(folder: Path) -> None:
    """Train at the pace of standard input."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    LIBRARY.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    pace = Pace()
    with tempfile.TemporaryDirectory() as output:
        trainer = make_peer(PreferenceInputs.load(folder), Path(output), pace.step, pace.start)
        warm_up(trainer)
        trainer.train()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
