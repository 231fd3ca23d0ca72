"""Limits of requests hold before anything else is done with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import struct_pb2

from services.domain.errors import InvalidInput, ResourceExhausted
from services.request_limits import _rules, check_request, parse_request
from services.server import SERVICES
from tailrace.formats.limits import (
    EVENTS_BYTES,
    MAX_DESCRIPTION,
    MAX_FIELDS,
    MAX_ITEMS,
    MAX_SLOTS,
    SMALL_BYTES,
    UNCOUNTED_BYTES,
)
from tailrace.v1 import (
    artifact_pb2,
    baseline_pb2,
    evaluation_pb2,
    run_pb2,
    run_spec_pb2,
    stage_pb2,
    worker_pb2,
)


def requests() -> Iterator[Any]:
    """The descriptors of all requests."""
    pool = run_pb2.DESCRIPTOR.pool
    for name in SERVICES:
        for method in pool.FindServiceByName(name).methods:
            yield method.input_type


def reachable() -> dict[str, Any]:
    """The descriptors of all messages that requests hold, by name."""
    seen: dict[str, Any] = {}
    waiting = list(requests())
    while waiting:
        descriptor = waiting.pop()
        if descriptor.full_name not in seen:
            seen[descriptor.full_name] = descriptor
            waiting += [f.message_type for f in descriptor.fields if f.message_type is not None]
    return seen


def violations(message: Any) -> dict[str, str]:
    """The fields that are refused, with the reasons."""
    with pytest.raises(InvalidInput) as refused:
        check_request(message)
    return {v.field: v.description for v in refused.value.violations}


@pytest.mark.parametrize("descriptor", reachable().values(), ids=reachable())
def test_every_list_mapping_and_text_of_every_request_has_a_bound(descriptor: Any) -> None:
    if not descriptor.GetOptions().map_entry:
        # Raises for a field that has none.
        _rules(descriptor)


def test_names_of_messages_are_unique() -> None:
    names = [name.rpartition(".")[2] for name in reachable() if not name.endswith("Entry")]
    assert len(names) > 60
    assert len(names) == len({*names})


def test_bytes_are_checked_before_parsing() -> None:
    def parse(raw: bytes) -> Any:
        raise AssertionError("parsed")

    raw = b"\x0a" * (SMALL_BYTES + 1)
    with pytest.raises(ResourceExhausted, match=f"{SMALL_BYTES + 1} bytes, at most {SMALL_BYTES}"):
        parse_request(raw, run_pb2.GetRunRequest.DESCRIPTOR, parse)


@pytest.mark.parametrize(
    "raw",
    [
        # Events without content, and one checkpoint with empty files.
        b"\x1a\x00" * (UNCOUNTED_BYTES // 2 + 1),
        stage_pb2.PublishEventsRequest(
            events=[
                stage_pb2.StageEvent(
                    checkpoint=stage_pb2.CheckpointSaved(
                        files=[artifact_pb2.ArtifactFile()] * (UNCOUNTED_BYTES // 2)
                    )
                )
            ]
        ).SerializeToString(),
    ],
    ids=["events", "files"],
)
def test_the_fields_of_a_large_message_are_counted_before_parsing(raw: bytes) -> None:
    def parse(raw: bytes) -> Any:
        raise AssertionError("parsed")

    with pytest.raises(ResourceExhausted, match=f"more than {MAX_FIELDS} fields"):
        parse_request(raw, stage_pb2.PublishEventsRequest.DESCRIPTOR, parse)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff" * UNCOUNTED_BYTES * 2,
        b"\x0a\xff\xff\xff\x7f" + bytes(UNCOUNTED_BYTES),
        b"\x0f" + bytes(UNCOUNTED_BYTES),
        b"\x7a\x80\x80\x80\x01" + bytes(UNCOUNTED_BYTES) + b"\x18",
    ],
    ids=["endless number", "endless text", "unknown wire type", "cut off"],
)
def test_a_large_message_that_is_none_is_refused(raw: bytes) -> None:
    request = stage_pb2.PublishEventsRequest
    with pytest.raises((InvalidInput, ResourceExhausted)):
        parse_request(raw, request.DESCRIPTOR, request.FromString)


def test_one_long_prediction_is_taken() -> None:
    prediction = evaluation_pb2.Prediction(
        text="x" * (UNCOUNTED_BYTES + 1), token_ids=range(65_536), logprobs=[-0.5] * 65_536
    )
    request = stage_pb2.PublishEventsRequest(events=[stage_pb2.StageEvent(prediction=prediction)])
    raw = request.SerializeToString()
    assert UNCOUNTED_BYTES < len(raw) < EVENTS_BYTES
    assert parse_request(raw, request.DESCRIPTOR, request.FromString) == request
    check_request(request)


def test_lists_and_mappings_are_counted_before_their_entries() -> None:
    slots = [worker_pb2.Slot(id="x" * 500)] * (MAX_SLOTS + 1)
    assert violations(stage_pb2.RegisterWorkerRequest(slots=slots)) == {
        "slots": f"has {MAX_SLOTS + 1} entries, at most {MAX_SLOTS} allowed"
    }
    labels = {f"l{i}": "x" for i in range(33)}
    request = run_pb2.CreateRunRequest(spec=run_spec_pb2.RunSpec(labels=labels))
    assert violations(request) == {"spec.labels": "has 33 entries, at most 32 allowed"}


def test_entries_are_counted_over_the_whole_message() -> None:
    schema = struct_pb2.Struct()
    schema.update({"enum": [1] * 9000})
    judge = run_spec_pb2.JudgeSpec(json_schema=run_spec_pb2.JsonSchemaOptions(schema=schema))
    check_request(run_pb2.CreateRunRequest(spec=run_spec_pb2.RunSpec(judges=[judge] * 2)))
    request = run_pb2.CreateRunRequest(spec=run_spec_pb2.RunSpec(judges=[judge] * 3))
    (description,) = violations(request).values()
    assert description == f"has more than {MAX_ITEMS} entries in all its lists and mappings"


def test_all_texts_that_are_too_long_or_hold_nul_are_named() -> None:
    request = baseline_pb2.SetBaselineRequest(
        name="baselines/a\0b", run="runs/r", description="x" * (MAX_DESCRIPTION + 1)
    )
    assert violations(request) == {
        "name": "contains a NUL character",
        "description": f"has {MAX_DESCRIPTION + 1} characters, at most {MAX_DESCRIPTION} allowed",
    }
    slot = worker_pb2.Slot(id="a\0")
    assert violations(stage_pb2.RegisterWorkerRequest(slots=[slot])) == {
        "slots[0].id": "contains a NUL character"
    }


def test_programs_may_write_nul_and_long_texts_that_are_cut() -> None:
    error = run_pb2.StageError(message="\0" * 100_000, log_tail=["\0" * 10_000] * 30)
    check_request(stage_pb2.FailStageRequest(error=error))


def test_unknown_enum_values_are_refused_with_the_known_ones() -> None:
    request = run_pb2.ListVerdictsRequest(parent="runs/r", outcome=9)  # type: ignore[arg-type]
    assert violations(request) == {
        "outcome": "must be one of OUTCOME_PASS, OUTCOME_FAIL, OUTCOME_ERROR, not 9"
    }
    spec = run_spec_pb2.RunSpec(train=run_spec_pb2.TrainSpec(dtype=77))  # type: ignore[arg-type]
    assert "DTYPE_FLOAT32" in violations(run_pb2.CreateRunRequest(spec=spec))["spec.train.dtype"]


def test_a_newer_worker_may_describe_itself_in_unknown_values() -> None:
    slot = worker_pb2.Slot(id="npu-0", accelerator=99)  # type: ignore[arg-type]
    request = stage_pb2.RegisterWorkerRequest(slots=[slot])
    check_request(request)
    assert request.slots[0].accelerator == worker_pb2.ACCELERATOR_TYPE_UNSPECIFIED
    group = evaluation_pb2.ScoreGroup(by=99, value="x")  # type: ignore[arg-type]
    judge = evaluation_pb2.JudgeResult(scores=[evaluation_pb2.JudgeScore(groups=[group])])
    report = stage_pb2.CompleteStageRequest(result=evaluation_pb2.StageResult(judge=judge))
    check_request(report)
    assert report.result.judge.scores[0].groups[0].by == evaluation_pb2.GROUP_KEY_UNSPECIFIED
