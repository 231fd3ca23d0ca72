"""Generate answers for an eval set with a trained model, without any server.

Example: python training/eval_generate.py --model artifacts/training_runs/nano/final_model
--eval-set training/evalsets/eval_v1.jsonl --output artifacts/eval_results_manual.jsonl
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    # Run as a file: the package is found from the repository's root, not from this folder.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tailrace.formats.data.prediction import ModelRole
from training.commands import (
    add_eval_set_flags,
    add_generation_flags,
    add_machine_flags,
    generation_spec,
    natural,
    open_eval_sets,
    run_command,
    start_machine,
)
from training.generate.prediction_files import predictions_path_for
from training.observer import LoggingObserver


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parse(arguments)
    return run_command(lambda: generate(options))


def generate(options: argparse.Namespace) -> None:
    """Generate predictions for the eval sets.

    Raises:
        TrainingError: The input is unusable.
        OSError: A file cannot be read or written.
    """
    eval_sets = open_eval_sets(options)
    spec = generation_spec(options, options.seed)
    start_machine(options)
    from training.checkpoints.provenance import model_chat_facts
    from training.generate.predict import evaluate_folder
    from training.models.source import resolve_model

    predictions_path = options.predictions or predictions_path_for(options.output)
    model = resolve_model(options.model)
    facts = model_chat_facts(model)
    if facts.clock is not None:
        logging.info("the chat template reads the date %s, as in the training", facts.clock)
    if facts.kwargs:
        logging.info("the chat template reads %s, as in the training", dict(facts.kwargs))
    evaluate_folder(
        model,
        eval_sets,
        spec,
        ModelRole(options.model_role),
        options.output,
        predictions_path,
        LoggingObserver(),
        facts.clock,
        kwargs=facts.kwargs,
        allow_special_tokens=facts.allow_special_tokens,
    )
    logging.info("traces: %s", options.output)
    logging.info("predictions: %s", predictions_path)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="eval_generate.py", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--model", required=True, help="model folder, or hub id")
    add_eval_set_flags(parser)
    parser.add_argument("--output", type=Path, required=True, help="file for the eval traces")
    parser.add_argument(
        "--predictions",
        type=Path,
        help="file for the predictions (default: --output, ending in .predictions.jsonl)",
    )
    parser.add_argument(
        "--model_role",
        choices=[role.value for role in ModelRole],
        default=ModelRole.TRAINED.value,
        help="role of the model in the predictions (default: trained)",
    )
    parser.add_argument("--seed", type=natural, default=42, help="seed of sampling (default: 42)")
    add_generation_flags(parser)
    add_machine_flags(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
