"""Turn a GGUF file into a Hugging Face model folder.

Example: python -m training.import_gguf --gguf SmolLM2-135M-Instruct.Q4_1.gguf --output models/smol
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

from training.commands import require_empty, run_command
from training.machine.runtime import Device, prepare_process


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parse(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Convert on the CPU; errors as :func:`convert`."""
    prepare_process(Device.CPU)
    convert(options.gguf, options.output)


def convert(path: Path, output: Path) -> None:
    """Write the model folder of a GGUF file.

    Raises:
        TrainingError: The file is unusable, or the folder is not empty.
        OSError: A file cannot be read or written.
    """
    require_empty(output)
    from training.loop.final_model import save_folder
    from training.models.gguf.file import GgufFile
    from training.models.gguf.tokenizer import read_tokenizer
    from training.models.gguf.weights import read_gguf

    file = GgufFile(path)
    tokenizer = read_tokenizer(file)
    model, params = read_gguf(file)
    save_folder(output, model, params, tokenizer)
    logging.info(
        "%s, %s parameters: %s", file.architecture, f"{model.parameters:,}", output.resolve()
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="import_gguf.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("--gguf", type=Path, required=True, help="the GGUF file")
    parser.add_argument("--output", type=Path, required=True, help="folder for the model")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
