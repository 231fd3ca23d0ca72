"""Shared parts of the commands: flags, output on the terminal, and the handling of errors."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.prediction import ModelRole
from tailrace.formats.data.split import HELD_OUT, TRAIN
from tailrace.formats.results import JudgeResult, JudgeScore
from tailrace.formats.schema import SpecError, parse
from tailrace.formats.spec.run_spec import InferSpec
from training.data.datasets import find_dataset, load_dataset, load_split
from training.errors import ConfigError, OutputError, TrainingError
from training.evalsets import load_eval_sets
from training.machine.runtime import Device, prepare_process, require_device

DEFAULT_EVAL_SET = "eval_v1"
"""Default eval set: the one in the guide."""


def add_machine_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags for device, threads and cache."""
    parser.add_argument(
        "--device", type=Device, choices=list(Device), default=Device.AUTO, help="default: auto"
    )
    parser.add_argument("--threads", type=positive, help="CPU threads (default: all cores)")
    parser.add_argument(
        "--cache_dir", type=Path, help="keep compiled programs in this folder between calls"
    )


def add_generation_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags for generation, with the run spec's defaults."""
    spec = InferSpec()
    parser.add_argument("--max_new_tokens", type=positive, default=spec.max_new_tokens)
    parser.add_argument(
        "--temperature", type=float, default=spec.temperature, help="0 (default) is greedy"
    )
    parser.add_argument(
        "--top_p",
        type=float,
        default=spec.top_p,
        help="probability mass of the tokens to draw from",
    )
    parser.add_argument(
        "--top_k",
        type=int,
        default=spec.top_k,
        help="number of tokens to draw from; 0 (default): all",
    )
    parser.add_argument("--repetition_penalty", type=float, default=spec.repetition_penalty)
    parser.add_argument(
        "--n_samples", type=positive, default=spec.n_samples, help="answers per prompt"
    )
    parser.add_argument(
        "--stop", action="append", default=[], help="text that ends an answer; may be repeated"
    )
    parser.add_argument(
        "--logprobs", action="store_true", help="keep the tokens' log-probabilities"
    )
    parser.add_argument(
        "--eval_batch_size",
        type=positive,
        default=spec.batch_size,
        help="prompts generated together",
    )


def add_eval_set_flags(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the flags for eval sets and their dataset."""
    parser.add_argument(
        "--eval-set",
        "--eval_set",
        action="append",
        required=required,
        metavar="SET",
        help="eval_v1, a JSON Lines file, dataset:train or dataset:held_out; may be repeated",
    )
    parser.add_argument("--dataset", help="dataset of the dataset:… sets")
    parser.add_argument(
        "--split", type=Path, help="split.json of its training (default: all of it is train part)"
    )


def open_eval_sets(options: argparse.Namespace) -> dict[str, list[EvalItem]]:
    """Return the eval sets that the flags name.

    Raises:
        DataError: An eval set or its dataset is unusable.
        ConfigError: A flag is missing.
    """
    parts = [name for name in options.eval_set if name in (TRAIN, HELD_OUT)]
    if parts and options.dataset is None:
        raise ConfigError(f"{parts[0]} needs --dataset, which it is a part of")
    if HELD_OUT in parts and options.split is None:
        raise ConfigError(
            f"{HELD_OUT} needs --split: split.json of the training, which says what it held out"
        )
    split = None
    if options.dataset is not None:
        split = load_split(load_dataset(find_dataset(options.dataset)), options.split)
    elif options.split is not None:
        raise ConfigError("--split needs --dataset, which it divides")
    return load_eval_sets(options.eval_set, split)


def generation_spec(options: argparse.Namespace, seed: int) -> InferSpec:
    """Return the flags as an infer block.

    Raises:
        ConfigError: A value is out of range.
    """
    fields = {
        "max_new_tokens": options.max_new_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "top_k": options.top_k,
        "repetition_penalty": options.repetition_penalty,
        "n_samples": options.n_samples,
        "stop": options.stop,
        "logprobs": options.logprobs,
        "seed": seed,
        "batch_size": options.eval_batch_size,
        # A placeholder: the flag --eval-set allows files, which a run spec does not.
        "eval_sets": [DEFAULT_EVAL_SET],
    }
    try:
        return parse(InferSpec, fields, "")
    except SpecError as error:
        wrong = (f"--{v.field.lstrip('.')}: {v.description}" for v in error.violations)
        raise ConfigError("; ".join(wrong)) from error


def start_machine(options: argparse.Namespace) -> None:
    """Choose device, threads and cache, then start JAX; errors as both functions."""
    prepare_process(options.device, options.threads, options.cache_dir)
    require_device()


def require_empty(folder: Path) -> None:
    """Require that a folder for a new model is empty or missing.

    Raises:
        OutputError: The folder has files.
        OSError: The folder cannot be read.
    """
    if folder.exists() and any(folder.iterdir()):
        raise OutputError(f"{folder} is not empty: give another --output")


def positive(text: str) -> int:
    """Parse a whole number of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def natural(text: str) -> int:
    """Parse a whole number from 0 to 2^31 - 1, for argparse."""
    value = int(text)
    if not 0 <= value < 2**31:
        raise argparse.ArgumentTypeError(f"must be from 0 to {2**31 - 1}, not {value}")
    return value


def report_result(result: JudgeResult) -> None:
    """Print a line for each score, with its interval, and for each comparison."""
    for score in result.scores:
        who = "" if score.model_role is ModelRole.TRAINED else f" ({score.model_role})"
        logging.info("%s on %s%s: %s", score.judge, score.eval_set, who, _score_text(score))
    for comparison in result.comparisons:
        logging.info(
            "%s on %s, %s: %d won, %d lost, %d tied%s",
            comparison.judge,
            comparison.eval_set,
            comparison.kind.value,
            comparison.wins,
            comparison.losses,
            comparison.ties,
            ""
            if comparison.difference is None
            else f", difference {comparison.difference:+.3f} (95% interval "
            f"{comparison.low:+.3f} to {comparison.high:+.3f}, p {comparison.p_value:.3g})",
        )


def _score_text(score: JudgeScore) -> str:
    if score.score is None:
        return f"nothing to score, {score.errors} errors"
    parts = [
        f"{score.passed}/{score.total} = {score.score:.3f} "
        f"(95% interval {score.interval_low:.3f}-{score.interval_high:.3f})"
    ]
    further = {
        "mean": score.mean_score if score.mean_low is not None else None,
        "majority": score.majority_score,
        "flexible": score.flexible_score,
        "marker": score.marker_rate,
    }
    parts += [f"{name} {value:.3f}" for name, value in further.items() if value is not None]
    parts.append(f"errors {score.errors}")
    if score.leaked:
        parts.append(f"{score.leaked} items trained on")
    return ", ".join(parts)


def run_command(body: Callable[[], None], log: TextIO | None = None) -> int:
    """Run a command's body; an error that the user can fix ends it with a message and status 1.

    ``log`` is the stream of log lines (default: standard output).
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Characters that the encoding lacks are replaced: they must not end the command.
        sys.stdout.reconfigure(errors="replace")
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", stream=log or sys.stdout, force=True
    )
    try:
        body()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output has ended (`… | head -1`), and needs no message.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except (TrainingError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    return 0
