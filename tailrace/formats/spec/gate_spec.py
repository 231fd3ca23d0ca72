"""The gates of a run spec: conditions that are checked once the run has succeeded."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar

from tailrace.formats.data.prediction import ModelRole
from tailrace.formats.resource_id import RESOURCE_ID, RESOURCE_ID_FORM, RUN_NAME
from tailrace.formats.schema import Violation, exactly_one, key


class GateMetric(enum.StrEnum):
    """Metric of a gate."""

    SCORE = "score"
    """A judge's score on an eval set."""
    LIFT = "lift"
    """The gain of the trained model over the base model."""
    EVAL_LOSS = "eval_loss"
    """The lowest loss on the held-out part."""
    LAST_LOSS = "last_loss"
    """The mean loss of the last epoch."""


JUDGED = frozenset({GateMetric.SCORE, GateMetric.LIFT})
"""Metrics of a judge on an eval set; the others are training's."""


class GateDirection(enum.StrEnum):
    """Direction in which a metric improves."""

    HIGHER = "higher"
    """More is better."""
    LOWER = "lower"
    """Less is better."""


@dataclass(frozen=True)
class SignificanceBar:
    """A bar that a paired test sets."""

    alpha: float = key(
        "Probability of failing a run that is as good as the baseline.",
        default=0.05,
        above=0,
        maximum=0.5,
    )


@dataclass(frozen=True)
class GateSpec:
    """Condition that is checked once the run has succeeded; it does not change the run's state."""

    RENAMED: ClassVar[dict[str, str]] = {
        "min": "minimum",
        "max": "maximum",
        "threshold": "minimum or maximum",
        "tolerance": "max_drop or max_relative_drop",
    }

    name: str = key(
        "Name, unique in the run.", minimum=1, pattern=RESOURCE_ID, form=RESOURCE_ID_FORM
    )
    metric: GateMetric = key("Metric to check.")
    judge: str | None = key(
        "Judge of a score or lift.", default=None, minimum=1, max_length=63, shown_first=True
    )
    eval_set: str | None = key(
        "Eval set of a score or lift.", default=None, minimum=1, max_length=128, shown_first=True
    )
    model_role: ModelRole | None = key(
        "Model role of a score; left out, the trained model, or the only one.", default=None
    )
    baseline: str | None = key(
        "Baseline of the comparison: `baselines/{baseline}` or `runs/{run}`.",
        default=None,
        minimum=1,
        pattern=f"baselines/{RESOURCE_ID}|{RUN_NAME}",
        form="the name of a baseline or a run, such as 'baselines/main' or 'runs/my-run'",
        shown_first=True,
    )
    direction: GateDirection | None = key(
        "Direction of improvement; left out, higher for score and lift, lower for losses.",
        default=None,
    )
    minimum: float | None = key("Lowest value that passes.", default=None, shown_first=True)
    maximum: float | None = key("Highest value that passes.", default=None)
    max_drop: float | None = key(
        "Largest drop below the baseline.", default=None, minimum=0, shown_first=True
    )
    max_relative_drop: float | None = key(
        "Largest drop below the baseline, as a share of the baseline's value.",
        default=None,
        minimum=0,
        maximum=1,
    )
    not_significantly_worse: SignificanceBar | None = key(
        "Not worse than the baseline by a paired test over the items that both have.",
        default=None,
        shown_first=True,
    )

    def violations(self, path: str) -> list[Violation]:
        """Return violations unless there is one bar that fits the metric and can be measured."""
        bars = {
            "minimum": self.minimum,
            "maximum": self.maximum,
            "max_drop": self.max_drop,
            "max_relative_drop": self.max_relative_drop,
            "not_significantly_worse": self.not_significantly_worse,
        }
        violations = exactly_one(path, **bars)
        violations += self._measured(path)
        if not violations:
            violations += self._compared(path)
        return violations

    def higher_is_better(self) -> bool:
        """Return whether the metric improves upwards."""
        if self.direction is not None:
            return self.direction is GateDirection.HIGHER
        return self.metric in JUDGED

    def _measured(self, path: str) -> list[Violation]:
        is_judged = self.metric in JUDGED
        violations = []
        for name, value in {"judge": self.judge, "eval_set": self.eval_set}.items():
            if is_judged and value is None:
                violations.append(
                    Violation(f"{path}.{name}", f"is required by the metric {self.metric}")
                )
            if not is_judged and value is not None:
                violations.append(Violation(f"{path}.{name}", f"has no use with {self.metric}"))
        if self.model_role is not None and self.metric is not GateMetric.SCORE:
            violations.append(Violation(f"{path}.model_role", f"has no use with {self.metric}"))
        return violations

    def _compared(self, path: str) -> list[Violation]:
        """Return the violation of an absolute bar with a baseline, or a relative bar without."""
        significance = self.not_significantly_worse is not None
        if significance and self.metric not in JUDGED:
            what = f"needs verdicts to compare, which {self.metric} does not have"
            return [Violation(f"{path}.not_significantly_worse", what)]
        # Lift is measured against the untouched model already.
        absolute = self.minimum is not None or self.maximum is not None
        own = significance and self.metric is GateMetric.LIFT
        if absolute or own:
            useless = "has no use here: this bar is not measured against a baseline"
            return [Violation(f"{path}.baseline", useless)] if self.baseline is not None else []
        if self.baseline is None:
            return [Violation(f"{path}.baseline", "is required: the bar is measured against it")]
        return []
