"""Versions of datasets, as commands print them."""

from __future__ import annotations

from collections.abc import Iterable

from tailrace.cli.show import output
from tailrace.protomap import enum_word
from tailrace.v1 import dataset_pb2


def print_dataset(
    dataset: dataset_pb2.Dataset, as_json: bool, counts: Iterable[tuple[str, object]] = ()
) -> None:
    """Print a version as aligned fields, with further ones after them, or as JSON."""
    if as_json:
        output.print_json(output.plain(dataset))
        return
    output.print_fields(
        [
            ("dataset", dataset.name),
            ("description", dataset.description),
            ("kind", enum_word(dataset_pb2.DatasetKind.DESCRIPTOR, dataset.kind)),
            ("lines", dataset.line_count),
            ("prompts", dataset.prompt_count),
            ("size", output.size(dataset.size_bytes)),
            ("sha256", dataset.sha256),
            ("artifact", dataset.artifact),
            ("created", output.moment(dataset.create_time)),
            *_lineage(dataset),
            *counts,
        ]
    )


def _lineage(dataset: dataset_pb2.Dataset) -> list[tuple[str, object]]:
    """Return the source of a dataset that was derived from a run, as fields."""
    if not dataset.HasField("lineage"):
        return []
    lineage = dataset.lineage
    judge = f"{lineage.judge}, version {lineage.judge_version}"
    return [("run", lineage.run), ("judge", judge), ("where", lineage.where)]
