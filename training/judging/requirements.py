"""Requirements of judges on eval sets, checked before a model predicts or a judge judges."""

from __future__ import annotations

from collections.abc import Iterable

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.spec.judge_spec import JudgeSpec
from training.errors import DataError
from training.evalsets import EvalSets


def require_expectations(specs: Iterable[JudgeSpec], eval_sets: EvalSets) -> None:
    """Check that each judge finds something to compare with in each eval set.

    A set in which only some items lack it passes: those get errors as verdicts.

    Raises:
        DataError: No item of a set has an expected answer, or tools, and a judge needs them.
    """
    for spec in specs:
        for name, items in eval_sets.items():
            if spec.needs_answer() and not any(eval_item.answers for eval_item in items):
                raise DataError(
                    f"the judge {spec.name} compares with expected answers, and no item of "
                    f"{name} has an expected_answer: add them, or choose a judge that needs none"
                )
            if spec.needs_tools() and not any(map(_has_calls, items)):
                raise DataError(
                    f"the judge {spec.name} compares calls of tools, and no item of {name} has "
                    "tools or expected_tool_calls: add them, or choose another judge"
                )


def _has_calls(eval_item: EvalItem) -> bool:
    return bool(eval_item.tools or eval_item.expected_tool_calls)
