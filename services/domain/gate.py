"""Gates: conditions on the results of a run that has succeeded."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from tailrace.formats.spec.gate_spec import GateMetric, GateSpec


class GateOutcome(enum.StrEnum):
    """Outcome of a gate, in the words of the API."""

    PASSED = "passed"
    """The condition holds."""
    FAILED = "failed"
    """The condition does not hold."""
    ERROR = "error"
    """A required value is missing; counts as not held."""


@dataclass(frozen=True)
class Measured:
    """A gate's metric in one run."""

    value: float
    version: str = ""
    """Version of the judge; empty for losses."""


@dataclass(frozen=True)
class Paired:
    """A paired comparison of a run with its reference."""

    items: int
    """Number of items that both have."""
    difference: float
    """Mean difference of the scores."""
    p_value: float
    """Two-sided p-value."""


class MissingValueError(Exception):
    """A value that a gate needs is missing; the message names it."""


Results = dict[str, dict[str, Any]]
"""Results of a run's stages by kind, plain data."""


def measure(gate: GateSpec, results: Results, run: str) -> Measured:
    """Return the gate's metric in a run; raise :class:`MissingValueError`."""
    if gate.metric is GateMetric.SCORE:
        return _score(gate, results, run, gate.model_role)
    if gate.metric is GateMetric.LIFT:
        lift = lift_of(gate, results, run)
        return Measured(lift.difference, _score(gate, results, run, "trained").version)
    name = "best_eval_loss" if gate.metric is GateMetric.EVAL_LOSS else "last_loss"
    value = results.get("train", {}).get(name)
    if value is None:
        raise MissingValueError(f"{run} has no {gate.metric}")
    return Measured(value)


def lift_of(gate: GateSpec, results: Results, run: str) -> Paired:
    """Return the gain of the trained model; raise :class:`MissingValueError`."""
    for comparison in results.get("judge", {}).get("comparisons", []):
        key = (comparison.get("judge"), comparison.get("eval_set"))
        is_lift = comparison.get("kind") == "lift" and "difference" in comparison
        if key == (gate.judge, gate.eval_set) and is_lift:
            items = sum(comparison.get(name, 0) for name in ("wins", "losses", "ties"))
            return Paired(items, comparison["difference"], comparison.get("p_value", 1.0))
    raise MissingValueError(f"{run} has no lift of {gate.judge} on {gate.eval_set}")


def check_gate(
    gate: GateSpec, value: Measured, baseline: Measured | None, paired: Paired | None
) -> tuple[GateOutcome, str]:
    """Return the outcome of a gate and the reason in one sentence.

    Args:
        gate: The gate.
        value: The metric in the run.
        baseline: The metric in the baseline, for gates that compare with one.
        paired: The paired comparison, for gates that test significance.
    """
    if baseline is not None and baseline.version != value.version:
        reason = (
            f"{gate.judge} is version {value.version} here and {baseline.version} in the baseline: "
            "their scores do not compare; judge the baseline's predictions again"
        )
        return GateOutcome.ERROR, reason
    if gate.not_significantly_worse is not None and paired is not None:
        return _significance(gate, paired, gate.not_significantly_worse.alpha)
    if baseline is not None:
        return _drop(gate, value.value, baseline.value)
    if gate.minimum is not None:
        holds = value.value >= gate.minimum
        word = "at least" if holds else "below"
        return _outcome(holds), f"{gate.metric} {value.value:.4g} is {word} {gate.minimum:g}"
    bar = gate.maximum or 0.0
    holds = value.value <= bar
    word = "at most" if holds else "above"
    return _outcome(holds), f"{gate.metric} {value.value:.4g} is {word} {bar:g}"


def _score(gate: GateSpec, results: Results, run: str, role: str | None) -> Measured:
    scores = [
        score
        for score in results.get("judge", {}).get("scores", [])
        if (score.get("judge"), score.get("eval_set")) == (gate.judge, gate.eval_set)
    ]
    roles = [role] if role else ["trained", "base"]
    for model_role in roles:
        role_scores = [score for score in scores if score.get("model_role") == model_role]
        if not role_scores:
            continue
        # A model whose verdicts are all errors is not measured; the score of the other model must
        # not stand in for it.
        score = role_scores[0]
        if score.get("score") is None:
            problem = f"no score of the {model_role} model by {gate.judge} on {gate.eval_set}"
            raise MissingValueError(f"{run} has {problem}: all its verdicts are errors")
        return Measured(score["score"], score.get("version", ""))
    of_model = f" of the {role} model" if role else ""
    raise MissingValueError(f"{run} has no score{of_model} by {gate.judge} on {gate.eval_set}")


def _drop(gate: GateSpec, value: float, baseline: float) -> tuple[GateOutcome, str]:
    worse = baseline - value if gate.higher_is_better() else value - baseline
    if gate.max_drop is not None:
        allowed, allowed_text = gate.max_drop, f"{gate.max_drop:g}"
    else:
        share = gate.max_relative_drop or 0.0
        allowed, allowed_text = share * abs(baseline), f"{share:.4g} of it"
    # A drop of exactly the bar holds in spite of rounding.
    holds = worse <= allowed + 1e-12
    values = f"{gate.metric} {value:.4g} against {baseline:.4g}"
    if worse <= 0:
        return _outcome(holds), f"{values} is no worse"
    word = "within" if holds else "more than"
    return _outcome(holds), f"{values} is {worse:.4g} worse, {word} the {allowed_text} allowed"


def _significance(gate: GateSpec, paired: Paired, alpha: float) -> tuple[GateOutcome, str]:
    if not paired.items:
        return GateOutcome.ERROR, "no item was judged in both"
    worse = -paired.difference if gate.higher_is_better() else paired.difference
    # One-sided: only a worse result counts.
    p_value = paired.p_value / 2 if worse > 0 else 1 - paired.p_value / 2
    holds = p_value >= alpha
    word = "not significantly worse" if holds else "significantly worse"
    difference = f"difference {paired.difference:+.4g} on {paired.items} items"
    return _outcome(holds), f"{word}: {difference}, one-sided p {p_value:.3g}, alpha {alpha:g}"


def _outcome(holds: bool) -> GateOutcome:
    return GateOutcome.PASSED if holds else GateOutcome.FAILED
