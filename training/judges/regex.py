"""The judge `regex`: the answer must match a pattern."""

from __future__ import annotations

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.spec.judge_spec import JUDGES, RegexOptions
from training.errors import ConfigError
from training.judges.answers.bounded_regex import check_pattern, search
from training.judges.base import JudgeError, JudgeSetup, TextJudge, TextVerdict


class RegexJudge(TextJudge):
    """Passes texts that match the pattern, by default the item's expected answer."""

    name = "regex"
    version = JUDGES[name]

    def __init__(self, setup: JudgeSetup) -> None:
        options = setup.spec.regex or RegexOptions()
        self._full_match = options.full_match
        self._pattern = options.pattern
        if options.pattern is not None:
            check_pattern(options.pattern)

    def judge(self, item: EvalItem, text: str) -> TextVerdict:
        """See :class:`training.judges.base.TextJudge`."""
        if self._pattern is None and not item.expected_answer:
            raise JudgeError("the item has no expected_answer, which would be the pattern")
        pattern = item.expected_answer if self._pattern is None else self._pattern
        try:
            span = search(pattern, text, full_match=self._full_match)
        except ConfigError as error:
            raise JudgeError(f"the expected answer is not a pattern: {error}") from error
        return TextVerdict(
            passed=span is not None,
            score=float(span is not None),
            reason="matches the pattern" if span else "does not match the pattern",
            extracted=text[span.start : span.end][:1000] if span else "",
            evidence=f"characters {span.start}-{span.end}" if span else "",
        )
