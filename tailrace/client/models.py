"""Calls of ModelService."""

from __future__ import annotations

from collections.abc import Iterable

from tailrace.client.call import Paged, Unary, resource
from tailrace.v1 import artifact_pb2, model_pb2, model_pb2_grpc

_Stub = model_pb2_grpc.ModelServiceStub


def import_model(
    model_id: str, files: Iterable[artifact_pb2.ArtifactFile], *, description: str = ""
) -> Unary[model_pb2.Model]:
    """Register a model folder whose files are uploaded (:mod:`tailrace.transfer`).

    Raises ``InvalidArgument`` (every unfit file), ``FailedPrecondition`` (a blob is missing),
    ``AlreadyExists`` (the id has other files).
    """
    request = model_pb2.ImportModelRequest(model_id=model_id, description=description, files=files)
    return Unary(lambda channel: _Stub(channel).ImportModel, request)


def get_model(name: str) -> Unary[model_pb2.Model]:
    """A model. Raises ``NotFound``."""
    request = model_pb2.GetModelRequest(name=resource("models", name))
    return Unary(lambda channel: _Stub(channel).GetModel, request)


def list_models(
    *, page_size: int = 0, limit: int | None = None
) -> Paged[model_pb2.ListModelsResponse, model_pb2.Model]:
    """Models, newest first."""
    request = model_pb2.ListModelsRequest(page_size=page_size)
    return Paged(
        lambda channel: _Stub(channel).ListModels, request, lambda page: page.models, limit
    )
