"""Imported models."""

from __future__ import annotations

from collections.abc import Sequence

from services.api.convert.artifact import artifact_to_proto
from services.api.convert.values import timestamp
from services.domain.content.model import AliasMove, Model
from services.usecases.content.promotion import LineageStep
from tailrace.protomap import from_stored
from tailrace.v1 import evaluation_pb2, model_pb2, run_pb2


def model_to_proto(model: Model, aliases: Sequence[str] = ()) -> model_pb2.Model:
    """Return the message of a model."""
    return model_pb2.Model(
        name=model.name,
        description=model.description,
        architecture=model.architecture,
        artifact=artifact_to_proto(model.artifact),
        create_time=timestamp(model.create_time),
        version=model.version,
        run_uid=model.run_uid or "",
        force_reason=model.force_reason,
        aliases=aliases,
    )


def lineage_to_proto(step: LineageStep) -> model_pb2.LineageStep:
    """Return the message of a training on the way to a model."""
    spec = None if step.run is None else step.run.resolved_spec
    gates = (step.run.gates or []) if step.run else []
    return model_pb2.LineageStep(
        run=step.run.name if step.run else "",
        model=step.model,
        base=step.base,
        dataset=(spec.dataset or "") if spec else "",
        method=spec.train.method if spec and spec.train else "",
        scores=[from_stored(evaluation_pb2.JudgeScore, score) for score in step.scores],
        gates=[from_stored(run_pb2.GateResult, gate) for gate in gates],
        teacher=(spec.teacher or "") if spec else "",
    )


def move_to_proto(move: AliasMove) -> model_pb2.AliasMove:
    """Return the message of an alias's move."""
    return model_pb2.AliasMove(
        alias=move.alias,
        from_version=move.from_version,
        to_version=move.to_version,
        time=timestamp(move.time),
    )
