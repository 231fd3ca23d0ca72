"""Dataset versions."""

from __future__ import annotations

from services.api.convert.values import timestamp
from services.domain.content.dataset import Dataset
from tailrace.v1 import dataset_pb2


def dataset_to_proto(dataset: Dataset) -> dataset_pb2.Dataset:
    """Return the message of a dataset version."""
    return dataset_pb2.Dataset(
        name=dataset.name,
        dataset_id=dataset.id,
        version=dataset.version,
        description=dataset.description,
        trace_count=dataset.lines.count,
        prompt_count=dataset.lines.prompt_count,
        size_bytes=dataset.lines.size_bytes,
        sha256=dataset.lines.sha256,
        artifact=f"artifacts/{dataset.artifact_digest}",
        create_time=timestamp(dataset.create_time),
    )
