"""Reader of Parquet files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tailrace.datasets.readers.row import DataFileError, Row, missing_library
from tailrace.formats.wording import describe

BATCH_ROWS = 128
"""Maximum number of rows in memory at a time, next to the row group's columns."""

BATCH_BYTES = 2 << 30
"""Maximum size of these rows: each may repeat the largest column's whole dictionary."""

MAX_GROUP_BYTES = 2 << 30
"""Maximum size of a row group, unpacked."""

MAX_COLUMNS = 1000
"""Maximum number of columns, nested ones included."""

_MEDIA = {"Image": "images", "Audio": "audio", "Video": "video", "Pdf": "PDF files"}
"""Kinds of column that the library ``datasets`` records, with their content."""


def read_parquet(path: Path) -> Iterator[Row]:
    """Yield the rows of a Parquet file as plain data; dates and times become ISO 8601 text.

    Raises:
        DataFileError: The file is not Parquet, has a column that JSON cannot hold, or ``pyarrow``
            is missing.
        OSError: The file cannot be read.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
        import pyarrow.types as types
    except ModuleNotFoundError as error:
        raise missing_library(error, "Parquet") from error
    number = 0
    with path.open("rb") as source:
        try:
            file = pq.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20)
            _check(file)
            moments = [i for i, f in enumerate(file.schema_arrow) if types.is_temporal(f.type)]
            for batch in file.iter_batches(batch_size=_batch_rows(file), use_threads=False):
                for index in moments:
                    text = batch.column(index).cast(pa.string())
                    batch = batch.set_column(index, batch.schema.names[index], text)
                for values in batch.to_pylist(maps_as_pydicts="strict"):
                    number += 1
                    yield Row(number, values, "row")
        except UnicodeDecodeError as error:
            raise DataFileError(f"has text that is not UTF-8 after row {number}") from error
        except KeyError as error:
            raise DataFileError(f"has a map with a key twice after row {number}") from error
        except RecursionError as error:
            raise DataFileError("has columns that are nested too deeply") from error
        except (pa.ArrowException, OSError) as error:
            raise DataFileError(f"cannot be read as Parquet: {_first_line(error)}") from error


def _check(file: Any) -> None:
    metadata = file.metadata
    if metadata.num_columns > MAX_COLUMNS:
        raise DataFileError(f"has {metadata.num_columns} columns, at most {MAX_COLUMNS} allowed")
    for index in range(metadata.num_row_groups):
        size = metadata.row_group(index).total_byte_size
        if size > MAX_GROUP_BYTES:
            raise DataFileError(
                f"has a row group of {size} bytes, at most {MAX_GROUP_BYTES} allowed: write it "
                "with smaller ones (pyarrow: write_table(…, row_group_size=10000))"
            )
    media = _media_columns(file.schema_arrow)
    for field in file.schema_arrow:
        content = media.get(field.name) or _media_fields(field.type)
        if content:
            raise DataFileError(
                f"has {content} in the column {describe(field.name)}: a dataset holds text only, "
                "so leave the column out"
            )
        problem = _type_problem(field.type)
        if problem:
            raise DataFileError(
                f"has values of the type {problem} in the column {describe(field.name)}: write "
                "them as text or numbers, or leave the column out"
            )


def _batch_rows(file: Any) -> int:
    """Return a number of rows that fit in memory, whatever values their columns repeat."""
    groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
    sizes = (
        group.column(i).total_uncompressed_size
        for group in groups
        for i in range(group.num_columns)
    )
    largest = max((int(size) for size in sizes), default=0)
    return max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, largest)))


def _media_columns(schema: Any) -> dict[str, str]:
    """Return the content of columns of other media, by name, as the writer recorded it."""
    recorded = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(recorded)["info"]["features"]
        return {
            name: _MEDIA[feature["_type"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") in _MEDIA
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _media_fields(kind: Any) -> str:
    """Return the content of a column with the fields that images and audio have."""
    import pyarrow.types as types

    if types.is_list(kind) or types.is_large_list(kind):
        return _media_fields(kind.value_type)
    if not types.is_struct(kind):
        return ""
    names = {kind.field(index).name for index in range(kind.num_fields)}
    return "images or audio (bytes, path)" if names == {"bytes", "path"} else ""


def _type_problem(kind: Any) -> str:
    """Return the name of a type that JSON cannot hold; empty for other types."""
    import pyarrow.types as types

    if any(
        is_kind(kind)
        for is_kind in (
            types.is_null,
            types.is_boolean,
            types.is_integer,
            types.is_floating,
            types.is_string,
            types.is_large_string,
            types.is_string_view,
            types.is_temporal,
        )
    ):
        return str(kind) if types.is_duration(kind) or types.is_interval(kind) else ""
    if types.is_dictionary(kind):
        return _type_problem(kind.value_type)
    if types.is_map(kind):
        text_keys = types.is_string(kind.key_type) or types.is_large_string(kind.key_type)
        return _nested_problem(kind.item_type) if text_keys else str(kind)
    if types.is_struct(kind):
        inner = (_nested_problem(kind.field(i).type) for i in range(kind.num_fields))
        return next(filter(None, inner), "")
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _nested_problem(kind.value_type)
    return str(kind)


def _nested_problem(kind: Any) -> str:
    import pyarrow.types as types

    return str(kind) if types.is_temporal(kind) else _type_problem(kind)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0][:200]
