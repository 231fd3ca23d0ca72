"""Calls of ModelService, and the import of a model folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tailrace.client.call import Paged, Transfer, Unary, resource
from tailrace.transfer.steps import Job, Request
from tailrace.v1 import artifact_pb2, model_pb2, model_pb2_grpc

_Stub = model_pb2_grpc.ModelServiceStub


def import_model(
    folder: str | Path, model_id: str = "", *, description: str = "", base: str = ""
) -> Transfer[model_pb2.Model]:
    """Upload a model folder in Hugging Face layout; runs then name it ``models/ID``.

    Hidden files and files that do not belong to a model, such as pickles and code, are left out.
    Content that the server has is not sent again, and an upload that broke off continues.

    Args:
        folder: Folder with ``config.json``, safetensors weights and tokenizer files, or a PEFT
            adapter's.
        model_id: Id of the model (default: the folder's name).
        description: Free text.
        base: Name of an adapter's base model, ``models/ID`` (default: the one that its
            configuration names).

    Raises:
        ValueError: The folder is not a model folder; the message names what it lacks.
        OSError: A file cannot be read.
        InvalidArgument: Files that the server refuses, as violations.
        NotFound: There is no such base model.
        AlreadyExists: The id belongs to a model with other files.
    """

    def job() -> Job[model_pb2.Model]:
        from tailrace.transfer.model_folder import import_folder

        return import_folder(Path(folder), register, find_base, base)

    def register(files: list[artifact_pb2.ArtifactFile]) -> Request:
        name = model_id or Path(folder).resolve().name
        call = register_model(name, files, description=description)
        return Request(call.method, call.request)

    def find_base(name: str) -> Request:
        call = get_model(name)
        return Request(call.method, call.request)

    return Transfer(job)


def register_model(
    model_id: str, files: Iterable[artifact_pb2.ArtifactFile], *, description: str = ""
) -> Unary[model_pb2.Model]:
    """Register a model whose files were uploaded with :func:`tailrace.transfer.upload_folder`.

    Raises:
        InvalidArgument: Files that the server refuses, as violations.
        FailedPrecondition: A file was not uploaded.
        AlreadyExists: The id belongs to a model with other files.
    """
    request = model_pb2.ImportModelRequest(model_id=model_id, description=description, files=files)
    return Unary(lambda channel: _Stub(channel).ImportModel, request)


def get_model(name: str) -> Unary[model_pb2.Model]:
    """Return a version of a model with its lineage and the history of its aliases.

    ``name`` is ``models/ID`` for the newest version, or ends with ``@VERSION`` or ``@ALIAS``.

    Raises:
        NotFound: There is no such model, version or alias.
    """
    request = model_pb2.GetModelRequest(name=resource("models", name))
    return Unary(lambda channel: _Stub(channel).GetModel, request)


def promote_model(
    run: str, model_id: str, *, description: str = "", force: bool = False, reason: str = ""
) -> Unary[model_pb2.Model]:
    """Make the final model of a run the next version of a model.

    Args:
        run: Id or name of a run that has succeeded.
        model_id: Id of the model; specs name its versions ``models/ID@VERSION``.
        description: Free text.
        force: Promote a run without gates, or one that does not pass them.
        reason: Reason, required with ``force``.

    Raises:
        NotFound: There is no such run.
        FailedPrecondition: The run has not succeeded, trains no model, or has not passed gates.
    """
    request = model_pb2.PromoteModelRequest(
        run=resource("runs", run),
        model_id=model_id,
        description=description,
        force=force,
        reason=reason,
    )
    return Unary(lambda channel: _Stub(channel).PromoteModel, request)


def set_model_alias(name: str, alias: str, version: int) -> Unary[model_pb2.Model]:
    """Move an alias of a model to a version, and return that version; 0 removes the alias.

    Raises:
        NotFound: There is no such model or version.
    """
    request = model_pb2.SetModelAliasRequest(
        name=resource("models", name), alias=alias, version=version
    )
    return Unary(lambda channel: _Stub(channel).SetModelAlias, request)


def delete_model(name: str, *, allow_missing: bool = False) -> Unary[model_pb2.DeleteModelResponse]:
    """Delete a version of a model, or a model with all its versions and aliases.

    Args:
        name: ``models/ID`` for every version, ``models/ID@VERSION`` for one.
        allow_missing: Succeed if there is no such model or version.

    Raises:
        NotFound: There is no such model or version.
        FailedPrecondition: Unfinished runs use it, or aliases refer to the version.
    """
    request = model_pb2.DeleteModelRequest(
        name=resource("models", name), allow_missing=allow_missing
    )
    return Unary(lambda channel: _Stub(channel).DeleteModel, request)


def list_models(
    *, page_size: int = 0, limit: int | None = None
) -> Paged[model_pb2.ListModelsResponse, model_pb2.Model]:
    """Iterate over the versions of models, newest first."""
    request = model_pb2.ListModelsRequest(page_size=page_size)
    return Paged(
        lambda channel: _Stub(channel).ListModels, request, lambda page: page.models, limit
    )
