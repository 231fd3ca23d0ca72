"""Train a model on a dataset, without any server.

Example: python training/train_jax.py --config training/configs/train_golden_v2_nano.yaml
--dataset golden-v2 --output artifacts/training_runs/nano --eval_after_train
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import shutil
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

if not __package__:
    # Run as a file: the package is found from the repository's root, not from this folder.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tailrace.formats.certificate import CERTIFICATES
from tailrace.formats.data.prediction import ModelRole
from tailrace.formats.data.split import Split
from tailrace.formats.results import TrainResult
from tailrace.formats.spec.judge_spec import JudgeSpec
from tailrace.formats.spec.run_spec import ModelSpec, TrainSpec
from tailrace.formats.wording import pluralize
from training.commands import (
    DEFAULT_EVAL_SET,
    add_generation_flags,
    add_machine_flags,
    generation_spec,
    natural,
    positive,
    report_result,
    run_command,
    start_machine,
)
from training.config import read_config
from training.data.datasets import find_dataset, load_dataset
from training.errors import OutputError
from training.observer import LoggingObserver

_OUTPUTS = (
    "checkpoints",
    "final_model",
    "metrics.jsonl",
    CERTIFICATES,
    "split.json",
    "provenance.json",
    "reference.safetensors",
    "rollouts",
)
_EVAL_OUTPUTS = ("eval_results.jsonl", "predictions.jsonl", "verdicts.jsonl")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parse(arguments)
    return run_command(lambda: train(options))


def train(options: argparse.Namespace) -> None:
    """Train, and evaluate the final model if wanted.

    Raises:
        TrainingError: The input is unusable.
        OSError: A file cannot be read or written.
    """
    config = read_config(options.config)
    spec = config.train
    if options.seed is not None:
        spec = dataclasses.replace(spec, seed=options.seed)
    model = config.model
    if options.model:
        model = dataclasses.replace(model, source=options.model, preset=None)
    records = load_dataset(find_dataset(options.dataset))
    if options.eval_after_train:
        from training.evalsets import require_questions

        require_questions(options.eval_set or [DEFAULT_EVAL_SET], records)
    _prepare_output(options)
    start_machine(options)
    from training.checkpoints.checkpoint import find_checkpoint
    from training.data.rendering import today
    from training.loop.start import checkpoint_template_date
    from training.stage.training_run import TrainingPaths, run_training

    paths = TrainingPaths.in_folder(options.output)
    resume = None
    if options.resume_from is not None:
        resume = find_checkpoint(paths.checkpoints, options.resume_from)
        logging.info("resuming from %s", resume)
    # A resumed training keeps the day on which it began.
    clock = (checkpoint_template_date(resume) if resume else None) or today()
    summary, split = run_training(
        model,
        spec,
        records,
        paths,
        LoggingObserver(),
        resume=resume,
        last=options.smoke_steps,
        clock=clock,
        teacher=options.teacher,
    )
    logging.info(
        "%s in %.1f s: loss %.4f -> %.4f (mean of the last epoch); model in %s",
        _steps_text(summary),
        summary.seconds,
        summary.first_loss,
        summary.last_loss,
        paths.final_model,
    )
    if options.eval_after_train:
        evaluate(options, paths.final_model, split, model, spec, clock)


def _steps_text(result: TrainResult) -> str:
    """Return the text for the steps of this process; a resumed training has earlier ones."""
    if result.resumed_from_step == 0:
        return pluralize(result.steps, "step")
    if result.resumed_from_step == result.steps:
        return f"no step after {result.steps}"
    return f"steps {result.resumed_from_step + 1} to {result.steps}"


def evaluate(
    options: argparse.Namespace,
    folder: Path,
    split: Split,
    model: ModelSpec,
    spec: TrainSpec,
    clock: date,
) -> None:
    """Predict and judge with the final model; errors as :func:`train`."""
    from training.evalsets import load_eval_sets
    from training.generate.predict import evaluate_folder
    from training.judging.all_judges import JudgeInputs, count_leaked, run_judges

    eval_sets = load_eval_sets(options.eval_set or [DEFAULT_EVAL_SET], split)
    observer = LoggingObserver()
    predictions, _ = evaluate_folder(
        folder,
        eval_sets,
        generation_spec(options, spec.seed),
        ModelRole.TRAINED,
        options.output / "eval_results.jsonl",
        options.output / "predictions.jsonl",
        observer,
        clock,
        kwargs=model.chat_template_kwargs,
        allow_special_tokens=spec.sft is not None and spec.sft.allow_special_tokens,
    )
    leaked = count_leaked(eval_sets, split)
    inputs = JudgeInputs(
        eval_sets, predictions, [ModelRole.TRAINED], leaked=leaked, n_samples=options.n_samples
    )
    verdicts = options.output / "verdicts.jsonl"
    report_result(run_judges([JudgeSpec("answer_correctness")], inputs, verdicts, observer))


def _prepare_output(options: argparse.Namespace) -> None:
    """Require that the folder has no files of another training, or delete them.

    Raises:
        OutputError: The folder has such files.
    """
    if options.resume_from is not None:
        return
    outputs = [n for n in (*_OUTPUTS, *_EVAL_OUTPUTS) if (options.output / n).exists()]
    if outputs and not options.overwrite:
        raise OutputError(
            f"{options.output} has an earlier training ({', '.join(outputs)}): continue it with "
            "--resume_from latest, replace it with --overwrite, or give another --output"
        )
    for name in outputs:
        path = options.output / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="train_jax.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", type=Path, required=True, help="YAML: model and train blocks")
    parser.add_argument(
        "--dataset", required=True, help="a name under datasets/ (golden-v2), a file, or a folder"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for all files")
    parser.add_argument(
        "--model",
        metavar="DIR",
        help="model folder to start from, instead of the configuration's model",
    )
    parser.add_argument(
        "--teacher", type=Path, metavar="DIR", help="model folder of train.distill's teacher"
    )
    parser.add_argument(
        "--eval_after_train", action="store_true", help="predict and judge with the final model"
    )
    parser.add_argument(
        "--eval_set",
        action="append",
        metavar="SET",
        help=f"dataset:train, dataset:held_out, eval_v1 or a file; may be repeated "
        f"(default: {DEFAULT_EVAL_SET})",
    )
    parser.add_argument("--resume_from", metavar="latest|PATH", help="continue from a checkpoint")
    parser.add_argument("--smoke_steps", type=positive, metavar="N", help="end after N steps")
    parser.add_argument("--seed", type=natural, help="seed, instead of the configuration's")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an earlier training in --output"
    )
    add_generation_flags(parser)
    add_machine_flags(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
