"""Calls of EvalSetService."""

from __future__ import annotations

from pathlib import Path

from tailrace.client.call import Paged, Unary, Upload, file_upload, resource
from tailrace.v1 import evalset_pb2, evalset_pb2_grpc

_Stub = evalset_pb2_grpc.EvalSetServiceStub


def import_eval_set(
    eval_set_id: str, source: str | Path | bytes, *, description: str = ""
) -> Upload[evalset_pb2.EvalSet]:
    """Import eval items, all or nothing, as the next version of an eval set.

    Content equal to that of the newest version returns that version.

    Args:
        eval_set_id: Id of the eval set.
        source: Path of a JSON Lines file, or its content as bytes.
        description: Free text.

    Raises:
        InvalidArgument: Lines that are not eval items, each as a violation of ``line 17``.
        ResourceExhausted: The content is larger than the server allows.
        OSError: The file cannot be read.
    """
    header = evalset_pb2.ImportEvalSetHeader(eval_set_id=eval_set_id, description=description)
    return Upload(
        lambda channel: _Stub(channel).ImportEvalSet,
        file_upload(evalset_pb2.ImportEvalSetRequest, header, source),
    )


def get_eval_set(name: str) -> Unary[evalset_pb2.EvalSet]:
    """Return an eval set's newest version, or the one of ``name@version``.

    Raises:
        NotFound: There is no such eval set or version.
    """
    request = evalset_pb2.GetEvalSetRequest(name=resource("evalsets", name))
    return Unary(lambda channel: _Stub(channel).GetEvalSet, request)


def list_eval_sets(
    *, page_size: int = 0, limit: int | None = None
) -> Paged[evalset_pb2.ListEvalSetsResponse, evalset_pb2.EvalSet]:
    """Iterate over the newest version of every imported eval set, sorted by name."""
    request = evalset_pb2.ListEvalSetsRequest(page_size=page_size)
    return Paged(
        lambda channel: _Stub(channel).ListEvalSets, request, lambda page: page.eval_sets, limit
    )
