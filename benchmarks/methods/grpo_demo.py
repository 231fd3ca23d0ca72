"""What training on rewards shows: ``python -m benchmarks.methods.grpo_demo --output FOLDER``.

SmolLM2 is fine-tuned on a few sums with LoRA, until it is right on a part of them, and then learns
from rewards on other sums. Greedy answers to held-out sums are compared, prompt by prompt. Needs
``make smollm2``. Exit status 1 when the start is not right on 30 to 70 %, or the gain is not
significant.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.methods.demonstration import answers_compared, train_here
from benchmarks.methods.grpo_workload import SMOLLM2
from benchmarks.methods.sums import prompts, sums, traces
from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import TrainSpec

SEED, HELD_OUT, STARTED, REWARDED = 18, 400, 400, 800
"""Seed of the sums, and numbers of those that are held out, imitated and rewarded."""

LOWEST_START, HIGHEST_START, LARGEST_P = 0.3, 0.7, 0.05

LORA: dict[str, Any] = {"adapter": {"lora": {"rank": 16, "alpha": 32}}, "max_seq_length": 96}

START: dict[str, Any] = {**LORA, "batch_size": 8, "learning_rate": 3e-4}

REWARDS: dict[str, Any] = {
    **LORA,
    "max_steps": 60,
    "batch_size": 8,
    "micro_batch_size": 32,
    "learning_rate": 1e-4,
    "warmup_steps": 3,
    "log_every_steps": 1,
    "save_every_steps": 10,
    "grpo": {
        "rewards": [{"judge": {"name": "answer_correctness", "markers": ["Answer:"]}}],
        "n_samples": 8,
        "max_new_tokens": 24,
        "mask_truncated": True,
        "preflight": {"mode": "require"},
    },
}


def main(output: Path, start_steps: int) -> int:
    """Train twice, compare, and return the exit status."""
    pairs = sums(SEED, HELD_OUT + STARTED + REWARDED)
    held_out = pairs[:HELD_OUT]
    started, rewarded = pairs[HELD_OUT:][:STARTED], pairs[HELD_OUT + STARTED :]
    start = parse(TrainSpec, {**START, "max_steps": start_steps})
    base = train_here(start, traces(started), SMOLLM2, output / "start")
    begin = time.perf_counter()
    spec = parse(TrainSpec, REWARDS)
    trained = train_here(spec, prompts(rewarded), base, output / "rewards")
    minutes = (time.perf_counter() - begin) / 60
    gain = answers_compared(base, trained, held_out, output / "verdicts.jsonl")
    print(f"{gain.text}; {minutes:.1f} minutes on rewards")
    is_gain = gain.rises and gain.p_value < LARGEST_P
    return 0 if is_gain and LOWEST_START <= gain.before <= HIGHEST_START else 1


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods.grpo_demo")
    parser.add_argument("--output", type=Path, required=True, help="new folder for all files")
    parser.add_argument(
        "--start-steps", type=int, default=20, help="steps of the start (default: 20)"
    )
    options = parser.parse_args()
    sys.exit(main(options.output, options.start_steps))
