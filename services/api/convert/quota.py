"""Quotas and usage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.api.convert.values import enum_from_proto, enum_to_proto
from services.domain.errors import InvalidInput
from services.domain.quota import Quota, Usage, UsageGroup
from services.usecases.quotas.manage import Change, QuotaState
from tailrace.formats.schema import Violation
from tailrace.v1 import quota_pb2


def quotas_to_proto(project: str, states: Iterable[QuotaState]) -> quota_pb2.Quotas:
    """Return the message of a project's quotas."""
    return quota_pb2.Quotas(
        name=f"projects/{project}/quotas",
        quotas=[
            quota_pb2.Quota(
                kind=enum_to_proto(quota_pb2.QuotaKind, state.quota.name),
                limit=state.limit,
                overridden=state.overridden,
                use=state.use,
            )
            for state in states
        ],
    )


def changes_of(messages: Sequence[quota_pb2.QuotaChange]) -> list[Change]:
    """Return the changes of a request; raise ``InvalidInput`` for incomplete ones."""
    changes: list[Change] = []
    violations: list[Violation] = []
    for position, message in enumerate(messages):
        target = message.WhichOneof("to")
        if not message.kind:
            violations.append(Violation(f"changes[{position}].kind", "must be set"))
        elif target is None or (target != "limit" and not getattr(message, target)):
            advice = "must have a limit, or unlimited or reset set to true"
            violations.append(Violation(f"changes[{position}]", advice))
        else:
            quota = Quota(enum_from_proto(quota_pb2.QuotaKind, message.kind))
            limit = message.limit if target == "limit" else None
            changes.append(Change(quota, limit, reset=target == "reset"))
    if violations:
        raise InvalidInput(violations)
    return changes


def group_of(number: int) -> UsageGroup:
    """Return what a request sums up by; raise ``InvalidInput`` if it is not set."""
    if not number:
        raise InvalidInput.field("group_by", "must be set")
    return UsageGroup(enum_from_proto(quota_pb2.UsageGroup, number))


def usage_to_proto(usage: Usage) -> quota_pb2.Usage:
    """Return the message of one key's usage."""
    return quota_pb2.Usage(
        key=usage.key,
        slot_seconds=usage.slot_seconds,
        tokens_trained=usage.tokens_trained,
        tokens_generated=usage.tokens_generated,
        stored_bytes=usage.stored_bytes,
    )
