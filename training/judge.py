"""Judge predictions against eval sets, or check a judge against people, without any server.

Examples:
python training/judge.py --predictions artifacts/eval_results_manual.predictions.jsonl
--eval-set training/evalsets/eval_v1.jsonl --output artifacts/verdicts.jsonl

python training/judge.py --judge answer_correctness --labels labelled.jsonl
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    # Run as a file: the package is found from the repository's root, not from this folder.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tailrace.formats.endpoint_access import EndpointAccess, EndpointKey, EndpointUrl, read_place
from tailrace.formats.spec.judge_spec import KEY_PREFIX, JudgeSpec
from training.commands import add_eval_set_flags, open_eval_sets, report_result, run_command
from training.config import read_yaml
from training.errors import ConfigError, DataError
from training.generate.prediction_files import read_predictions
from training.judges import judge_names, make_judge
from training.judging.all_judges import JudgeInputs, judge_setup, run_judges
from training.judging.calibration import calibrate, read_labelled
from training.judging.grouping import model_roles
from training.observer import Observer


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parse(arguments)
    return run_command(lambda: judge(options))


def judge(options: argparse.Namespace) -> None:
    """Judge predictions, or compare the judge with labels.

    Raises:
        TrainingError: The input is unusable.
        OSError: A file cannot be read or written.
    """
    spec = _spec(options)
    access = _endpoint_access(spec, options.allow_endpoint)
    if options.labels is not None:
        maker = make_judge(judge_setup(spec, options.judge_model, access))
        for line in calibrate(maker, read_labelled(options.labels)).lines():
            logging.info("%s", line)
        return
    missing = [
        flag
        for flag, value in {
            "--predictions": options.predictions,
            "--eval-set": options.eval_set,
            "--output": options.output,
        }.items()
        if not value
    ]
    if missing:
        raise ConfigError(f"give {', '.join(missing)}; or --labels to check the judge")
    eval_sets = open_eval_sets(options)
    predictions = read_predictions(options.predictions)
    if not predictions:
        raise DataError(f"{options.predictions} has no predictions")
    baseline = options.baseline_predictions
    inputs = JudgeInputs(
        eval_sets,
        predictions,
        model_roles(predictions),
        read_predictions(baseline) if baseline else None,
        {spec.name: options.judge_model} if options.judge_model else {},
        access=access,
    )
    if baseline and spec.pairwise is not None and spec.compares_with_base():
        # The options name a run, or the base model stays what is compared with.
        other = dataclasses.replace(spec.pairwise, baseline="runs/given-as-a-file")
        spec = dataclasses.replace(spec, pairwise=other)
    report_result(run_judges([spec], inputs, options.output, Observer()))
    logging.info("verdicts: %s", options.output)


def _spec(options: argparse.Namespace) -> JudgeSpec:
    name = options.judge
    if options.config is None:
        return JudgeSpec(name or "answer_correctness")
    spec = read_yaml(JudgeSpec, options.config, **({"name": name} if name else {}))
    if name and spec.name != name:
        raise ConfigError(f"{options.config} is of the judge {spec.name}, not of {name}")
    return spec


def _endpoint_access(spec: JudgeSpec, allowed: Sequence[str]) -> EndpointAccess:
    """The places that flags name, and the key that the judge names, from the environment."""
    endpoint = spec.endpoint()
    name = endpoint.api_key_env if endpoint else None
    secret = os.environ.get(name) if name and name.startswith(KEY_PREFIX) else None
    if endpoint is None or name is None or not secret:
        return EndpointAccess(list(allowed))
    key = EndpointKey(name, EndpointUrl.of(endpoint.url).place, secret)
    problems = key.violations(name)
    if problems:
        raise ConfigError(f"{name} {problems[0].description}")
    return EndpointAccess(list(allowed), [key])


def _place(text: str) -> str:
    try:
        return read_place(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="judge.py", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--predictions", type=Path, help="predictions.jsonl, as `tailrace runs download` writes it"
    )
    add_eval_set_flags(parser, required=False)
    parser.add_argument("--output", type=Path, help="file for the verdicts")
    parser.add_argument(
        "--judge", choices=judge_names(), help="default: that of --config, or answer_correctness"
    )
    parser.add_argument("--config", type=Path, help="YAML: one entry of a run spec's judges")
    parser.add_argument(
        "--baseline_predictions", type=Path, help="the other answers, for a judge that compares"
    )
    parser.add_argument(
        "--allow-endpoint",
        action="append",
        default=[],
        type=_place,
        metavar="HOST:PORT",
        help="server that the judge may call, also over http and at a private address",
    )
    parser.add_argument("--judge_model", type=Path, help="folder of the model that judges")
    parser.add_argument(
        "--labels",
        type=Path,
        help="JSON Lines of answers that people labelled: print how well the judge agrees",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
