"""Limits of the messages between clients, workers and the control plane, each defined once.

A field that holds a list, a mapping, text or bytes has a :class:`Bound`, looked up by the names of
message and field (:func:`bound_of`). The messages of a run spec take theirs from its schema. The
control plane checks the whole message before it does anything else with it.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from dataclasses import dataclass
from typing import Any

from tailrace.formats import json_value, listing
from tailrace.formats.broker import MAX_PROBLEM
from tailrace.formats.data.prediction import MAX_GENERATED
from tailrace.formats.spec.infer_spec import MAX_NEW_TOKENS
from tailrace.formats.spec.run_spec import RunSpec

MIB = 1 << 20

MAX_ITEMS = 20_000
"""Maximum number of entries of all lists and mappings in one request, nested ones included."""

SMALL_BYTES = 64 * 1024
"""Largest request, in bytes, of messages that :data:`REQUEST_BYTES` does not list."""

CHUNK_BYTES = MIB
"""Maximum number of content bytes in one message of an upload or a download."""

MAX_PAGE_ENTRIES = 1000
"""Maximum number of entries in one page of a list."""

MAX_ID = 63
"""Maximum length of a resource id, in characters."""

MAX_NAME = 128
"""Maximum length of a resource name, a request id or a metric's name, in characters."""

MAX_HANDLE = 256
"""Maximum length of tokens, cursors and ids that a program chose, in characters."""

MAX_EVENTS = 1000
"""Maximum number of events in one message."""

BATCH_BYTES = MIB
"""Size at which a worker closes a batch of events; a larger event travels alone."""

EVENTS_BYTES = 16 * MIB
"""Largest message of events: a batch, or one prediction, however long it is."""

MAX_LINE_BYTES = 8 * 1024
"""Longest log line, in bytes of UTF-8; the rest is cut off."""

MAX_ERROR_BYTES = 16 * 1024
"""Longest message of a stage's error, in bytes of UTF-8; the rest is cut off."""

MAX_TAIL_LINES = 20
"""Maximum number of lines in the log tail of a stage's error."""

MAX_TAIL_LINE_BYTES = 512
"""Longest line of a log tail, in bytes of UTF-8; the log has the whole line."""

MAX_SLOTS = 1024
"""Maximum number of slots of one worker."""

MAX_POOLS = 64
"""Maximum number of pools of one worker."""

MAX_HOSTNAME = 256
"""Maximum length of a host's name, in characters."""

MAX_VERSIONS = 64
"""Maximum number of programs whose versions a worker reports."""

MAX_VERSION = 256
"""Maximum length of a reported version, in characters."""

MAX_JUDGES = 256
"""Maximum number of judges of one worker in addition to the built-in ones."""

MAX_QUARANTINE_REASON = 500
"""Maximum length of the reason for a slot's quarantine, in characters; the rest is cut off."""

MAX_DESCRIPTION = 1000
"""Maximum length of a description, in characters."""

MAX_GROUPS = 10_000
"""Maximum number of groups in all scores of a JUDGE stage together."""

RESULT_BYTES = 900_000
"""Largest stage result that a worker sends."""

MAX_FILTER = 4000
"""Maximum length of a filter of ListRuns, in characters."""

MAX_CONDITIONS = 32
"""Maximum number of comparisons in a filter, which is that of a run's labels."""

MAX_TOKENS = 2 * MAX_NEW_TOKENS
"""Maximum number of tokens of a prediction: twice what an INFER block may ask for."""

UNCOUNTED_BYTES = 2 * MIB
"""Size above which the fields of a message are counted before it is parsed: a smaller message takes
at most 50 ms, however many empty messages it holds."""

MAX_FIELDS = 60_000
"""Maximum number of fields of a counted message, nested ones included."""

_UPLOAD_BYTES = 4 * MIB
"""Larger than a chunk, so that the error for a chunk that is too large can name the field."""

REQUEST_BYTES = {
    "CreateRunRequest": MIB,
    "ImportModelRequest": MIB,
    "RegisterWorkerRequest": MIB,
    "WorkerHeartbeatRequest": MIB,
    "CompleteStageRequest": MIB,
    "FailStageRequest": MIB,
    "PublishEventsRequest": EVENTS_BYTES,
    "WriteRequest": _UPLOAD_BYTES,
    "ImportDatasetRequest": _UPLOAD_BYTES,
    "ImportEvalSetRequest": _UPLOAD_BYTES,
}
"""Largest request, in bytes, by message name."""


