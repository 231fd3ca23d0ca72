"""``tailrace datasets import`` and ``convert``: files of users become canonical lines."""

from __future__ import annotations

import enum
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from tailrace.cli.errors import CommandError
from tailrace.cli.options import ContentId, Description, Json, Server, connect, content_id
from tailrace.cli.show import output
from tailrace.cli.show.datasets import print_dataset
from tailrace.cli.show.progress import bytes_progress, count_progress
from tailrace.datasets import hub
from tailrace.datasets.importing import Conversion, convert_file
from tailrace.datasets.readers.formats import DATA_SUFFIXES, PACKED_SUFFIXES
from tailrace.formats.data.record import DatasetKind

_AUTO = "auto"

RowFormat = enum.StrEnum(  # type: ignore[misc]
    "RowFormat", {"AUTO": _AUTO, **{kind.name: kind.value for kind in DatasetKind}}
)
"""A kind of records, or ``auto`` to detect it."""

_DETECTED = RowFormat(_AUTO)


SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="JSON Lines, a JSON array, CSV or Parquet (text also as .gz or .zst), a folder of "
        "them, or hf://datasets/ORG/NAME, also with @REVISION and /PATH.",
    ),
]

FormatOption = Annotated[
    RowFormat,
    typer.Option(
        "--format",
        metavar="KIND",
        help=f"Kind of the rows: {', '.join(RowFormat)}; auto detects it and says why.",
    ),
]

MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="FIELD=COLUMN",
        help="Column that a field is read from, such as prompt=question; drop=A,B leaves "
        "columns out; repeatable.",
    ),
]

SplitOption = Annotated[
    str | None,
    typer.Option(
        "--split", metavar="NAME", help="Split of a folder, such as train (default: the only)."
    ),
]


def import_(
    context: typer.Context,
    source: SourceArgument,
    dataset_id: ContentId = None,
    row_format: FormatOption = _DETECTED,
    mapping: MapOption = None,
    split: SplitOption = None,
    description: Description = "",
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Import a dataset, all or nothing; changed content becomes the next version.

    The rows are converted to canonical JSON Lines on this machine. A file of canonical lines is
    stored byte for byte.
    """
    if context.args:
        # Formerly the id came before the file.
        former = f"{context.args[0]} --id {source}"
        raise CommandError(f"the id is an option now: tailrace datasets import {former}")
    name = dataset_id or default_id(source)
    with tempfile.TemporaryDirectory(prefix="tailrace-import-") as folder:
        conversion = _convert(source, Path(folder), row_format.value, mapping or [], split)
        _report(conversion)
        size = conversion.path.stat().st_size
        with connect(server) as client, bytes_progress("upload", size) as update:
            dataset = client.import_dataset(
                name,
                conversion.path,
                description=described(description, conversion.origin),
                kind=conversion.kind,
                on_bytes=update,
            )
    print_dataset(dataset, as_json)


def convert(
    source: SourceArgument,
    target: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="File to write.")],
    row_format: FormatOption = _DETECTED,
    mapping: MapOption = None,
    split: SplitOption = None,
    as_json: Json = False,
) -> None:
    """Write a source as canonical JSON Lines, without a server: the lines that import stores.

    Commands that work without a server read such files. If a row is wrong, nothing is written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tailrace-convert-", dir=target.parent) as folder:
        conversion = _convert(source, Path(folder), row_format.value, mapping or [], split)
        _report(conversion)
        lines = Path(folder) / "lines.jsonl"
        if conversion.path != lines:
            shutil.copyfile(conversion.path, lines)
        lines.replace(target)
    if as_json:
        facts = {"file": str(target), "kind": str(conversion.kind), "lines": conversion.lines}
        output.print_json(facts)
        return
    output.print_fields(
        [("file", str(target)), ("kind", str(conversion.kind)), ("lines", conversion.lines)]
    )


def _convert(
    source: str, folder: Path, row_format: str, mapping: Sequence[str], split: str | None
) -> Conversion:
    kind = None if row_format == _AUTO else row_format
    columns = read_mapping(mapping)
    with count_progress("read", "rows") as update:
        return convert_file(
            source,
            folder / "lines.jsonl",
            kind=kind,
            mapping=columns,
            split=split,
            on_rows=update,
        )


def _report(conversion: Conversion) -> None:
    """Print the facts about the conversion on standard error, apart from the result."""
    console = output.console(stderr=True)
    for line in (conversion.source, conversion.reason, conversion.note):
        if line:
            console.print(output.one_line(line), soft_wrap=True)


def read_mapping(options: Sequence[str]) -> dict[str, str]:
    """Return the columns of ``FIELD=COLUMN`` options by field.

    Raises:
        CommandError: An option is not of this form, or repeats a field.
    """
    mapping: dict[str, str] = {}
    for option in options:
        field, equals, column = option.partition("=")
        if not (field and equals and column):
            raise CommandError(f"--map {option!r} is not of the form FIELD=COLUMN")
        if field in mapping:
            raise CommandError(f"--map {field} occurs twice")
        mapping[field] = column
    return mapping


def default_id(source: str) -> str:
    """Return the id for a source: its name without the suffixes of data files.

    Raises:
        CommandError: The name has no letter that an id can begin with.
    """
    if source.startswith(hub.SCHEME):
        return content_id(hub.parse_url(source).repository.rpartition("/")[2])
    path = PurePosixPath(Path(source).resolve().name)
    if path.suffix.lower() in PACKED_SUFFIXES and len(path.suffixes) > 1:
        path = PurePosixPath(path.stem)
    is_folder = Path(source).is_dir() and path.suffix.lower() not in DATA_SUFFIXES
    return content_id(path.name if is_folder else path.stem)


def described(description: str, origin: str) -> str:
    """Return a description with the origin of the data, so that the commit is recorded."""
    if not origin:
        return description
    return f"{description} ({origin})" if description else origin
