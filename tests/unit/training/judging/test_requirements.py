from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.schema import parse
from tailrace.formats.spec.judge_spec import JudgeSpec
from training.errors import DataError
from training.judging.requirements import require_expectations

OPEN = EvalItem("a", "Say hello.")
CLOSED = EvalItem("b", "2 + 2?", "4")


def spec(name: str, **options: Any) -> JudgeSpec:
    return parse(JudgeSpec, {"name": name} | options)


@pytest.mark.parametrize(
    "name",
    ["answer_correctness", "math_equivalence", "contains", "regex", "token_f1", "rouge_l"],
)
def test_a_set_without_expected_answers_is_refused(name: str) -> None:
    complaint = f"the judge {name} compares with expected answers, and no item of open has"
    with pytest.raises(DataError, match=complaint):
        require_expectations([spec(name)], {"mixed": [OPEN, CLOSED], "open": [OPEN]})
    require_expectations([spec(name)], {"mixed": [OPEN, CLOSED]})


def test_a_set_without_tools_is_refused_by_a_judge_of_calls() -> None:
    complaint = "the judge tool_call compares calls of tools, and no item of open has tools"
    with pytest.raises(DataError, match=complaint):
        require_expectations([spec("tool_call")], {"open": [OPEN, CLOSED]})
    tools = [{"type": "function", "function": {"name": "f"}}]
    require_expectations([spec("tool_call")], {"open": [OPEN, replace(OPEN, tools=tools)]})


@pytest.mark.parametrize(
    "judge",
    [
        spec("contains", contains={"values": ["hello"]}),
        spec("regex", regex={"pattern": "hello"}),
        spec("reasoning_quality"),
        spec("of_another_package"),
    ],
)
def test_judges_that_need_no_answer_take_any_set(judge: JudgeSpec) -> None:
    require_expectations([judge], {"open": [OPEN]})