@dataclass(frozen=True)
class Bound:
    """Upper bounds of one field's value."""

    text: int | None = None
    """Maximum length of a text, or of each text of a list or mapping, in characters; bytes for
    ``bytes``."""
    count: int | None = None
    """Maximum number of entries of a list or mapping."""
    key: int | None = None
    """Maximum length of a mapping's keys, in characters."""
    later: bool = False
    """True if the conversion of the message applies the bound, entry by entry: it cuts longer text,
    or reports it together with other violations. ``count`` is always checked before that."""
    free: bool = False
    """True for text that programs write: NUL is replaced by U+FFFD instead of being refused."""
    shallow: bool = False
    """True if entries are neither counted nor checked before the message is converted."""


_ID = Bound(text=MAX_ID)
_NAME = Bound(text=MAX_NAME)
_TOKEN = Bound(text=MAX_HANDLE)
_PAGE_TOKEN = Bound(text=8192)
_DESCRIPTION = Bound(text=MAX_DESCRIPTION)
_FILES = Bound(count=listing.MAX_FILES)
_GENERATED = Bound(text=MAX_GENERATED, free=True)
_LABEL = Bound(text=MAX_NAME, free=True)
_JSON_TEXT = Bound(text=json_value.MAX_TEXT, later=True)
_JSON_ENTRIES = json_value.MAX_VALUES

