"""Calls of EvalSetService."""

from __future__ import annotations

from pathlib import Path

from tailrace.client.call import Paged, Unary, Upload, file_upload, resource
from tailrace.v1 import evalset_pb2, evalset_pb2_grpc

_Stub = evalset_pb2_grpc.EvalSetServiceStub


def import_eval_set(
    eval_set_id: str, source: str | Path | bytes, *, description: str = ""
) -> Upload[evalset_pb2.EvalSet]:
    """Import eval items from a JSON Lines file, or its content as bytes, all or nothing.

    Content equal to the newest version's returns that version. Raises ``InvalidArgument`` (each bad
    line as a violation ``line 17``), ``ResourceExhausted``, ``OSError`` (the file).
    """
    header = evalset_pb2.ImportEvalSetHeader(eval_set_id=eval_set_id, description=description)
    return Upload(
        lambda channel: _Stub(channel).ImportEvalSet,
        file_upload(evalset_pb2.ImportEvalSetRequest, header, source),
    )


def get_eval_set(name: str) -> Unary[evalset_pb2.EvalSet]:
    """An eval set's newest version, or the one of ``name@version``. Raises ``NotFound``."""
    request = evalset_pb2.GetEvalSetRequest(name=resource("evalsets", name))
    return Unary(lambda channel: _Stub(channel).GetEvalSet, request)


def list_eval_sets(
    *, page_size: int = 0, limit: int | None = None
) -> Paged[evalset_pb2.ListEvalSetsResponse, evalset_pb2.EvalSet]:
    """The newest version of every imported eval set, by name."""
    request = evalset_pb2.ListEvalSetsRequest(page_size=page_size)
    return Paged(
        lambda channel: _Stub(channel).ListEvalSets, request, lambda page: page.eval_sets, limit
    )
