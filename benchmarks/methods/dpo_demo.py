"""What training on preferences shows: ``python -m benchmarks.methods.dpo_demo --output FOLDER``.

SmolLM2 is fine-tuned with LoRA on sums that are answered now shortly, now in a sentence, and then
learns on other sums that the short, correct answer is better. Greedy answers to held-out sums are
judged whole, so that a sentence fails, and are compared prompt by prompt. Needs ``make smollm2``.
Exit status 1 when the gain is not significant, or held-out preferences are not told apart.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

from benchmarks.methods.demonstration import answers_compared, train_here
from benchmarks.methods.grpo_workload import SMOLLM2
from benchmarks.methods.preferences import both_styles, preferences
from benchmarks.methods.sums import sums
from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import TrainSpec

SEED, HELD_OUT, STARTED, PREFERRED = 19, 200, 320, 240
"""Seed of the sums, and numbers of those that are held out, imitated and compared."""

LARGEST_P = 0.01

LORA: dict[str, Any] = {"adapter": {"lora": {"rank": 16, "alpha": 32}}, "max_seq_length": 96}

START: dict[str, Any] = {**LORA, "batch_size": 8, "learning_rate": 3e-4, "max_steps": 40}

PREFERENCES: dict[str, Any] = {
    **LORA,
    "dpo": {"beta": 0.1},
    "batch_size": 8,
    "max_steps": 50,
    "learning_rate": 5e-5,
    "warmup_steps": 5,
    "eval_fraction": 0.1,
    "eval_every_steps": 25,
    "log_every_steps": 5,
}


def main(output: Path) -> int:
    """Train twice, compare, and return the exit status."""
    pairs = sums(SEED, HELD_OUT + STARTED + PREFERRED)
    held_out, others = pairs[:HELD_OUT], pairs[HELD_OUT:]
    start = parse(TrainSpec, START)
    base = train_here(start, both_styles(others[:STARTED]), SMOLLM2, output / "start")
    records = preferences(others[STARTED:])
    trained = train_here(parse(TrainSpec, PREFERENCES), records, base, output / "preferences")
    gain = answers_compared(base, trained, held_out, output / "verdicts.jsonl", marked=False)
    points = (output / "preferences" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    low = max(json.loads(line).get("eval_preference_accuracy_low", 0) for line in points)
    print(f"{gain.text}; held-out preferences told apart: at least {low:.3f} (95 %)")
    return 0 if gain.rises and gain.p_value < LARGEST_P and low > 0.5 else 1


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods.dpo_demo")
    parser.add_argument("--output", type=Path, required=True, help="new folder for all files")
    sys.exit(main(parser.parse_args().output))