_BOUNDS: dict[str, dict[str, Bound]] = {
    # RunService
    "CreateRunRequest": {"run_id": _NAME, "request_id": Bound(text=MAX_NAME, later=True)},
    "GetRunRequest": {"name": _NAME},
    "ListRunsRequest": {
        "page_token": _PAGE_TOKEN,
        "filter": Bound(text=MAX_FILTER),
        "order_by": _NAME,
    },
    "CancelRunRequest": {"name": _NAME},
    "RetryRunRequest": {"name": _NAME, "request_id": _NAME},
    "WatchRunRequest": {"name": _NAME},
    "StreamLogsRequest": {
        "name": _NAME,
        "cursor": _TOKEN,
        "stage": _ID,
        "contains": Bound(text=MAX_LINE_BYTES),
    },
    "ListLogLinesRequest": {"name": _NAME, "stage": _ID, "contains": Bound(text=MAX_LINE_BYTES)},
    "StreamMetricsRequest": {
        "name": _NAME,
        "cursor": _TOKEN,
        "metric_names": Bound(count=1000, text=MAX_NAME),
    },
    "ListPredictionsRequest": {"parent": _NAME, "page_token": _PAGE_TOKEN, "eval_set": _NAME},
    "ListVerdictsRequest": {
        "parent": _NAME,
        "page_token": _PAGE_TOKEN,
        "eval_set": _NAME,
        "judge": _ID,
    },
    "CompareRunsRequest": {"names": Bound(count=100, text=MAX_NAME)},
    # StageService
    "RegisterWorkerRequest": {
        "worker_id": _NAME,
        "hostname": Bound(text=MAX_HOSTNAME, free=True),
        "pools": Bound(count=MAX_POOLS, text=MAX_NAME),
        "slots": Bound(count=MAX_SLOTS),
        "versions": Bound(count=MAX_VERSIONS, key=MAX_NAME, text=MAX_VERSION, free=True),
        "judges": Bound(count=MAX_JUDGES, key=MAX_NAME, text=MAX_NAME, free=True),
        "instance_id": _NAME,
    },
    "Slot": {
        "id": _NAME,
        "devices": Bound(count=1024),
        "cores": Bound(count=4096),
        "stage": _TOKEN,
        "quarantine": Bound(text=MAX_QUARANTINE_REASON, later=True, free=True),
    },
    "WorkerHeartbeatRequest": {
        "worker": _NAME,
        "lease_tokens": Bound(count=MAX_SLOTS, text=MAX_HANDLE),
        "quarantine": Bound(
            count=MAX_SLOTS, key=MAX_NAME, text=MAX_QUARANTINE_REASON, later=True, free=True
        ),
        "broker_error": Bound(text=MAX_PROBLEM, later=True, free=True),
        "worker_secret": _TOKEN,
    },
    "AcquireStageRequest": {
        "run_uid": _NAME,
        "stage": _NAME,
        "acquire_id": _TOKEN,
        "worker": _NAME,
        "slot": _NAME,
        "worker_secret": _TOKEN,
    },
    "PublishEventsRequest": {
        "lease_token": _TOKEN,
        "events": Bound(count=MAX_EVENTS, shallow=True),
    },
    "LogRecord": {"text": Bound(text=MAX_LINE_BYTES, later=True, free=True)},
    "MetricPoint": {"name": _LABEL},
    "Progress": {"unit": Bound(text=MAX_ID, later=True, free=True)},
    "CheckpointSaved": {"files": _FILES},
    "RolloutsSaved": {"files": _FILES},
    "ReferenceSaved": {"key": _NAME, "files": _FILES},
    "FindReferenceRequest": {"lease_token": _TOKEN, "key": _NAME},
    "Prediction": {
        "eval_set": _NAME,
        "example_id": _NAME,
        "prompt": _GENERATED,
        "text": _GENERATED,
        "reasoning": _GENERATED,
        "answer": _GENERATED,
        "error": _GENERATED,
        "token_ids": Bound(count=MAX_TOKENS, shallow=True),
        "logprobs": Bound(count=MAX_TOKENS, shallow=True),
    },
    "Verdict": {
        "eval_set": _NAME,
        "example_id": _NAME,
        "judge": _ID,
        "version": _ID,
        "expected": _GENERATED,
        "extracted": _GENERATED,
        "reason": _GENERATED,
        "evidence": _GENERATED,
    },
    "ConfirmDispatchRequest": {"task_id": _NAME},
    "CompleteStageRequest": {
        "lease_token": _TOKEN,
        "artifacts": Bound(count=64),
        "successor_task_id": _NAME,
    },
    "TrainResult": {"model_digest": _NAME, "template_date": _NAME},
    "InferResult": {"template_date": _NAME},
    "JudgeResult": {
        "scores": Bound(count=1000),
        "comparisons": Bound(count=1000),
        "template_date": _NAME,
    },
    "JudgeScore": {
        "judge": _NAME,
        "version": _NAME,
        "eval_set": _NAME,
        "pass_at_k": Bound(count=256),
        "groups": Bound(count=MAX_GROUPS),
    },
    "ScoreGroup": {"value": Bound(text=256, free=True)},
    "JudgeComparison": {"judge": _NAME, "eval_set": _NAME},
    "FailStageRequest": {"lease_token": _TOKEN},
    "StageError": {
        "reason": _NAME,
        "message": Bound(text=MAX_ERROR_BYTES, later=True, free=True),
        "signal": Bound(text=32, later=True, free=True),
        "log_tail": Bound(
            count=MAX_EVENTS, text=MAX_TAIL_LINE_BYTES, later=True, free=True, shallow=True
        ),
    },
    "ReleaseStageRequest": {"lease_token": _TOKEN, "reason": _NAME},
    # FleetService
    "ListWorkersRequest": {"page_token": _PAGE_TOKEN},
    "GetWorkerRequest": {"name": _NAME},
    "DrainWorkerRequest": {"name": _NAME},
    "UndrainWorkerRequest": {"name": _NAME},
    "ForgetWorkerRequest": {"name": _NAME},
    "RevokeWorkerCertificateRequest": {"name": _NAME},
    # ArtifactService
    "WriteRequest": {"resource_name": _TOKEN, "data": Bound(text=CHUNK_BYTES)},
    "QueryWriteStatusRequest": {"resource_name": _TOKEN},
    "ReadRequest": {"resource_name": _TOKEN},
    "GetArtifactRequest": {"name": _NAME},
    "ListArtifactsRequest": {"parent": _NAME, "page_token": _PAGE_TOKEN},
    "Artifact": {"name": _NAME, "files": _FILES, "run": _NAME, "stage": _NAME},
    "ArtifactFile": {"path": Bound(text=listing.MAX_PATH_BYTES, later=True), "sha256": _NAME},
    # ModelService, DatasetService, EvalSetService, BaselineService
    "ImportModelRequest": {"model_id": _NAME, "description": _DESCRIPTION, "files": _FILES},
    "GetModelRequest": {"name": _NAME},
    "ListModelsRequest": {"page_token": _PAGE_TOKEN},
    "PromoteModelRequest": {
        "run": _NAME,
        "model_id": _NAME,
        "description": _DESCRIPTION,
        "reason": _DESCRIPTION,
    },
    "SetModelAliasRequest": {"name": _NAME, "alias": _NAME},
    "DeleteModelRequest": {"name": _NAME},
    "SeedDatasetRequest": {"dataset_id": _NAME},
    "ImportDatasetRequest": {"data": Bound(text=CHUNK_BYTES)},
    "ImportDatasetHeader": {"dataset_id": _NAME, "description": _DESCRIPTION},
    "DatasetLineage": {
        "run": _NAME,
        "judge": _ID,
        "judge_version": _NAME,
        "where": Bound(text=MAX_FILTER),
    },
    "GetDatasetRequest": {"name": _NAME},
    "ListDatasetsRequest": {"page_token": _PAGE_TOKEN},
    "ExportDatasetRequest": {"name": _NAME},
    "ImportEvalSetRequest": {"data": Bound(text=CHUNK_BYTES)},
    "ImportEvalSetHeader": {"eval_set_id": _NAME, "description": _DESCRIPTION},
    "GetEvalSetRequest": {"name": _NAME},
    "ListEvalSetsRequest": {"page_token": _PAGE_TOKEN},
    "SetBaselineRequest": {"name": _NAME, "run": _NAME, "description": _DESCRIPTION},
    "GetBaselineRequest": {"name": _NAME},
    "ListBaselinesRequest": {"page_token": _PAGE_TOKEN},
    "DeleteBaselineRequest": {"name": _NAME},
    # ProjectService
    "CreateProjectRequest": {"project_id": _NAME},
    "Project": {"name": _NAME, "description": _DESCRIPTION},
    "GetProjectRequest": {"name": _NAME},
    "ListProjectsRequest": {"page_token": _PAGE_TOKEN},
    "DeleteProjectRequest": {"name": _NAME},
    # TokenService
    "CreateTokenRequest": {},
    "Token": {
        "name": _NAME,
        "description": _DESCRIPTION,
        "scopes": Bound(count=8),
        "project": _NAME,
        "worker": _NAME,
        "pools": Bound(count=MAX_POOLS, text=MAX_NAME),
    },
    "ListTokensRequest": {"page_token": _PAGE_TOKEN},
    "RevokeTokenRequest": {"name": _NAME},
    # SessionService
    "GetLoginOptionsRequest": {},
    "CreateSessionRequest": {"nonce": Bound(text=MAX_HANDLE)},
    "EndSessionRequest": {"name": _NAME},
    # QuotaService
    "GetQuotasRequest": {"name": _NAME},
    "SetQuotasRequest": {"name": _NAME, "changes": Bound(count=32)},
    "SumUsageRequest": {"label": _NAME},
    # AuditService
    "ListAuditEventsRequest": {
        "filter": Bound(text=MAX_FILTER),
        "order_by": _NAME,
        "page_token": _PAGE_TOKEN,
    },
    "GetAuditChainRequest": {},
    # JSON that users write
    "Struct": {"fields": Bound(count=_JSON_ENTRIES, key=json_value.MAX_TEXT, later=True)},
    "Value": {"string_value": _JSON_TEXT},
    "ListValue": {"values": Bound(count=_JSON_ENTRIES)},
}

