"""Judge predictions against an eval set, without any server.

Example: python training/judge.py --predictions artifacts/eval_results_manual.predictions.jsonl
--eval-set training/evalsets/eval_v1.jsonl --output artifacts/verdicts.jsonl
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

from tailrace.formats.jsonl import write_records
from training.commands import add_eval_set_flags, open_eval_sets, report_scores, run_command
from training.errors import DataError
from training.judges import JUDGES, find_judge
from training.judging import judge_predictions, read_predictions, roles_of
from training.observer import Observer


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parse(arguments)
    return run_command(lambda: judge(options))


def judge(options: argparse.Namespace) -> None:
    """What the command does. Raises :class:`training.errors.TrainingError`, :class:`OSError`."""
    eval_sets = open_eval_sets(options)
    predictions = read_predictions(options.predictions)
    if not predictions:
        raise DataError(f"{options.predictions} holds no prediction")
    judged = judge_predictions(
        find_judge(options.judge), eval_sets, predictions, roles_of(predictions), Observer()
    )
    write_records(options.output, judged.verdicts)
    report_scores(judged.scores)
    logging.info("verdicts: %s", options.output)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="judge.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("--predictions", type=Path, required=True, help="predictions.jsonl")
    add_eval_set_flags(parser)
    parser.add_argument("--output", type=Path, required=True, help="file for the verdicts")
    parser.add_argument("--judge", choices=list(JUDGES), default="answer_correctness")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
