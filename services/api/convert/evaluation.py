"""Predictions and verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.api.convert.shorten import shorten
from services.api.convert.values import plain
from services.domain.errors import InvalidInput
from services.domain.event import Evaluation
from services.request_limits import find_violations
from tailrace.formats.schema import Violation
from tailrace.protomap import from_stored
from tailrace.v1 import evaluation_pb2


def prediction_to_proto(body: dict[str, Any]) -> evaluation_pb2.Prediction:
    """Return the message of a prediction."""
    return shorten(from_stored(evaluation_pb2.Prediction, body))


def verdict_to_proto(body: dict[str, Any]) -> evaluation_pb2.Verdict:
    """Return the message of a verdict."""
    return shorten(from_stored(evaluation_pb2.Verdict, body))


def evaluation_from_proto(
    message: evaluation_pb2.Prediction | evaluation_pb2.Verdict, field: str
) -> Evaluation:
    """Return a prediction or verdict of a worker. Raises ``InvalidInput`` below ``field``."""
    violations = find_violations(message, field)
    body = plain(message, field)
    keys: Iterable[str] = ("eval_set", "example_id", "model_role")
    judge = None
    if isinstance(message, evaluation_pb2.Verdict):
        keys = (*keys, "judge", "outcome")
        judge = message.judge
    violations += [Violation(f"{field}.{key}", "is required") for key in keys if key not in body]
    if violations:
        raise InvalidInput(violations)
    key = (body["eval_set"], body["example_id"], body["model_role"], message.sample)
    return Evaluation(key, body, judge)