NEWER_ENUMS = frozenset(
    {
        "Slot.accelerator",
        "ScoreGroup.by",
        "JudgeComparison.kind",
        "JudgeComparison.test",
        "Prediction.finish_reason",
    }
)
"""Enum fields of workers' reports whose unknown values are cleared instead of refused: they only
describe, and a worker one release newer must not lose its result because of them."""


def bound_of(message: str, field: str) -> Bound | None:
    """Return the bound of a field that holds a list, a mapping, text or bytes, or ``None``."""
    return _BOUNDS.get(message, {}).get(field) or _spec_bounds().get(message, {}).get(field)


def request_bytes(message: str) -> int:
    """Return the size of the largest request of this message, in bytes."""
    return REQUEST_BYTES.get(message, SMALL_BYTES)


@functools.cache
def _spec_bounds() -> dict[str, dict[str, Bound]]:
    """Return the bounds of run specs, whose messages and fields have the names of the schema."""
    bounds: dict[str, dict[str, Bound]] = {}
    schemas: list[type[Any]] = [RunSpec]
    while schemas:
        schema = schemas.pop()
        hints = typing.get_type_hints(schema)
        bounds[schema.__name__] = {
            field.name: _bound_of_key(field, hints[field.name])
            for field in dataclasses.fields(schema)
        }
        schemas += [inner for hint in hints.values() for inner in _schemas_in(hint)]
    return bounds


def _bound_of_key(field: dataclasses.Field[Any], hint: Any) -> Bound:
    rule = field.metadata["rule"]
    kind = typing.get_origin(hint)
    if kind is list:
        return Bound(count=rule.max_length, text=rule.item_length or 256, later=True)
    if kind is dict:
        return Bound(count=rule.max_length, key=63, text=rule.item_length or 256, later=True)
    return Bound(text=rule.max_length or 256, later=True)


def _schemas_in(hint: Any) -> list[type[Any]]:
    """Return the schemas that the type of a key contains, in a list or an optional, too."""
    if dataclasses.is_dataclass(hint):
        return [typing.cast(type[Any], hint)]
    return [schema for inner in typing.get_args(hint) for schema in _schemas_in(inner)]
