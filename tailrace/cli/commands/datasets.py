"""``tailrace datasets``: built-in and imported datasets."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli import exit_codes
from tailrace.cli.commands.dataset import derive, import_file, inspect_lines, preview_examples
from tailrace.cli.errors import CommandError
from tailrace.cli.options import (
    ONE_TRY,
    Json,
    Limit,
    Server,
    connect,
    is_on_command_line,
)
from tailrace.cli.show import output
from tailrace.cli.show.datasets import print_dataset
from tailrace.errors import Unavailable
from tailrace.formats.data import golden
from tailrace.protomap import enum_word
from tailrace.v1 import dataset_pb2

app = typer.Typer(help="Built-in and imported datasets.", no_args_is_help=True)

FILES = Path("datasets")
"""Default folder of the files that ``seed`` writes; ``training/`` reads it, too."""

_KIND = dataset_pb2.DatasetKind.DESCRIPTOR

DatasetName = Annotated[
    str, typer.Argument(metavar="DATASET", help="`name` (newest version) or `name@version`.")
]


@app.command("seed")
def seed(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="DATASET", help="Built-in dataset.")] = golden.NAME,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder for the files; no server is asked unless --server names one.",
        ),
    ] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Write the files of a built-in dataset and store its version on the server.

    Without --output the files are written to datasets/ and the server stores a version as well; if
    --server is not given and no server answers, only the files are written. Repeating it changes
    nothing.
    """
    if name != golden.NAME:
        raise CommandError(
            f"{name!r} is not a built-in dataset: must be {golden.NAME}", exit_codes.NOT_FOUND
        )
    uses_server = folder is None or is_on_command_line(context, "server")
    stored = _seed_server(name, server) if uses_server else None
    files = golden.write_golden_v2(folder or FILES)
    if as_json:
        output.print_json(
            {
                "dataset": str(files.dataset),
                "manifest": str(files.manifest),
                "changed": files.changed,
                "stored": output.plain(stored) if stored else None,
            }
        )
        return
    done = "written" if files.changed else "exists, unchanged"
    fields = [("dataset", f"{files.dataset} ({done})"), ("manifest", str(files.manifest))]
    if stored:
        fields.append(("server", f"{stored.name}, {stored.line_count} lines"))
    output.print_fields(fields)


def _seed_server(name: str, server: str | None) -> dataset_pb2.Dataset | None:
    with connect(server, None if server else ONE_TRY) as client:
        try:
            return client.seed_dataset(name)
        except Unavailable:
            if server:
                raise
            note = f"no control plane at {client.server}: only the files are written"
            output.console(stderr=True).print(note)
            return None


app.command("import", context_settings={"allow_extra_args": True})(import_file.import_)
app.command("convert")(import_file.convert)


@app.command("list")
def list_(limit: Limit = None, server: Server = None, as_json: Json = False) -> None:
    """List the newest version of every dataset."""
    with connect(server) as client:
        datasets = list(client.list_datasets(limit=limit))
    if as_json:
        output.print_messages(datasets)
        return
    rows = [
        (
            d.name.removeprefix("datasets/"),
            enum_word(_KIND, d.kind),
            d.line_count,
            d.prompt_count,
            output.size(d.size_bytes),
            output.moment(d.create_time),
            d.description,
        )
        for d in datasets
    ]
    output.print_table(
        ["DATASET", "KIND", "LINES", "PROMPTS", "SIZE", "CREATED", "DESCRIPTION"],
        rows,
        text=("DESCRIPTION",),
    )


@app.command("get")
def get(name: DatasetName, server: Server = None, as_json: Json = False) -> None:
    """Show a dataset version."""
    with connect(server) as client:
        print_dataset(client.get_dataset(name), as_json)


@app.command("export")
def export(
    name: DatasetName,
    file: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="File to write (default: standard output)."
        ),
    ] = None,
    server: Server = None,
) -> None:
    """Write the JSON lines of a version, byte for byte as stored."""
    with connect(server) as client:
        chunks = client.export_dataset(name)
        if file is None:
            for chunk in chunks:
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        # A broken transfer leaves an existing file unchanged.
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as part:
            try:
                part.writelines(chunks)
                part.close()
                Path(part.name).replace(file)
            finally:
                Path(part.name).unlink(missing_ok=True)


app.command("head")(inspect_lines.head)
app.command("stats")(inspect_lines.stats)
app.command("split")(inspect_lines.split)
app.command("preview")(preview_examples.preview)
app.command("derive")(derive.derive_)
