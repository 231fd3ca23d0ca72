from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.data.record import DatasetKind
from tailrace.formats.schema import SpecError, parse, to_mapping
from tailrace.formats.spec.methods import PreferenceLoss
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.formats.spec.train_spec import TrainSpec
from tailrace.protomap import spec_from_proto, spec_to_proto


def parse_dpo(shared: dict[str, Any] | None = None, **dpo: Any) -> TrainSpec:
    return parse(TrainSpec, {"max_steps": 10, "dpo": dpo} | (shared or {}), "train")


def wrong(shared: dict[str, Any] | None = None, **dpo: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse_dpo(shared, **dpo)
    return {v.field: v.description for v in caught.value.violations}


@pytest.mark.parametrize(
    ("loss", "beta"), [("sigmoid", 0.1), ("ipo", 0.1), ("hinge", 0.1), ("simpo", 2), ("orpo", 0.1)]
)
def test_beta_has_a_default_for_each_loss(loss: str, beta: float) -> None:
    spec = parse_dpo(loss=loss)
    assert (spec.method, spec.dpo and spec.dpo.strength) == ("dpo", beta)
    own = parse_dpo(loss=loss, beta=0.7).dpo
    assert own is not None
    assert own.strength == 0.7


def test_dpo_learns_from_preferences_alone() -> None:
    spec = parse_dpo()
    assert spec.dataset_kinds == (DatasetKind.PREFERENCE,)
    assert parse(TrainSpec, to_mapping(spec)) == spec
    assert DatasetKind.PROMPTS not in TrainSpec(max_steps=1).dataset_kinds


def test_only_losses_of_log_ratios_have_a_reference() -> None:
    assert [loss.value for loss in PreferenceLoss if not loss.has_reference] == ["simpo", "orpo"]


def test_a_key_of_another_loss_is_refused() -> None:
    assert wrong(loss="ipo", label_smoothing=0.1, gamma=1, overlong="drop_turns") == {
        "train.dpo.label_smoothing": "belongs to the loss sigmoid, not to ipo: leave it out",
        "train.dpo.gamma": "belongs to the loss simpo, not to ipo: leave it out",
        "train.dpo.overlong": "cannot be drop_turns, which would leave different prompts to the "
        "two answers: choose truncate or drop",
    }
    assert wrong(**{"lambda": 1}) == {"train.dpo.lambda": "is an old name: use train.dpo.beta"}


def test_packing_and_dropout_are_refused_by_name() -> None:
    lora = {"adapter": {"lora": {"dropout": 0.1}}}
    complaints = wrong({"packing": True} | lora)
    assert sorted(complaints) == ["train.adapter.lora.dropout", "train.packing"]
    assert "must be 0 with dpo" in complaints["train.adapter.lora.dropout"]


def test_one_method_at_a_time() -> None:
    assert wrong({"sft": {}}) == {"train": "has sft and dpo: choose one"}


def test_the_message_carries_every_key() -> None:
    dpo = {"loss": "simpo", "beta": 3.0, "gamma": 0.5, "overlong": "drop"}
    content = {"model": {"preset": "gpt2-nano"}, "dataset": "pairs"}
    spec = parse(RunSpec, {**content, "train": {"max_steps": 1, "dpo": dpo}})
    assert spec_from_proto(spec_to_proto(spec)) == spec


def test_kto_learns_from_feedback_in_batches_of_several() -> None:
    spec = parse(TrainSpec, {"max_steps": 10, "kto": {}}, "train")
    assert (spec.method, spec.dataset_kinds) == ("kto", (DatasetKind.FEEDBACK,))
    weights = {"overlong": "drop_turns", "desirable_weight": 0, "undesirable_weight": 0}
    assert complaints(kto=weights).keys() == {
        "train.kto.overlong",
        "train.kto.undesirable_weight",
    }
    alone = complaints(kto={}, batch_size=1, packing=True)
    assert alone.keys() == {"train.batch_size", "train.packing"}
    assert "whose baseline is a mean" in alone["train.batch_size"]


def complaints(**train: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as error:
        parse(TrainSpec, {"max_steps": 10, **train}, "train")
    return {v.field: v.description for v in error.value.violations}


def test_distillation_learns_from_what_fine_tuning_does_and_names_an_imported_teacher() -> None:
    content = {"max_steps": 10, "packing": True, "distill": {"teacher": "models/big"}}
    spec = parse(TrainSpec, content, "train")
    assert (spec.method, spec.dataset_kinds) == ("distill", TrainSpec(max_steps=1).dataset_kinds)
    assert complaints(distill={}).keys() == {"train.distill.teacher"}
    for teacher in ("distilgpt2", "runs/a", "/tmp/folder"):
        problem = complaints(distill={"teacher": teacher})["train.distill.teacher"]
        assert "tailrace models import FOLDER" in problem
        assert "tailrace models promote RUN NAME" in problem


def test_own_answers_are_sampled_to_prompts_of_any_kind() -> None:
    on_policy = {"n_samples": 2, "max_new_tokens": 8, "temperature": 0.9, "rollout_batch_size": 4}
    distill = {"teacher": "models/big", "on_policy": on_policy}
    spec = parse(TrainSpec, {"max_steps": 10, "distill": distill}, "train")
    assert DatasetKind.PROMPTS in spec.dataset_kinds
    assert (spec.step_rows, spec.call_steps, spec.method_key) == (16, 1, "distill.on_policy")
    content = {"model": {"preset": "gpt2-nano"}, "dataset": "prompts"}
    run = parse(RunSpec, {**content, "train": {"max_steps": 10, "distill": distill}})
    assert spec_from_proto(spec_to_proto(run)) == run


def test_own_answers_do_not_take_the_keys_of_a_datasets_answers() -> None:
    distill = {"teacher": "models/big", "on_policy": {}}
    shared = {"packing": True, "group_by_length": True, "max_seq_length": 64, "batch_size": 3}
    own = {"train_on": "everything", "overlong": "truncate", "top_k": 8}
    assert complaints(distill=distill | own).keys() == {f"train.distill.{name}" for name in own}
    assert complaints(distill=distill, micro_batch_size=2, **shared).keys() == {
        "train.distill.on_policy.max_new_tokens",
        "train.packing",
        "train.group_by_length",
        "train.micro_batch_size",
    }
    for name in ("n_samples", "max_new_tokens", "rollout_batch_size"):
        problems = complaints(distill={**distill, name: 4})
        assert f"use train.distill.on_policy.{name}" in problems[f"train.distill.{name}"]
    assert "is not supported" in next(
        iter(complaints(distill={"teacher": "models/big", "on_policy": {"top_p": 0.9}}).values())
    )
