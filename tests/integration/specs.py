"""Small runs for tests."""

from __future__ import annotations

from typing import Any

from tailrace import protomap
from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.v1 import run_pb2, run_spec_pb2

TERMINAL = {run_pb2.RUN_STATE_SUCCEEDED, run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_CANCELLED}


ROLLOUTS: dict[str, Any] = {
    "grpo": {
        "rewards": [{"judge": {"name": "regex", "regex": {"pattern": "[a-m]"}}}],
        "length": {"free_tokens": 2, "weight": 0.5},
        "n_samples": 4,
        "max_new_tokens": 8,
        "preflight": {"prompts": 2},
    },
    "batch_size": 2,
    "max_seq_length": 64,
    "save_every_steps": 3,
}
"""A nano training on rewards of the answers that it samples."""


def small(steps: int = 20, **changes: Any) -> run_spec_pb2.RunSpec:
    """A nano run over golden-v2: train, infer on a few items, judge.

    It runs whatever ran before: reusing results has tests of its own.
    """
    spec: dict[str, Any] = {
        "dataset": "golden-v2",
        "model": {"preset": "gpt2-nano"},
        "train": {
            "max_steps": steps,
            "batch_size": 8,
            "learning_rate": 1e-3,
            "eval_fraction": 0.2,
            "save_every_steps": 10,
            "log_every_steps": 1,
        },
        "infer": {"max_new_tokens": 8, "eval_sets": ["dataset:held_out"]},
        "judges": [{"name": "answer_correctness"}],
        "retry": {"initial_backoff": 0.1},
        "cache": False,
    }
    for name, value in changes.items():
        if value is None:
            del spec[name]
        elif isinstance(value, dict) and isinstance(spec.get(name), dict):
            spec[name] = {**spec[name], **value}
        else:
            spec[name] = value
    return protomap.spec_to_proto(parse(RunSpec, spec))


def train_only(steps: int = 20, **changes: Any) -> run_spec_pb2.RunSpec:
    """A run that only trains."""
    return small(steps, infer=None, judges=None, **changes)


def state(run: run_pb2.Run) -> str:
    """The run's state as a word."""
    return protomap.enum_word(run_pb2.RunState.DESCRIPTOR, run.state)


def stage_states(run: run_pb2.Run) -> dict[str, str]:
    """Each stage's state as a word."""
    states = run_pb2.StageState.DESCRIPTOR
    return {stage.id: protomap.enum_word(states, stage.state) for stage in run.stages}
