from __future__ import annotations

from typing import Any

import pytest

from services.domain.gate import (
    GateOutcome,
    Measured,
    MissingValueError,
    Paired,
    check_gate,
    measure,
)
from tailrace.formats.schema import parse
from tailrace.formats.spec.gate_spec import GateSpec

RESULTS: dict[str, dict[str, Any]] = {
    "train": {"last_loss": 0.5, "best_eval_loss": 0.7},
    "judge": {
        "scores": [
            {"judge": "j", "version": "1", "eval_set": "s", "model_role": role, "score": score}
            for role, score in (("base", 0.25), ("trained", 0.5))
        ]
        + [
            {
                "judge": "j",
                "version": "1",
                "eval_set": "empty",
                "model_role": "base",
                "score": 0.25,
            },
            {"judge": "j", "version": "1", "eval_set": "empty", "model_role": "trained"},
        ],
        "comparisons": [
            {
                "judge": "j",
                "eval_set": "s",
                "kind": "lift",
                "wins": 30,
                "losses": 5,
                "difference": 0.25,
                "p_value": 0.001,
            }
        ],
    },
}


def gate(metric: str = "score", **keys: Any) -> GateSpec:
    where = {"judge": "j", "eval_set": "s"} if metric in ("score", "lift") else {}
    return parse(GateSpec, {"name": "g", "metric": metric, **where, **keys})


@pytest.mark.parametrize(
    ("gate_spec", "value"),
    [
        (gate(minimum=0), 0.5),
        (gate(minimum=0, model_role="base"), 0.25),
        (gate("lift", minimum=0), 0.25),
        (gate("last_loss", maximum=1), 0.5),
        (gate("eval_loss", maximum=1), 0.7),
    ],
)
def test_what_is_measured(gate_spec: GateSpec, value: float) -> None:
    assert measure(gate_spec, RESULTS, "runs/a").value == value


@pytest.mark.parametrize(
    ("gate_spec", "says"),
    [
        (
            gate(minimum=0, eval_set="empty"),
            "runs/a has no score of the trained model by j on empty",
        ),
        (gate(minimum=0, eval_set="none"), "runs/a has no score by j on none"),
        (gate(minimum=0, judge="k"), "no score by k on s"),
        (gate("lift", minimum=0, judge="k"), "no lift of k on s"),
    ],
)
def test_a_value_that_is_missing_is_named(gate_spec: GateSpec, says: str) -> None:
    with pytest.raises(MissingValueError, match=says):
        measure(gate_spec, RESULTS, "runs/a")
    with pytest.raises(MissingValueError, match="runs/a has no last_loss"):
        measure(gate("last_loss", maximum=1), {"train": {}}, "runs/a")


BASE = "runs/b"


@pytest.mark.parametrize(
    ("gate_spec", "value", "baseline", "outcome", "says"),
    [
        (gate(minimum=0.5), 0.5, None, "passed", "score 0.5 is at least 0.5"),
        (gate(minimum=0.5), 0.49, None, "failed", "score 0.49 is below 0.5"),
        (gate("last_loss", maximum=1), 1.0, None, "passed", "is at most 1"),
        (gate("last_loss", maximum=0), 0.5, None, "failed", "is above 0"),
        (gate(max_drop=0.1, baseline=BASE), 0.6, 0.7, "passed", "0.1 worse, within the 0.1"),
        (gate(max_drop=0.1, baseline=BASE), 0.59, 0.7, "failed", "more than the 0.1 allowed"),
        (gate(max_drop=0, baseline=BASE), 0.8, 0.7, "passed", "is no worse"),
        (gate(max_relative_drop=0.1, baseline=BASE), 0.45, 0.5, "passed", "within the 0.1 of it"),
        (gate(max_relative_drop=0.1, baseline=BASE), 0.44, 0.5, "failed", "more than the 0.1"),
        # Of a loss, more is worse.
        (gate("last_loss", max_drop=0.1, baseline=BASE), 0.7, 0.5, "failed", "0.2 worse"),
        (gate("last_loss", max_drop=0.1, baseline=BASE), 0.3, 0.5, "passed", "no worse"),
        (gate(max_drop=0.1, baseline=BASE, direction="lower"), 0.7, 0.5, "failed", "0.2 worse"),
    ],
)
def test_bars(
    gate_spec: GateSpec, value: float, baseline: float | None, outcome: str, says: str
) -> None:
    other = None if baseline is None else Measured(baseline)
    measured_outcome, reason = check_gate(gate_spec, Measured(value), other, None)
    assert measured_outcome.value == outcome
    assert says in reason


@pytest.mark.parametrize(
    ("paired", "outcome"),
    [
        (Paired(100, -0.2, 0.001), GateOutcome.FAILED),
        (Paired(100, -0.2, 0.09), GateOutcome.FAILED),
        (Paired(100, -0.2, 0.11), GateOutcome.PASSED),
        (Paired(100, 0.2, 0.001), GateOutcome.PASSED),
        (Paired(100, 0.0, 1.0), GateOutcome.PASSED),
        (Paired(0, 0.0, 1.0), GateOutcome.ERROR),
    ],
)
def test_a_paired_test_fails_only_what_is_worse(paired: Paired, outcome: GateOutcome) -> None:
    gate_spec = gate(baseline=BASE, not_significantly_worse={"alpha": 0.05})
    measured_outcome, reason = check_gate(gate_spec, Measured(0.5), Measured(0.6), paired)
    assert measured_outcome is outcome, reason


def test_scores_of_different_versions_do_not_compare() -> None:
    gate_spec = gate(baseline=BASE, max_drop=1)
    measured_outcome, reason = check_gate(gate_spec, Measured(0.5, "2"), Measured(0.5, "1"), None)
    assert measured_outcome is GateOutcome.ERROR
    assert "version 2 here and 1 in the baseline" in reason
