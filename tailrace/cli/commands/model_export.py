"""``tailrace models export``: files of a model for other tools, made on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.commands.model_serving import CacheDir, ModelSource
from tailrace.cli.local_model import local_model, replace_process, require_export
from tailrace.cli.options import Server
from tailrace.formats.model.export import ExportDtype, ExportForm


def export(
    model: ModelSource,
    target: Annotated[
        Path,
        typer.Argument(metavar="OUTPUT", help="New folder, or with --gguf a new file."),
    ],
    form: Annotated[
        ExportForm,
        typer.Option(
            "--form",
            metavar="FORM",
            help=f"{', '.join(ExportForm)}: the whole model, or its LoRA adapter alone.",
        ),
    ] = ExportForm.MERGED,
    dtype: Annotated[
        ExportDtype,
        typer.Option("--dtype", metavar="TYPE", help=f"Weights: {', '.join(ExportDtype)}."),
    ] = ExportDtype.SOURCE,
    gguf: Annotated[
        bool,
        typer.Option("--gguf", help="Write a GGUF file for llama.cpp; needs the extra `gguf`."),
    ] = False,
    cache_dir: CacheDir = None,
    server: Server = None,
) -> None:
    """Write a model as a folder, an adapter or a GGUF file for other tools.

    It runs on this machine, with the extra `training`; MODEL is fetched once.
    """
    require_export(gguf=gguf)
    local = local_model(model, server, cache_dir)
    arguments = [f"--model={local.source}", f"--output={target}", f"--form={form}"]
    arguments += [f"--dtype={dtype}", f"--name={model}", *(["--gguf"] if gguf else [])]
    replace_process("training.export_model", arguments)
