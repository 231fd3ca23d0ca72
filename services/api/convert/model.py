"""Imported models."""

from __future__ import annotations

from services.api.convert.artifact import artifact_to_proto
from services.api.convert.values import timestamp
from services.domain.content.model import Model
from tailrace.v1 import model_pb2


def model_to_proto(model: Model) -> model_pb2.Model:
    """Return the message of a model."""
    return model_pb2.Model(
        name=model.name,
        description=model.description,
        architecture=model.architecture,
        artifact=artifact_to_proto(model.artifact),
        create_time=timestamp(model.create_time),
    )
