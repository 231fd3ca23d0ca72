"""What the benchmark submits: a run as users submit it."""

from __future__ import annotations

from typing import Any

from tailrace.protomap import from_mapping
from tailrace.v1 import run_spec_pb2

SPEC: dict[str, Any] = {
    "dataset": "golden-v2",
    "model": {"preset": "gpt2-nano"},
    "train": {"max_steps": 100, "eval_fraction": 0.2},
    "infer": {"eval_sets": ["dataset:train", "dataset:held_out"]},
    "judges": [{"name": "answer_correctness"}],
    "retry": {"max_attempts": 2, "initial_backoff": 0.0},
    "labels": {"team": "load", "sweep": "a"},
}


def spec_message(**changes: Any) -> run_spec_pb2.RunSpec:
    """The spec with other top-level blocks."""
    return from_mapping(run_spec_pb2.RunSpec, SPEC | changes)
