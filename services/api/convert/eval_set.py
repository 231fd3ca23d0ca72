"""Eval set versions."""

from __future__ import annotations

from services.api.convert.values import timestamp
from services.domain.content.eval_set import EvalSet
from tailrace.v1 import evalset_pb2


def eval_set_to_proto(eval_set: EvalSet) -> evalset_pb2.EvalSet:
    """Return the message of an eval set version."""
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
        create_time=timestamp(eval_set.create_time),
    )
