"""Turn a model folder into files for other tools: another type, its adapter alone, or GGUF.

Example: python -m training.export_model --model models/smol --output smol.gguf --gguf
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    # Run as a file: the package is found from the repository's root, not from this folder.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tailrace.formats.model.export import ExportDtype, ExportForm
from training.commands import require_empty, run_command
from training.errors import ConfigError, OutputError
from training.machine.runtime import Device, prepare_process


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parse(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Export on the CPU.

    Raises:
        TrainingError: The model cannot be exported so, or the output exists.
        OSError: A file cannot be read or written.
    """
    if options.gguf and options.form is ExportForm.ADAPTER:
        raise ConfigError("--gguf writes merged weights: leave --form adapter out")
    prepare_process(Device.CPU)
    from training.models.source import resolve_model

    folder = resolve_model(options.model)
    if options.gguf:
        _export_gguf(folder, options.output, options.dtype)
    else:
        _export_folder(folder, options.output, options.form, options.dtype)
    logging.info("%s: %s", options.name or folder.resolve().name, options.output.resolve())


def _export_folder(folder: Path, output: Path, form: ExportForm, dtype: ExportDtype) -> None:
    from training.models.exported import export_adapter, export_merged

    require_empty(output)
    export = export_adapter if form is ExportForm.ADAPTER else export_merged
    try:
        export(folder, output, dtype)
    except BaseException:
        # A part of a model must not be taken for the model.
        shutil.rmtree(output, ignore_errors=True)
        raise


def _export_gguf(folder: Path, output: Path, dtype: ExportDtype) -> None:
    from training.data.tokenizer import load_tokenizer
    from training.models.exported import ExportedModel
    from training.models.gguf.writer import write_gguf

    # The package reports each file that it writes.
    logging.getLogger("gguf").setLevel(logging.WARNING)
    if output.exists():
        raise OutputError(f"{output} exists: give another --output")
    part = output.with_name(f"{output.name}.part")
    try:
        write_gguf(part, ExportedModel.open(folder, dtype), load_tokenizer(folder))
        part.rename(output)
    finally:
        part.unlink(missing_ok=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="export_model.py", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--model", required=True, help="model folder, or hub id")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder to write, or file with --gguf"
    )
    parser.add_argument(
        "--form", type=ExportForm, choices=list(ExportForm), default=ExportForm.MERGED
    )
    parser.add_argument(
        "--dtype", type=ExportDtype, choices=list(ExportDtype), default=ExportDtype.SOURCE
    )
    parser.add_argument("--gguf", action="store_true", help="write a GGUF file")
    parser.add_argument("--name", help="name of the model in messages (default: its folder's)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
