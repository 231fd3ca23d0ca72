from __future__ import annotations

import copy
import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

import pytest

from tailrace.formats.schema import SpecError, parse, to_mapping
from tailrace.formats.schema_values import Rule
from tailrace.formats.spec.run_spec import RunSpec, Schedule, StageKind, TrainConfig

FULL: dict[str, Any] = {
    "dataset": "golden-v2@1",
    "model": {"preset": "gpt2-nano"},
    "train": {"epochs": 3, "schedule": "cosine", "eval_fraction": 0.2},
    "infer": {"eval_sets": ["dataset:train", "dataset:held_out", "eval_v1"]},
    "judges": [{"name": "answer_correctness"}],
    "execution": {"train": {"pool": "gpu", "timeout": "1h"}},
    "labels": {"team": "a"},
}


SETS: dict[str, Any] = {"eval_sets": ["eval_v1"]}
JUDGES: list[dict[str, Any]] = [{"name": "answer_correctness"}]
GATE: dict[str, Any] = {
    "name": "g",
    "metric": "score",
    "judge": "answer_correctness",
    "eval_set": "eval_v1",
    "minimum": 0.5,
}
PAIRS: dict[str, Any] = {
    "name": "pairwise",
    "pairwise": {"criteria": "c", "backend": {"model": "models/judge"}},
}


def changed(**blocks: Any) -> dict[str, Any]:
    spec = copy.deepcopy(FULL)
    spec.update(blocks)
    return {name: block for name, block in spec.items() if block is not None}


def wrong(spec: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse(RunSpec, spec)
    return {v.field: v.description for v in caught.value.violations}


def test_a_full_spec_round_trips() -> None:
    spec = parse(RunSpec, FULL)
    assert spec.train is not None
    assert spec.train.schedule is Schedule.COSINE
    assert spec.execution.train.timeout == 3600
    assert parse(RunSpec, to_mapping(spec)) == spec


def test_stage_kinds_follow_the_blocks() -> None:
    assert parse(RunSpec, FULL).stage_kinds() == list(StageKind)
    imported = {"source": "models/mine"}
    spec = changed(model=imported, train=None, infer={"eval_sets": ["eval_v1"]})
    without = parse(RunSpec, spec)
    assert without.stage_kinds() == [StageKind.INFER, StageKind.JUDGE]


def test_predictions_of_another_run_are_judged_alone() -> None:
    spec = parse(RunSpec, {"predictions": "runs/a", "judges": [*JUDGES, PAIRS], "cache": False})
    assert spec.stage_kinds() == [StageKind.JUDGE]
    assert parse(RunSpec, to_mapping(spec)) == spec
    # As the control plane resolves it, with how they were made.
    resolved = parse(RunSpec, {**changed(judges=JUDGES), "predictions": "runs/a"})
    assert resolved.stage_kinds() == [StageKind.JUDGE]


def test_everything_that_judging_takes_round_trips() -> None:
    infer = SETS | {"temperature": 1, "n_samples": 4, "stop": ["\n"], "include_base": True}
    lift = {**GATE, "name": "lift", "metric": "lift"}
    spec = parse(RunSpec, changed(infer=infer, judges=[*JUDGES, PAIRS], gates=[GATE, lift]))
    assert parse(RunSpec, to_mapping(spec)) == spec


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (changed(train=None, infer=None, judges=None), "train"),
        (changed(train=None, infer={"eval_sets": ["eval_v1"]}), "model.preset"),
        (changed(infer=None), "judges"),
        (changed(dataset=None), "dataset"),
        (changed(train={"epochs": 1}), "infer.eval_sets"),
        (changed(train={"epochs": 1, "max_steps": 3}), "train"),
        (changed(train={}), "train"),
        (changed(train={"max_steps": 3, "warmup_steps": 4}), "train.warmup_steps"),
        (changed(model={}), "model"),
        (changed(model={"preset": "gpt2-nano", "source": "distilgpt2"}), "model"),
        (changed(model={"preset": "gpt9"}), "model.preset"),
        (
            changed(train={"epochs": 1, "max_seq_length": 257, "eval_fraction": 0.2}),
            "train.max_seq_length",
        ),
        (changed(model={"source": "../../etc"}), "model.source"),
        (changed(model={"source": "/abs/path"}), "model.source"),
        (changed(judges=[{"name": "no judge"}]), "judges[0].name"),
        (changed(judges=[{"name": "answer_correctness"}] * 2), "judges[1].name"),
        (changed(infer={"eval_sets": ["eval_v9"]}), "infer.eval_sets[0]"),
        (changed(infer={"eval_sets": ["eval_v1", "mine@0"]}), "infer.eval_sets[1]"),
        (changed(infer={"eval_sets": ["mine", "Mine"]}), "infer.eval_sets[1]"),
        (changed(infer={"eval_sets": []}), "infer.eval_sets"),
        (changed(infer=SETS | {"n_samples": 2}), "infer.n_samples"),
        (changed(infer=SETS | {"n_samples": 65, "temperature": 1}), "infer.n_samples"),
        (changed(infer=SETS | {"top_p": 0}), "infer.top_p"),
        (changed(infer=SETS | {"repetition_penalty": 0}), "infer.repetition_penalty"),
        (changed(infer=SETS | {"stop": ["a", "a"]}), "infer.stop"),
        (changed(infer=SETS | {"stop": ["a" * 257]}), "infer.stop[0]"),
        (changed(infer=SETS | {"stop": [str(i) for i in range(17)]}), "infer.stop"),
        (
            changed(train=None, model={"source": "a"}, infer={**SETS, "include_base": True}),
            "infer.include_base",
        ),
        (changed(judges=[PAIRS]), "judges[0].pairwise"),
        (changed(gates=[GATE | {"judge": "contains"}]), "gates[0].judge"),
        (changed(gates=[GATE | {"eval_set": "eval_v2"}]), "gates[0].eval_set"),
        (changed(gates=[GATE | {"metric": "lift"}]), "gates[0].metric"),
        (changed(gates=[GATE | {"model_role": "base"}]), "gates[0].model_role"),
        (changed(gates=[GATE, GATE]), "gates[1].name"),
        (changed(gates=[{"name": "g", "metric": "eval_loss", "maximum": 1}]), "gates[0].metric"),
        (changed(model=None), "model"),
        ({"predictions": "runs/a"}, "judges"),
        ({"predictions": "a", "judges": JUDGES}, "predictions"),
        (changed(infer={"eval_sets": ["eval_v1", "eval_v1"]}), "infer.eval_sets"),
        (changed(dataset="Golden"), "dataset"),
        (changed(dataset="golden-v2@0"), "dataset"),
        (changed(execution={"train": {"pool": "GPU"}}), "execution.train.pool"),
    ],
)
def test_what_does_not_fit_together_is_refused(spec: dict[str, Any], field: str) -> None:
    assert field in wrong(spec)


