"""``tailrace datasets preview``: text, tokens and mask of training examples."""

from __future__ import annotations

from typing import Annotated

import typer

from tailrace.cli.commands.dataset.inspect_lines import DatasetSource
from tailrace.cli.options import Json, Server, connect
from tailrace.cli.preview import FIRST_LINES, preview_dataset
from tailrace.formats.spec.methods import Overlong, TrainOn


def preview(
    dataset: DatasetSource,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="Model whose tokenizer and chat template to use: folder, preset, hub id, or "
            "imported `models/…`.",
        ),
    ],
    examples: Annotated[
        int,
        typer.Option("-n", "--examples", metavar="N", min=0, max=1000, help="Examples to show."),
    ] = 3,
    every_line: Annotated[
        bool,
        typer.Option("--all", help=f"Read every line (default: the first {FIRST_LINES:,})."),
    ] = False,
    chat_template: Annotated[
        str | None,
        typer.Option(
            "--chat-template",
            metavar="TEMPLATE",
            help="model.chat_template: name of a shipped template, or a file.",
        ),
    ] = None,
    template_kwargs: Annotated[
        str | None,
        typer.Option("--chat-template-kwargs", metavar="JSON", help="Variables of the template."),
    ] = None,
    train_on: Annotated[
        TrainOn | None,
        typer.Option(
            "--train-on", metavar="PART", help=f"train.sft.train_on: {', '.join(TrainOn)}."
        ),
    ] = None,
    max_seq_length: Annotated[
        int | None,
        typer.Option("--max-seq-length", metavar="N", min=8, help="train.max_seq_length."),
    ] = None,
    overlong: Annotated[
        Overlong | None,
        typer.Option(
            "--overlong", metavar="POLICY", help=f"train.sft.overlong: {', '.join(Overlong)}."
        ),
    ] = None,
    allow_special_tokens: Annotated[
        bool,
        typer.Option(
            "--allow-special-tokens", help="Read special tokens in texts as special tokens."
        ),
    ] = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Show the exact text, tokens and mask of training examples, and totals.

    It runs on this machine, with the extra `training`. Only the dataset's lines and the files of
    the model's tokenizer are fetched.
    """
    values = {
        "--examples": examples,
        "--chat-template": chat_template,
        "--chat-template-kwargs": template_kwargs,
        "--train-on": train_on,
        "--max-seq-length": max_seq_length,
        "--overlong": overlong,
    }
    # With "=" a value may begin with a dash.
    options = [f"{name}={value}" for name, value in values.items() if value is not None]
    options += ["--allow-special-tokens"] if allow_special_tokens else []
    with connect(server) as client:
        preview_dataset(client, dataset, model, options, every_line=every_line, as_json=as_json)
