"""Dataset versions."""

from __future__ import annotations

from services.api.convert.values import enum_from_proto, enum_to_proto, timestamp
from services.domain.content.dataset import Dataset, DatasetHeader, Lineage
from services.domain.errors import InvalidInput
from tailrace.formats.data.record import DatasetKind
from tailrace.formats.schema import SpecError, parse, to_mapping
from tailrace.protomap import to_mapping as message_to_mapping
from tailrace.v1 import dataset_pb2


def dataset_to_proto(dataset: Dataset) -> dataset_pb2.Dataset:
    """Return the message of a dataset version."""
    return dataset_pb2.Dataset(
        name=dataset.name,
        dataset_id=dataset.id,
        version=dataset.version,
        description=dataset.description,
        line_count=dataset.lines.count,
        prompt_count=dataset.lines.prompt_count,
        size_bytes=dataset.lines.size_bytes,
        sha256=dataset.lines.sha256,
        artifact=f"artifacts/{dataset.artifact_digest}",
        create_time=timestamp(dataset.create_time),
        kind=enum_to_proto(dataset_pb2.DatasetKind, dataset.kind),
        lineage=_lineage(dataset.lineage) if dataset.lineage else None,
    )


def header_from_proto(message: dataset_pb2.ImportDatasetHeader) -> DatasetHeader:
    """Return the header of an import. Raises ``InvalidInput``."""
    kind = None
    if message.kind:
        word = enum_from_proto(dataset_pb2.DatasetKind, message.kind)
        if word not in list(DatasetKind):
            raise InvalidInput.field("header.kind", f"must be one of {', '.join(DatasetKind)}")
        kind = DatasetKind(word)
    lineage = None
    if message.HasField("lineage"):
        try:
            lineage = parse(Lineage, message_to_mapping(message.lineage), "header.lineage")
        except SpecError as error:
            raise InvalidInput(error.violations) from error
    return DatasetHeader(message.dataset_id, message.description, kind, lineage)


def _lineage(lineage: Lineage) -> dataset_pb2.DatasetLineage:
    return dataset_pb2.DatasetLineage(**to_mapping(lineage))
