"""Artifacts and their files."""

from __future__ import annotations

from collections.abc import Iterable

from services.api.convert.values import enum_from_proto, enum_to_proto, timestamp
from services.domain.content.artifact import Artifact
from services.domain.errors import InvalidInput
from services.domain.run import run_name
from tailrace.formats.listing import FileEntry
from tailrace.formats.stage_protocol import ArtifactKind
from tailrace.v1 import artifact_pb2


def files_from_proto(files: Iterable[artifact_pb2.ArtifactFile]) -> list[FileEntry]:
    """Return the entries of a listing, unchecked."""
    return [FileEntry(file.path, file.sha256, file.size_bytes) for file in files]


def kind_from_proto(number: int, field: str = "kind") -> ArtifactKind:
    """Return a kind; raise ``InvalidInput`` at ``field`` if it is unset or unknown."""
    word = enum_from_proto(artifact_pb2.ArtifactKind, number)
    try:
        return ArtifactKind(word)
    except ValueError:
        names = ", ".join(kind.name for kind in ArtifactKind)
        raise InvalidInput.field(field, f"must be one of {names}, not {word}") from None


def artifact_to_proto(artifact: Artifact) -> artifact_pb2.Artifact:
    """Return the message of an artifact."""
    producer = artifact.producer
    return artifact_pb2.Artifact(
        name=artifact.name,
        kind=enum_to_proto(artifact_pb2.ArtifactKind, artifact.kind),
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
        create_time=timestamp(artifact.create_time),
    )
