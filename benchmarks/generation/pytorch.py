"""The peer's side of a race: ``python -m benchmarks.generation.pytorch FOLDER WORKLOAD``.

All prompts are one batch, padded on the left, and ``generate`` runs until the last row has ended.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.generation.workloads import WORKLOADS
from benchmarks.racer import serve

LIBRARY: Any = transformers


def main(folder: Path, name: str) -> None:
    """Serve whole generations of the workload ``name``."""
    LIBRARY.logging.set_verbosity_error()
    work = WORKLOADS[name]()
    model = LIBRARY.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None
    width = max(len(prompt) for prompt in work.prompts)
    tokens = torch.tensor([[0] * (width - len(p)) + p for p in work.prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in work.prompts])
    lengths = width + torch.tensor(work.answers)

    def ended(so_far: torch.Tensor, _: Any) -> torch.Tensor:
        return so_far.shape[1] >= lengths

    def steps(count: int) -> None:
        for _ in range(count):
            with torch.inference_mode():
                made = model.generate(
                    tokens,
                    attention_mask=mask,
                    max_new_tokens=max(work.answers),
                    do_sample=False,
                    pad_token_id=0,
                    stopping_criteria=[ended],
                )
            if made.shape[1] != width + max(work.answers):
                raise RuntimeError(f"{made.shape[1]} columns came out")

    serve(steps)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
