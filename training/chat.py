"""Chat with a model on the terminal, or ask it one question per line of standard input.

Example: python training/chat.py --model models/smollm2-135m-instruct --temperature 0.7
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    # Run as a file: the package is found from the repository's root, not from this folder.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tailrace.formats.schema import SpecError, parse
from tailrace.formats.spec.infer_spec import InferSpec
from training.commands import natural, positive, run_command
from training.errors import ConfigError
from training.serving.opening import add_model_flags, open_model, served_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: that of `tailrace` for bad input is 2."""
    options = _parse(arguments)
    return 2 if (status := run_command(lambda: chat(options), log=sys.stderr)) == 1 else status


def chat(options: argparse.Namespace) -> None:
    """Answer questions until the input ends.

    Raises:
        TrainingError: The input is unusable, or generation failed.
        OSError: A file cannot be read.
    """
    spec = _spec(options)
    evaluated = open_model(options)
    from training.generate.sampling import Sampling
    from training.serving.conversation import Conversation
    from training.serving.model import ServedModel
    from training.serving.terminal import Terminal

    model = ServedModel.open(
        served_name(options),
        evaluated,
        slots=1,
        context=options.context,
        places=1,
        # A person waits for the first answer, which needs few of them.
        compiles_first=False,
    )
    conversation = Conversation(model, Sampling.of(spec), options.system)
    try:
        Terminal(conversation, as_json=options.json).run()
    finally:
        model.engine.close("the chat has ended")


def _spec(options: argparse.Namespace) -> InferSpec:
    """Return the sampling flags as an infer block.

    Raises:
        ConfigError: A value is out of range.
    """
    names = ("max_new_tokens", "temperature", "top_p", "top_k", "repetition_penalty", "seed")
    fields = {name: getattr(options, name) for name in names}
    try:
        # A placeholder: a chat has no eval set.
        return parse(InferSpec, {**fields, "eval_sets": ["eval_v1"]})
    except SpecError as error:
        wrong = (f"--{v.field.replace('_', '-')}: {v.description}" for v in error.violations)
        raise ConfigError("; ".join(wrong)) from error


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    spec = InferSpec()
    parser = argparse.ArgumentParser(prog="chat.py", description=__doc__, allow_abbrev=False)
    add_model_flags(parser)
    parser.add_argument("--system", default="", metavar="TEXT", help="system prompt")
    parser.add_argument(
        "--max-new-tokens", type=positive, default=512, help="longest answer in tokens (512)"
    )
    parser.add_argument(
        "--temperature", type=float, default=0.7, help="divisor of the logits; 0 is greedy (0.7)"
    )
    parser.add_argument("--top-p", type=float, default=0.95, help="probability to draw from (0.95)")
    parser.add_argument(
        "--top-k", type=int, default=spec.top_k, help="tokens to draw from; 0 (default): all"
    )
    parser.add_argument("--repetition-penalty", type=float, default=spec.repetition_penalty)
    parser.add_argument("--seed", type=natural, default=spec.seed, help="seed of sampling (42)")
    parser.add_argument("--json", action="store_true", help="print one JSON document per answer")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
