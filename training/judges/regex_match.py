"""The judge of texts that must match a pattern."""

from __future__ import annotations

from tailrace.formats.catalog import JUDGES
from tailrace.formats.eval_item import EvalItem
from tailrace.formats.judge_spec import RegexOptions
from training.errors import ConfigError
from training.judges.base import JudgeError, Judgement, JudgeSetup, TextJudge
from training.judges.bounded_regex import compile_pattern, search


class RegexJudge(TextJudge):
    """Passes texts that match the pattern, or the item's expected answer as one."""

    name = "regex"
    version = JUDGES[name]

    def __init__(self, setup: JudgeSetup) -> None:
        options = setup.spec.regex or RegexOptions()
        self._full_match = options.full_match
        self._pattern = None if options.pattern is None else compile_pattern(options.pattern)

    def judge(self, item: EvalItem, text: str) -> Judgement:
        """See :class:`training.judges.base.TextJudge`."""
        try:
            pattern = self._pattern or compile_pattern(item.expected_answer)
        except ConfigError as error:
            raise JudgeError(f"the expected answer is no pattern: {error}") from error
        match = search(pattern, text, full_match=self._full_match)
        return Judgement(
            passed=match is not None,
            score=float(match is not None),
            reason="matches the pattern" if match else "does not match the pattern",
            extracted=match.group()[:1000] if match else "",
            evidence=f"characters {match.start()}-{match.end()}" if match else "",
        )
