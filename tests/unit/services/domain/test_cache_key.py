from __future__ import annotations

import copy
from typing import Any

import pytest

from services.domain import cache_key as module
from services.domain.cache_key import cache_key
from tailrace.formats.catalog import ShippedTemplate
from tailrace.formats.schema import parse, to_mapping
from tailrace.formats.spec.run_spec import RunSpec, StageKind

SPEC: dict[str, Any] = to_mapping(
    parse(
        RunSpec,
        {
            "dataset": "golden-v2@1",
            "model": {"source": "org/name"},
            "train": {"max_steps": 10, "eval_fraction": 0.2},
            "infer": {"eval_sets": ["eval_v1"]},
            "judges": [{"name": "answer_correctness"}],
        },
    )
)
INPUTS = [("dataset", "aa"), ("model", "bb")]
JUDGES = {"answer_correctness": "1"}
TRAIN, INFER, JUDGE = StageKind.TRAIN, StageKind.INFER, StageKind.JUDGE


def keys(spec: dict[str, Any]) -> dict[StageKind, str]:
    return {kind: cache_key(kind, spec, INPUTS, JUDGES) for kind in StageKind}


def changed(path: str, value: Any) -> set[StageKind]:
    """Return the kinds of stage whose key changes with a value."""
    spec = copy.deepcopy(SPEC)
    *outer, name = path.split(".")
    block = spec
    for block_name in outer:
        block = block[block_name]
    block[name] = value
    before, after = keys(SPEC), keys(spec)
    return {kind for kind in StageKind if before[kind] != after[kind]}


@pytest.mark.parametrize(
    ("path", "value", "kinds"),
    [
        ("train.seed", 7, {TRAIN}),
        ("train.max_steps", 11, {TRAIN}),
        ("train.eval_fraction", 0.3, {TRAIN}),
        ("train.save_every_steps", 7, set()),
        ("model.source", "org/other", {TRAIN}),
        ("model.chat_template", "chatml", {TRAIN}),
        ("model.chat_template_kwargs", {"enable_thinking": False}, {TRAIN, INFER}),
        ("train.sft.train_on", "last_assistant", {TRAIN}),
        ("train.sft.allow_special_tokens", True, {TRAIN, INFER}),
        ("infer.seed", 7, {INFER}),
        ("infer.temperature", 1.0, {INFER}),
        ("infer.eval_sets", ["dataset:train"], {INFER, JUDGE}),
        ("infer.include_base", True, {INFER, JUDGE}),
        ("judges", [{"name": "answer_correctness", "max_error_rate": 0.5}], {JUDGE}),
        ("execution.train.timeout", 5.0, set()),
        ("execution.infer.pool", "gpu", set()),
        ("retry.max_attempts", 1, set()),
        ("labels", {"a": "b"}, set()),
        ("cache", False, set()),
    ],
)
def test_a_key_depends_on_what_the_stage_reads_alone(
    path: str, value: Any, kinds: set[StageKind]
) -> None:
    assert changed(path, value) == kinds


def test_kinds_never_share_a_key() -> None:
    assert len(set(keys(SPEC).values())) == 3


def test_inputs_count_by_digest_and_by_what_they_are_for_in_any_order() -> None:
    def key(inputs: list[tuple[str, str]]) -> str:
        return cache_key(INFER, SPEC, inputs, JUDGES)

    assert key(INPUTS) == key(INPUTS[::-1])
    assert len({key(INPUTS), key([("dataset", "aa"), ("model", "cc")]), key(INPUTS[:1])}) == 3
    assert key([("dataset", "bb"), ("model", "aa")]) != key(INPUTS)


@pytest.mark.parametrize("kind", StageKind)
def test_versions_of_the_judges_that_a_stage_asks_are_in_its_key(kind: StageKind) -> None:
    older, newer = JUDGES, {"answer_correctness": "2"}
    stage_keys = [cache_key(kind, SPEC, INPUTS, judges) for judges in ({}, older, newer)]
    assert len(set(stage_keys)) == 3


def test_newer_code_invalidates_its_own_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(SPEC)
    monkeypatch.setattr(module, "STAGE_VERSIONS", module.STAGE_VERSIONS | {"infer": "next"})
    assert {kind for kind in StageKind if keys(SPEC)[kind] != before[kind]} == {INFER}


def test_a_shipped_eval_set_counts_by_its_content_where_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = keys(SPEC)
    monkeypatch.setattr(module, "EVAL_SETS", module.EVAL_SETS | {"eval_v2": "other"})
    assert keys(SPEC) == before
    monkeypatch.setattr(module, "EVAL_SETS", module.EVAL_SETS | {"eval_v1": "other"})
    assert {kind for kind in StageKind if keys(SPEC)[kind] != before[kind]} == {INFER, JUDGE}


def test_a_shipped_chat_template_counts_by_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = copy.deepcopy(SPEC)
    spec["model"]["chat_template"] = "chatml"
    before = keys(spec)
    templates = module.CHAT_TEMPLATES | {"chatml": ShippedTemplate("other")}
    monkeypatch.setattr(module, "CHAT_TEMPLATES", templates)
    assert {kind for kind in StageKind if keys(spec)[kind] != before[kind]} == {TRAIN}


def test_an_imported_model_counts_by_its_content_and_not_by_its_name() -> None:
    named = copy.deepcopy(SPEC)
    named["model"] = {"source": "models/a"}
    renamed = copy.deepcopy(SPEC)
    renamed["model"] = {"source": "models/b"}
    assert keys(named) == keys(renamed)


def test_the_untouched_model_counts_where_it_answers_too() -> None:
    spec = copy.deepcopy(SPEC)
    spec["infer"]["include_base"] = True
    other = copy.deepcopy(spec)
    other["model"] = {"source": "org/other"}
    assert keys(spec)[INFER] != keys(other)[INFER]
