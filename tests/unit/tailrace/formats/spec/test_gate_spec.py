from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.schema import SpecError, parse, to_mapping
from tailrace.formats.spec.gate_spec import GateSpec

SCORE = {"name": "g", "metric": "score", "judge": "j", "eval_set": "s"}
LOSS = {"name": "g", "metric": "last_loss"}


@pytest.mark.parametrize(
    "spec",
    [
        SCORE | {"minimum": 0.5},
        SCORE | {"maximum": 0, "model_role": "base", "direction": "lower"},
        SCORE | {"baseline": "baselines/main", "max_drop": 0},
        SCORE | {"baseline": "runs/a", "max_relative_drop": 0.1},
        SCORE | {"baseline": "runs/a", "not_significantly_worse": {}},
        SCORE | {"metric": "lift", "not_significantly_worse": {"alpha": 0.01}},
        LOSS | {"maximum": 1.5},
        LOSS | {"metric": "eval_loss", "baseline": "baselines/main", "max_drop": 0.1},
    ],
)
def test_gates_round_trip(spec: dict[str, Any]) -> None:
    made = parse(GateSpec, spec)
    assert parse(GateSpec, to_mapping(made)) == made


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        (SCORE, "gate", "needs exactly one of"),
        (SCORE | {"minimum": 0, "maximum": 1}, "gate", "has minimum and maximum"),
        ({"name": "g", "metric": "score", "minimum": 0}, "gate.judge", "is required"),
        (LOSS | {"maximum": 1, "judge": "j"}, "gate.judge", "has no use"),
        (LOSS | {"maximum": 1, "model_role": "base"}, "gate.model_role", "has no use"),
        (SCORE | {"max_drop": 0.1}, "gate.baseline", "is required"),
        (SCORE | {"minimum": 0, "baseline": "runs/a"}, "gate.baseline", "has no use here"),
        (
            LOSS | {"baseline": "runs/a", "not_significantly_worse": {}},
            "gate.not_significantly_worse",
            "needs verdicts",
        ),
        (SCORE | {"minimum": 0, "baseline": "main"}, "gate.baseline", "such as 'baselines/main'"),
        (SCORE | {"min": 0}, "gate.min", "use minimum"),
        (SCORE | {"minimum": 0, "name": "A"}, "gate.name", "starting with a letter"),
    ],
)
def test_gates_that_cannot_be_checked_are_refused(
    spec: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(SpecError) as caught:
        parse(GateSpec, spec, "gate")
    assert says in {v.field: v.description for v in caught.value.violations}[field]


def test_less_of_a_loss_is_better_unless_said() -> None:
    assert parse(GateSpec, SCORE | {"minimum": 0}).higher_is_better()
    assert not parse(GateSpec, LOSS | {"maximum": 0}).higher_is_better()
    assert parse(GateSpec, LOSS | {"maximum": 0, "direction": "higher"}).higher_is_better()
