from __future__ import annotations

import dataclasses
import enum
import typing

import pytest

from tailrace import protomap
from tailrace.formats import results, stage_protocol
from tailrace.formats.data import prediction, verdict
from tailrace.formats.schema import SpecError, parse, to_mapping
from tailrace.formats.spec import gate_spec, run_spec
from tailrace.v1 import artifact_pb2, evaluation_pb2, run_pb2, run_spec_pb2

SPEC = parse(
    run_spec.RunSpec,
    {
        "dataset": "golden-v2",
        "model": {"preset": "gpt2-nano"},
        "train": {"epochs": 2.5, "schedule": "cosine", "gradient_clip": 0},
        "infer": {"eval_sets": ["eval_v1"]},
        "execution": {"judge": {"timeout": 90.5}},
        "labels": {"a": "b"},
    },
)

TWINS = [
    (run_spec.RunSpec, run_spec_pb2.RunSpec),
    (results.TrainResult, evaluation_pb2.TrainResult),
    (results.InferResult, evaluation_pb2.InferResult),
    (results.JudgeResult, evaluation_pb2.JudgeResult),
    (prediction.Prediction, evaluation_pb2.Prediction),
    (verdict.Verdict, evaluation_pb2.Verdict),
]
ENUMS = [
    (run_spec.Schedule, run_spec_pb2.Schedule),
    (run_spec.Overlong, run_spec_pb2.Overlong),
    (run_spec.Dtype, run_spec_pb2.Dtype),
    (run_spec.FinalModel, run_spec_pb2.FinalModel),
    (gate_spec.GateMetric, run_spec_pb2.GateMetric),
    (gate_spec.GateDirection, run_spec_pb2.GateDirection),
    (results.GroupKey, evaluation_pb2.GroupKey),
    (results.ComparisonKind, evaluation_pb2.ComparisonKind),
    (results.PairedTest, evaluation_pb2.PairedTest),
    (run_spec.StageKind, run_pb2.StageKind),
    (prediction.ModelRole, evaluation_pb2.ModelRole),
    (prediction.FinishReason, evaluation_pb2.FinishReason),
    (verdict.Outcome, evaluation_pb2.Outcome),
    (stage_protocol.LogLevel, run_pb2.LogLevel),
    (stage_protocol.ArtifactKind, artifact_pb2.ArtifactKind),
]


def test_a_spec_survives_the_wire() -> None:
    message = protomap.spec_to_proto(SPEC)
    assert message.train.schedule == run_spec_pb2.SCHEDULE_COSINE
    assert message.train.gradient_clip == 0
    assert protomap.spec_from_proto(type(message).FromString(message.SerializeToString())) == SPEC


def test_json_of_users_survives_the_wire() -> None:
    schema = {"type": "object", "n": [1, 2.5, None, {"deep": True}]}
    infer = {"eval_sets": ["eval_v1"], "stop": ["a"], "include_base": True}
    judges = [
        {"name": "json_schema", "json_schema": {"schema": schema}},
        {"name": "mine", "parameters": {"limit": 3}},
        {"name": "regex", "regex": {}},
    ]
    gate = {"name": "g", "metric": "last_loss", "maximum": 0.0}
    spec = parse(
        run_spec.RunSpec,
        to_mapping(SPEC) | {"infer": infer, "judges": judges, "gates": [gate]},
    )
    message = protomap.spec_to_proto(spec)
    assert message.judges[2].WhichOneof("options") == "regex"
    assert message.gates[0].WhichOneof("bar") == "maximum"
    back = protomap.spec_from_proto(type(message).FromString(message.SerializeToString()))
    assert back == spec
    assert back.judges[0].json_schema is not None
    assert isinstance(back.judges[0].json_schema.schema["n"][0], int)


def test_scalars_that_are_not_set_take_their_default() -> None:
    message = run_spec_pb2.RunSpec(
        dataset="d",
        model=run_spec_pb2.ModelSpec(preset="gpt2-nano"),
        train=run_spec_pb2.TrainSpec(epochs=1),
    )
    spec = protomap.spec_from_proto(message)
    assert spec.train is not None
    assert spec.train.seed == 42


def test_an_explicit_zero_is_not_a_default() -> None:
    message = protomap.spec_to_proto(SPEC)
    message.train.batch_size = 0
    with pytest.raises(SpecError, match=r"train\.batch_size"):
        protomap.spec_from_proto(message)


def test_an_unknown_enum_number_is_refused_by_name() -> None:
    message = protomap.spec_to_proto(SPEC)
    message.train.schedule = 99  # type: ignore[assignment]
    with pytest.raises(SpecError, match=r"train\.schedule"):
        protomap.spec_from_proto(message)


def fields(schema: type) -> dict[str, typing.Any]:
    return {f.name: f for f in dataclasses.fields(schema)}


@pytest.mark.parametrize(("schema", "message"), TWINS, ids=lambda v: v.__name__)
def test_schemas_and_messages_have_the_same_fields(schema: type, message: typing.Any) -> None:
    assert set(fields(schema)) == set(message.DESCRIPTOR.fields_by_name)
    hints = typing.get_type_hints(schema)
    for name, hint in hints.items():
        parts = [hint, *typing.get_args(hint)]
        nested = [p for p in parts if isinstance(p, type) and dataclasses.is_dataclass(p)]
        for inner in nested:
            inner_message = message.DESCRIPTOR.fields_by_name[name].message_type
            assert set(fields(inner)) == set(inner_message.fields_by_name), name


@pytest.mark.parametrize(("ours", "theirs"), ENUMS, ids=lambda v: getattr(v, "__name__", ""))
def test_enums_have_the_same_words(ours: type[enum.Enum], theirs: typing.Any) -> None:
    descriptor = theirs.DESCRIPTOR
    words = {protomap.enum_word(descriptor, v.number) for v in descriptor.values if v.number}
    assert words == {member.value for member in ours}


def test_defaults_are_written_out_on_request() -> None:
    message = evaluation_pb2.Verdict(outcome=evaluation_pb2.OUTCOME_FAIL)
    assert protomap.to_mapping(message) == {"outcome": "fail"}
    written = protomap.to_mapping(message, defaults=True)
    assert written["cost_tokens"] == 0
    assert "score" not in written


def test_timestamps_and_durations() -> None:
    run = protomap.from_mapping(
        run_pb2.Run, {"name": "runs/a", "create_time": "2026-01-02T03:04:05.5Z"}
    )
    assert protomap.to_mapping(run)["create_time"] == "2026-01-02T03:04:05.500000Z"
    execution = run_spec_pb2.StageExecution()
    execution.timeout.FromMilliseconds(1500)
    assert protomap.to_mapping(execution) == {"timeout": 1.5}


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="nmae"):
        protomap.from_mapping(run_pb2.Run, {"nmae": "x"})
    with pytest.raises(ValueError, match="not one of"):
        protomap.from_mapping(evaluation_pb2.Verdict, {"outcome": "maybe"})