@pytest.mark.parametrize(
    ("config", "field", "new"),
    [
        ({"model": {"model_id": "x"}, "train": {"epochs": 1}}, "model.model_id", "source"),
        ({"model": {"source": "x"}, "training": {"num_epochs": 1}}, "training", "train"),
        (
            {"model": {"source": "x"}, "train": {"num_epochs": 1}},
            "train.num_epochs",
            "train.epochs",
        ),
        ({"model": {"source": "x"}, "train": {"device": "cpu"}}, "train.device", "--device"),
    ],
)
def test_old_names_are_refused_with_the_new_one(
    config: dict[str, Any], field: str, new: str
) -> None:
    with pytest.raises(SpecError) as caught:
        parse(TrainConfig, config)
    found = {v.field: v.description for v in caught.value.violations}
    assert new in found[field]


def test_flat_and_old_names_are_told_their_place() -> None:
    data = {"model": {"preset": "gpt2-nano"}, "infer": {"eval_sets": ["eval_v1"]}}
    flat = {"num_epochs": 3, "batch_size": 4, "learning_rate": 1e-4, "model_name": "x", "judge": 1}
    with pytest.raises(SpecError) as raised:
        parse(RunSpec, {**data, **flat})
    found = {v.field: v.description for v in raised.value.violations}
    assert found["num_epochs"] == "is an old name: use train.epochs"
    assert found["batch_size"] == "is an old name: use train.batch_size"
    assert found["learning_rate"] == "is an old name: use train.learning_rate"
    assert found["model_name"] == "is an old name: use model.source or model.preset"
    assert found["judge"] == "is an old name: use judges"


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        (
            {"judges": [{"name": "AnswerCorrectnessJudge"}]},
            "judges[0].name",
            "did you mean 'answer_correctness'? there is: answer_correctness",
        ),
        (
            {"judges": ["answer_correctness"]},
            "judges[0]",
            "write name: answer_correctness",
        ),
        ({"dataset": "Golden V2"}, "dataset", "is not `name` or `name@version`; a name is 1-63"),
        ({"model": {"source": "/my/model"}}, "model.source", "tailrace models import FOLDER"),
        ({"model": {"preset": "GPT2-Nano"}}, "model.preset", "did you mean 'gpt2-nano'?"),
        ({"infer": {"eval_sets": ["EvalV1"]}}, "infer.eval_sets[0]", "did you mean 'eval_v1'?"),
    ],
)
def test_names_are_explained_in_words(changes: dict[str, Any], field: str, says: str) -> None:
    data = {"model": {"preset": "gpt2-nano"}, "infer": {"eval_sets": ["eval_v1"]}, **changes}
    with pytest.raises(SpecError) as raised:
        parse(RunSpec, data)
    found = {v.field: v.description for v in raised.value.violations}
    assert says in found[field]
    assert "[a-z" not in found[field]


def test_a_name_that_is_not_there_comes_with_those_that_are() -> None:
    with pytest.raises(SpecError) as error:
        parse(RunSpec, changed(gates=[GATE | {"eval_set": "mine", "judge": "contains"}]))
    judge, eval_set = (violation.description for violation in error.value.violations)
    assert judge == "'contains' is not one of judges: answer_correctness"
    assert eval_set.startswith("'mine' is not one of infer.eval_sets: ")
    with pytest.raises(SpecError, match="tailrace evalsets import"):
        parse(RunSpec, changed(infer={"eval_sets": ["my file.jsonl"]}))


def integer_keys(schema: Any) -> Iterator[tuple[str, Rule]]:
    """Yield every key of a schema and its blocks that holds a whole number, with its rule."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        name = f"{schema.__name__}.{field.name}"
        for hint in (hints[field.name], *typing.get_args(hints[field.name])):
            if hint is int:
                yield name, field.metadata["rule"]
            elif dataclasses.is_dataclass(hint):
                yield from integer_keys(hint)


def test_every_whole_number_fits_into_the_messages_int32() -> None:
    unbounded = {
        name
        for name, rule in integer_keys(RunSpec)
        if rule.maximum is None or rule.maximum > 2**31 - 1
    }
    assert unbounded == set()
