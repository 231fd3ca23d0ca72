"""``tailrace models``: models from which runs can start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.commands import model_serving
from tailrace.cli.errors import CommandError
from tailrace.cli.options import ContentId, Description, Json, Limit, Server, connect, content_id
from tailrace.cli.show import output
from tailrace.transfer.model_folder import model_files
from tailrace.v1 import model_pb2

app = typer.Typer(help="Models from which runs can start.", no_args_is_help=True)


@app.command("import")
def import_(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="Model folder in Hugging Face layout, or a PEFT adapter's."
        ),
    ],
    model_id: ContentId = None,
    description: Description = "",
    base: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="Base model of a PEFT adapter (`models/…`; default: as the adapter names it).",
        ),
    ] = "",
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Import a model folder; run files then name it `models/ID`.

    Only the files of a model are sent: no hidden files, pickles, code or documentation.
    """
    try:
        _print_left_out(folder)
        with connect(server) as client:
            model = client.import_model(
                folder,
                model_id or content_id(folder.resolve().name),
                description=description,
                base=base,
            )
    except (ValueError, NotADirectoryError) as error:
        raise CommandError(str(error)) from error
    _print(model, as_json)


@app.command("list")
def list_(limit: Limit = None, server: Server = None, as_json: Json = False) -> None:
    """List models, newest first."""
    with connect(server) as client:
        models = list(client.list_models(limit=limit))
    if as_json:
        output.print_messages(models)
        return
    rows = [
        (
            m.name,
            m.architecture,
            output.size(m.artifact.size_bytes),
            output.moment(m.create_time),
            m.description,
        )
        for m in models
    ]
    output.print_table(
        ["MODEL", "ARCHITECTURE", "SIZE", "CREATED", "DESCRIPTION"], rows, text=("DESCRIPTION",)
    )


@app.command("get")
def get(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Id or name (`models/…`).")],
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Show a model with its files."""
    with connect(server) as client:
        _print(client.get_model(name), as_json)


app.command("chat")(model_serving.chat)
app.command("serve")(model_serving.serve)


def _print_left_out(folder: Path) -> None:
    """Print the files that are not sent, with the reason.

    Raises:
        NotADirectoryError: There is no such folder.
    """
    out = output.console(stderr=True)
    for path, problem in model_files(folder).left_out.items():
        out.print(output.one_line(f"left out: {path} {problem}"), soft_wrap=True)


def _print(model: model_pb2.Model, as_json: bool) -> None:
    if as_json:
        output.print_json(output.plain(model))
        return
    output.print_fields(
        [
            ("model", model.name),
            ("description", model.description),
            ("architecture", model.architecture),
            ("size", output.size(model.artifact.size_bytes)),
            ("artifact", model.artifact.name),
            ("created", output.moment(model.create_time)),
        ]
    )
    rows = [(file.path, output.size(file.size_bytes), file.sha256) for file in model.artifact.files]
    output.console().print()
    output.print_table(["FILE", "SIZE", "SHA256"], rows)
