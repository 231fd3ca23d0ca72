"""The peer's side of a race: ``python -m benchmarks.training.pytorch SHAPE [fused]``.

The usual step with transformers: the model's own loss, gradient clipping by norm, and
torch.optim.AdamW.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
import transformers

from benchmarks.racer import serve
from benchmarks.training.shapes import LENGTH, SHAPES

LIBRARY: Any = transformers


def main(name: str, *, fused: bool) -> None:
    """Serve steps of the shape ``name``."""
    shape = SHAPES[name]
    LIBRARY.logging.set_verbosity_error()
    config = LIBRARY.AutoConfig.for_model(
        **shape.config, use_cache=False, bos_token_id=None, eos_token_id=None, pad_token_id=None
    )
    torch.manual_seed(0)
    model = LIBRARY.AutoModelForCausalLM.from_config(config, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=fused or None)
    tokens = torch.randint(0, config.vocab_size, (shape.rows, LENGTH))

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            loss = model(input_ids=tokens, labels=tokens).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            loss.item()

    serve(steps)


if __name__ == "__main__":
    main(sys.argv[1], fused="fused" in sys.argv[2:])
