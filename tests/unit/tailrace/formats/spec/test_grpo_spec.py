from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.schema import SpecError, parse, to_mapping
from tailrace.formats.spec.grpo_spec import GrpoSpec, PolicyLoss, PreflightMode
from tailrace.formats.spec.run_spec import RunSpec, StageKind
from tailrace.formats.spec.train_spec import TrainSpec
from tailrace.protomap import spec_from_proto, spec_to_proto

REWARDS: list[dict[str, Any]] = [{"judge": {"name": "answer_correctness"}}]


def parse_grpo(train: dict[str, Any] | None = None, **changes: Any) -> TrainSpec:
    block = {"rewards": REWARDS} | changes
    return parse(TrainSpec, {"max_steps": 10, "grpo": block} | (train or {}), "train")


def wrong(train: dict[str, Any] | None = None, **changes: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse_grpo(train, **changes)
    return {v.field: v.description for v in caught.value.violations}


def test_one_judge_is_enough() -> None:
    spec = parse_grpo()
    assert spec.method == "grpo"
    assert spec.grpo is not None
    assert (spec.grpo.loss, spec.grpo.n_samples) == (PolicyLoss.GRPO, 8)
    assert spec.grpo.preflight.mode is PreflightMode.WARN
    assert (spec.step_rows, spec.call_steps) == (64, 1)
    assert parse(TrainSpec, to_mapping(spec)) == spec


@pytest.mark.parametrize(
    ("train", "changes", "field", "complaint"),
    [
        ({}, {"rewards": []}, "rewards", "nothing to reward"),
        ({}, {"rewards": REWARDS * 2}, "rewards[1].judge.name", "named twice"),
        (
            {},
            {
                "rewards": [
                    {
                        "judge": {
                            "name": "pairwise",
                            "pairwise": {"criteria": "c", "backend": {"model": "org/m"}},
                        }
                    }
                ]
            },
            "rewards[0].judge.name",
            "compares two answers",
        ),
        ({}, {"rewards": [REWARDS[0] | {"weight": 0}]}, "rewards[0].weight", "must not be 0"),
        ({}, {"top_p": 0.9}, "top_p", "own distribution"),
        ({}, {"top_k": 10}, "top_k", "own distribution"),
        ({}, {"repetition_penalty": 1.1}, "repetition_penalty", "own distribution"),
        ({}, {"temperature": 0}, "temperature", "above 0"),
        ({}, {"n_samples": 1}, "n_samples", "at least 2"),
        ({}, {"length": {"free_tokens": 64}}, "length.free_tokens", "below max_new_tokens 64"),
        ({}, {"overlong": "truncate"}, "overlong", "choose refuse or drop"),
        ({}, {"num_generations": 4}, "num_generations", "use train.grpo.n_samples"),
        ({}, {"max_new_tokens": 128}, "max_new_tokens", "below max_seq_length 128"),
        ({"packing": True}, {}, "packing", "hold one answer"),
        ({"adapter": {"lora": {"dropout": 0.1}}}, {}, "adapter.lora.dropout", "must be 0"),
        ({"group_by_length": True}, {}, "group_by_length", "no use"),
        ({"micro_batch_size": 48}, {}, "micro_batch_size", "batch_size × n_samples = 64"),
        (
            {"eval_every_steps": 5, "eval_fraction": 0.1},
            {},
            "eval_every_steps",
            "infer and judges",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    train: dict[str, Any], changes: dict[str, Any], field: str, complaint: str
) -> None:
    where = f"train.{field}" if train else f"train.grpo.{field}"
    assert complaint in wrong(train, **changes)[where]


def test_every_wrong_field_is_named_at_once() -> None:
    fields = wrong(
        {"packing": True},
        rewards=[REWARDS[0] | {"weight": 0}, *REWARDS],
        overlong="drop_turns",
    )
    assert set(fields) == {
        "train.grpo.rewards[0].weight",
        "train.grpo.rewards[1].judge.name",
        "train.grpo.overlong",
    }


def test_the_message_carries_every_key() -> None:
    block = {
        "rewards": [
            {"judge": {"name": "regex", "regex": {"pattern": "4"}}, "weight": 2.0},
            {"judge": {"name": "contains", "contains": {"values": ["4"]}}, "weight": -0.5},
        ],
        "length": {"free_tokens": 8, "weight": 0.5},
        "format": {"pattern": "<b>.*</b>", "full_match": True, "weight": 0.25},
        "loss": "dapo",
        "ratio": "sequence",
        "scale_rewards": "batch",
        "clip_high": 0.28,
        "kl_beta": 0.01,
        "inner_steps": 2,
        "mask_truncated": True,
        "resample": 1,
        "rollout_batch_size": 16,
        "preflight": {"mode": "require", "min_signal": 0.2},
        "overlong": "drop",
    }
    train = {"max_steps": 4, "grpo": block}
    mapping = {"dataset": "d", "model": {"preset": "gpt2-nano"}, "train": train}
    spec = parse(RunSpec, mapping)
    assert spec_from_proto(spec_to_proto(spec)) == spec
    assert [judge.name for judge in spec.stage_judges(StageKind.TRAIN)] == ["regex", "contains"]
    assert spec.stage_judges(StageKind.JUDGE) == []
    assert isinstance(spec.train and spec.train.grpo, GrpoSpec)
