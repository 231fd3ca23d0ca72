"""Spec of a LoRA run of an imported model on golden-v2."""

from __future__ import annotations

from tailrace.formats.data import golden
from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.protomap import spec_to_proto
from tailrace.v1 import run_spec_pb2


def lora_spec(model: str, steps: int, new_tokens: int = 48) -> run_spec_pb2.RunSpec:
    """Return the spec of a LoRA run of an imported model, with answers to the held-out prompts."""
    train = {
        "adapter": {"lora": {"rank": 16, "alpha": 32}},
        "batch_size": 16,
        "max_seq_length": 128,
        "learning_rate": 5e-3,
        "eval_fraction": 0.2,
        "max_steps": steps,
    }
    content = {
        "dataset": golden.NAME,
        "model": {"source": model},
        "train": train,
        "infer": {"max_new_tokens": new_tokens, "eval_sets": ["dataset:held_out"]},
        "judges": [{"name": "answer_correctness"}],
    }
    return spec_to_proto(parse(RunSpec, content))
