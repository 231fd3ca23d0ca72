from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.schema import SpecError, parse, to_mapping
from tailrace.formats.spec.methods import SHARED_WITH_SFT, Overlong, SftSpec
from tailrace.formats.spec.train_spec import (
    Dtype,
    FinalModel,
    LoraSpec,
    TrainSpec,
)

LENGTH: dict[str, Any] = {"max_steps": 10, "batch_size": 8}


def parse_train(**changes: Any) -> TrainSpec:
    return parse(TrainSpec, LENGTH | changes, "train")


def wrong(**changes: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse_train(**changes)
    return {v.field: v.description for v in caught.value.violations}


def test_defaults_train_all_weights_as_before() -> None:
    spec = parse_train()
    assert spec.adapter is None
    assert (spec.micro_batch_size, spec.packing, spec.group_by_length) == (None, False, False)
    assert (spec.dtype, spec.remat, spec.eval_every_steps) == (Dtype.AUTO, False, 0)
    assert spec.final_model is FinalModel.LAST
    assert parse(TrainSpec, to_mapping(spec)) == spec


@pytest.mark.parametrize("changes", [{}, {"sft": {}}, {"sft": {"overlong": "refuse"}}])
def test_supervised_fine_tuning_is_the_default_method(changes: dict[str, Any]) -> None:
    spec = parse_train(**changes)
    assert (spec.method, spec.sft) == ("sft", SftSpec(overlong=Overlong.REFUSE))
    assert to_mapping(spec)["sft"] == {"overlong": "refuse", "allow_special_tokens": False}


@pytest.mark.parametrize("name", SHARED_WITH_SFT)
def test_a_shared_key_in_the_block_of_a_method_is_refused_with_its_place(name: str) -> None:
    assert wrong(sft={name: 1})[f"train.sft.{name}"] == f"is an old name: use train.{name}"


def test_an_empty_adapter_block_takes_the_defaults() -> None:
    spec = parse_train(adapter={"lora": {}})
    assert spec.adapter is not None
    assert spec.adapter.lora == LoraSpec(rank=16, alpha=32.0, dropout=0.0)


@pytest.mark.parametrize(
    ("changes", "field", "complaint"),
    [
        ({"adapter": {}}, "train.adapter", "exactly one of lora"),
        ({"adapter": {"lora": {"r": 8}}}, "train.adapter.lora.r", "use train.adapter.lora.rank"),
        (
            {"adapter": {"lora": {"target_modules": ["q", "q"]}}},
            "train.adapter.lora.target_modules",
            "twice",
        ),
        (
            {"adapter": {"lora": {"target_modules": ["../q"]}}},
            "train.adapter.lora.target_modules[0]",
            "does not fit",
        ),
        ({"eval_every_steps": 5}, "train.eval_every_steps", "eval_fraction above 0"),
        ({"early_stopping_patience": 2}, "train.early_stopping_patience", "needs evaluations"),
        ({"final_model": "best"}, "train.final_model", "needs evaluations"),
        (
            {"early_stopping_min_delta": 0.1},
            "train.early_stopping_min_delta",
            "early_stopping_patience",
        ),
        ({"micro_batch_size": 3}, "train.micro_batch_size", "must divide"),
        ({"packing": True, "group_by_length": True}, "train.group_by_length", "choose one"),
        (
            {"gradient_accumulation_steps": 4},
            "train.gradient_accumulation_steps",
            "use train.micro_batch_size",
        ),
        ({"dtype": "float16"}, "train.dtype", "auto, float32, bfloat16"),
    ],
)
def test_refused(changes: dict[str, Any], field: str, complaint: str) -> None:
    assert complaint in wrong(**changes)[field]


def test_all_violations_come_at_once() -> None:
    found = wrong(eval_every_steps=5, dtype="int8", adapter={"lora": {"rank": 0}})
    assert set(found) >= {"train.dtype", "train.adapter.lora.rank"}
