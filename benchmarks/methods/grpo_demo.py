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

from benchmarks.methods.grpo_workload import SMOLLM2
from benchmarks.methods.sums import prompts, sums, traces
from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.prediction import ModelRole, Prediction
from tailrace.formats.results import JudgeResult
from tailrace.formats.schema import parse
from tailrace.formats.spec.judge_spec import JudgeSpec
from tailrace.formats.spec.run_spec import InferSpec, ModelSpec, TrainSpec
from training.generate.predict import Evaluated, predict
from training.judging.all_judges import JudgeInputs, run_judges
from training.observer import LoggingObserver, Observer
from training.stage.training_run import TrainingPaths, run_training

SEED, HELD_OUT, STARTED, REWARDED = 18, 400, 400, 800
"""Seed of the sums, and numbers of those that are held out, imitated and rewarded."""

LOWEST_START, HIGHEST_START, LARGEST_P = 0.3, 0.7, 0.05

EVAL_SET = "sums"

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
    base = _train(start, traces(started), SMOLLM2, output / "start")
    begin = time.perf_counter()
    trained = _train(parse(TrainSpec, REWARDS), prompts(rewarded), base, output / "rewards")
    minutes = (time.perf_counter() - begin) / 60
    result = _compare(base, trained, held_out, output / "verdicts.jsonl")
    before, after = (
        next(score for score in result.scores if score.model_role is role)
        for role in (ModelRole.BASE, ModelRole.TRAINED)
    )
    lift = result.comparisons[0]
    first, last = before.score or 0.0, after.score or 0.0
    print(
        f"greedy pass@1 on {HELD_OUT} held-out sums: {first:.3f} -> {last:.3f}, {lift.wins} won, "
        f"{lift.losses} lost, p = {lift.p_value}; {minutes:.1f} minutes on rewards"
    )
    gained = last > first and lift.p_value is not None and lift.p_value < LARGEST_P
    return 0 if gained and LOWEST_START <= first <= HIGHEST_START else 1


def _train(spec: TrainSpec, records: Any, folder: Path, output: Path) -> Path:
    paths = TrainingPaths.in_folder(output)
    observer = LoggingObserver()
    run_training(ModelSpec(source=folder.name), spec, records, paths, observer, folder=folder)
    return paths.final_model


def _compare(
    base: Path, trained: Path, pairs: list[tuple[str, str]], verdicts: Path
) -> JudgeResult:
    items = [
        EvalItem(str(i), prompt, expected_answer=answer) for i, (prompt, answer) in enumerate(pairs)
    ]
    eval_sets = {EVAL_SET: items}
    spec = InferSpec(max_new_tokens=24, eval_sets=[EVAL_SET])
    predictions: list[Prediction] = []
    roles = {ModelRole.BASE: base, ModelRole.TRAINED: trained}
    for role, folder in roles.items():
        predictions += predict(Evaluated.open(folder), eval_sets, spec, role, Observer())
    inputs = JudgeInputs(eval_sets, predictions, list(roles))
    return run_judges([JudgeSpec("answer_correctness")], inputs, verdicts, Observer())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods.grpo_demo")
    parser.add_argument("--output", type=Path, required=True, help="new folder for all files")
    parser.add_argument(
        "--start-steps", type=int, default=20, help="steps of the start (default: 20)"
    )
    options = parser.parse_args()
    sys.exit(main(options.output, options.start_steps))
