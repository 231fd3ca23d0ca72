"""Messages of artifacts, datasets, eval sets and models from and to the domain."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from services.domain.content.artifact import Artifact
from services.domain.content.dataset import Dataset
from services.domain.content.eval_set import EvalSet
from services.domain.content.model import Model
from services.domain.errors import InvalidInput
from services.domain.run import run_name
from tailrace.formats.listing import FileEntry
from tailrace.formats.stage_protocol import ArtifactKind
from tailrace.protomap import enum_number, enum_word
from tailrace.v1 import artifact_pb2, dataset_pb2, evalset_pb2, model_pb2

_KIND = artifact_pb2.ArtifactKind.DESCRIPTOR


def files_from_proto(files: Iterable[artifact_pb2.ArtifactFile]) -> list[FileEntry]:
    """The entries of a listing, unchecked."""
    return [FileEntry(file.path, file.sha256, file.size_bytes) for file in files]


def kind_from_proto(number: int, field: str = "kind") -> ArtifactKind:
    """The kind; raises ``InvalidInput`` at ``field`` for one that is unset or unknown."""
    word = enum_word(_KIND, number)
    try:
        return ArtifactKind(word)
    except ValueError:
        known = ", ".join(kind.name for kind in ArtifactKind)
        raise InvalidInput.field(field, f"must be one of {known}, not {word}") from None


def kind_to_proto(kind: ArtifactKind) -> artifact_pb2.ArtifactKind.ValueType:
    """The enum value of a kind."""
    return artifact_pb2.ArtifactKind.ValueType(enum_number(_KIND, kind.value))


def artifact_to_proto(artifact: Artifact) -> artifact_pb2.Artifact:
    """The message of an artifact."""
    producer = artifact.producer
    return artifact_pb2.Artifact(
        name=artifact.name,
        kind=kind_to_proto(artifact.kind),
        files=[
            artifact_pb2.ArtifactFile(
                path=file.path, sha256=file.sha256, size_bytes=file.size_bytes
            )
            for file in artifact.listing.files
        ],
        size_bytes=artifact.listing.size_bytes,
        run=run_name(producer.run_id) if producer else "",
        stage=producer.stage if producer else "",
        attempt=producer.attempt if producer else 0,
        step=artifact.step,
        create_time=_timestamp(artifact.create_time),
    )


def dataset_to_proto(dataset: Dataset) -> dataset_pb2.Dataset:
    """The message of a dataset version."""
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
        create_time=_timestamp(dataset.create_time),
    )


def eval_set_to_proto(eval_set: EvalSet) -> evalset_pb2.EvalSet:
    """The message of an eval set's version."""
    return evalset_pb2.EvalSet(
        name=eval_set.name,
        eval_set_id=eval_set.id,
        version=eval_set.version,
        description=eval_set.description,
        item_count=eval_set.lines.count,
        prompt_count=eval_set.lines.prompt_count,
        size_bytes=eval_set.lines.size_bytes,
        sha256=eval_set.lines.sha256,
        artifact=f"artifacts/{eval_set.artifact_digest}",
        create_time=_timestamp(eval_set.create_time),
    )


def model_to_proto(model: Model) -> model_pb2.Model:
    """The message of a model."""
    return model_pb2.Model(
        name=model.name,
        description=model.description,
        architecture=model.architecture,
        artifact=artifact_to_proto(model.artifact),
        create_time=_timestamp(model.create_time),
    )


def _timestamp(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message
