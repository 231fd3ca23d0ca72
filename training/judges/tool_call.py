"""The judge `tool_call`: the answer must make the expected calls of tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.message import ToolCall, call_text
from tailrace.formats.data.tool_calls import parse_tool_calls
from tailrace.formats.spec.judge_spec import JUDGES
from training.judges.answers.tool_arguments import canonical_arguments
from training.judges.base import JudgeSetup, TextJudge, TextVerdict

_SHOWN = 1000
_SHOWN_CALL = 300
_SHOWN_PARTS = 4


class ToolCallJudge(TextJudge):
    """Compares the calls in an answer with the expected ones, in any order.

    A call is right if its name and its arguments are those of an expected call. Arguments compare
    as the tool's JSON Schema describes them: numbers by value (``5.0`` is ``5``), text word for
    word, and a left-out argument is its schema's default. The score is the share of right calls
    among the expected or the given ones, whichever are more; passing needs all. Where no call is
    expected, none may be made; text around calls does not count.
    """

    name = "tool_call"
    version = JUDGES[name]

    def __init__(self, setup: JudgeSetup) -> None:
        del setup  # this judge has no options

    def judge(self, item: EvalItem, text: str) -> TextVerdict:
        """See :class:`training.judges.base.TextJudge`."""
        output = parse_tool_calls(text)
        schemas = _schemas(item)
        expected = [_canonical(call, schemas) for call in item.expected_tool_calls]
        given = [_canonical(call, schemas) for call in output.calls]
        right = (Counter(expected) & Counter(given)).total()
        # A malformed call is one more call, and a wrong one.
        total = max(len(expected), len(given) + bool(output.problem))
        return TextVerdict(
            passed=right == total,
            score=right / total if total else 1.0,
            reason=output.problem or _reason(item, output.calls, expected, given),
            extracted=" | ".join(map(call_text, output.calls))[:_SHOWN],
            evidence=f"calls of tools: {len(given)}" if given else "",
            vote="\n".join(sorted(given)),
        )


def _schemas(eval_item: EvalItem) -> dict[str, object]:
    """Return the schemas of the tools' arguments, by name."""
    functions = [tool["function"] for tool in eval_item.tools]
    return {function["name"]: function.get("parameters") for function in functions}


def _canonical(call: ToolCall, schemas: Mapping[str, object]) -> str:
    """Return text that is the same for equal calls."""
    name = call.function.name
    return f"{name} {canonical_arguments(call.function.arguments, schemas.get(name))}"


def _reason(
    eval_item: EvalItem, calls: Sequence[ToolCall], expected: Sequence[str], given: Sequence[str]
) -> str:
    missing, further = Counter(expected) - Counter(given), Counter(given) - Counter(expected)
    if not missing and not further:
        return "makes the expected calls" if expected else "makes no call, as expected"
    expected_texts = _texts(expected, eval_item.expected_tool_calls)
    given_texts = _texts(given, calls)
    parts = [f"lacks {expected_texts[form]}" for form in missing.elements()]
    parts += [f"makes {given_texts[form]}" for form in further.elements()]
    if not given:
        parts.append("makes no call")
    return "; ".join(parts[:_SHOWN_PARTS]) + (
        f" and {len(parts) - _SHOWN_PARTS} more" if len(parts) > _SHOWN_PARTS else ""
    )


def _texts(forms: Sequence[str], calls: Sequence[ToolCall]) -> dict[str, str]:
    """Return texts of calls for people, by canonical form."""
    return {form: call_text(call)[:_SHOWN_CALL] for form, call in zip(forms, calls, strict=True)}
