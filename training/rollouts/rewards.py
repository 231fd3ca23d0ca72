"""Rewards of answers: scores of judges and shaping terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from tailrace.formats.data.rollout import RewardPart
from tailrace.formats.endpoint_access import EndpointAccess
from tailrace.formats.spec.grpo_spec import (
    FORMAT_TERM,
    LENGTH_TERM,
    FormatTerm,
    GrpoSpec,
    LengthTerm,
    RewardSpec,
)
from training.errors import ConfigError, TooManyJudgeErrorsError
from training.judges import make_judge
from training.judges.answers.bounded_regex import check_pattern, search
from training.judges.base import Candidate, Judge, JudgeError
from training.judging.all_judges import judge_setup
from training.judging.one_judge import text_verdicts

_MAX_REASON = 10_000


@dataclass(frozen=True)
class JudgeResources:
    """Models, endpoints and keys that the judges of a training may use."""

    models: Mapping[str, Path] = field(default_factory=dict)
    """Folders of judging models, by the judge's name."""
    access: EndpointAccess = field(default_factory=EndpointAccess)
    """Servers that judges may reach, and the keys for them."""
    clock: date | None = None
    """Day that chat templates of judging models read (default: today, UTC)."""


@dataclass(frozen=True)
class Answer:
    """An answer to score."""

    candidate: Candidate
    tokens: int
    """Number of its tokens."""


class Rewards:
    """The judges and shaping terms of a training."""

    def __init__(self, spec: GrpoSpec, resources: JudgeResources) -> None:
        """Make the judges.

        Raises:
            ConfigError: A judge cannot be made, or compares two answers; or the pattern is wrong.
            TrainingError: A judging model cannot be loaded.
        """
        self._spec = spec
        self._judges = [(reward, _make(reward, resources)) for reward in spec.rewards]
        if spec.format is not None:
            check_pattern(spec.format.pattern)

    def score(self, answers: Sequence[Answer]) -> list[list[RewardPart]]:
        """Return what the reward of each answer is made of.

        Raises:
            TooManyJudgeErrorsError: A judge failed on a larger share of the answers than it may.
            TrainingError: A judge cannot go on.
        """
        parts: list[list[RewardPart]] = [[] for _ in answers]
        candidates = [answer.candidate for answer in answers]
        for reward, judge in self._judges:
            column = _judged(reward, judge, candidates)
            for answer_parts, part in zip(parts, column, strict=True):
                answer_parts.append(part)
        for answer, answer_parts in zip(answers, parts, strict=True):
            if self._spec.length is not None:
                answer_parts.append(_length_part(self._spec, self._spec.length, answer.tokens))
            if self._spec.format is not None:
                text = answer.candidate.prediction.text
                answer_parts.append(_format_part(self._spec.format, text))
        return parts


def total_reward(parts: Sequence[RewardPart]) -> float | None:
    """Return the sum of weight times score; None if a part has no score."""
    total = 0.0
    for part in parts:
        if part.score is None:
            return None
        total += part.weight * part.score
    return total


def _make(reward: RewardSpec, resources: JudgeResources) -> Judge:
    spec = reward.judge
    judge = make_judge(
        judge_setup(spec, resources.models.get(spec.name), resources.access, resources.clock)
    )
    if judge.compares:
        raise ConfigError(
            f"the judge {spec.name} compares two answers and scores none alone: it cannot reward"
        )
    return judge


def _judged(reward: RewardSpec, judge: Judge, candidates: Sequence[Candidate]) -> list[RewardPart]:
    verdicts = text_verdicts(judge, candidates)
    try:
        outcomes = [next(verdicts) for _ in candidates]
    finally:
        verdicts.close()
    errors = [outcome for outcome in outcomes if isinstance(outcome, JudgeError)]
    if len(errors) > reward.judge.max_error_rate * len(outcomes):
        raise TooManyJudgeErrorsError(
            f"{len(errors)} of {len(outcomes)} verdicts of the reward {judge.name} are errors in "
            f"one step, more than the allowed {reward.judge.max_error_rate:.0%}; the first: "
            f"{errors[0]}"
        )
    return [
        RewardPart(
            judge.name,
            reward.weight,
            None if isinstance(outcome, JudgeError) else float(outcome.score),
            (str(outcome) if isinstance(outcome, JudgeError) else outcome.reason)[:_MAX_REASON],
        )
        for outcome in outcomes
    ]


def _length_part(spec: GrpoSpec, term: LengthTerm, tokens: int) -> RewardPart:
    """Return the penalty, which grows from 0 to 1 (soft overlong punishment, arXiv:2503.14476)."""
    share = (tokens - term.free_tokens) / (spec.max_new_tokens - term.free_tokens)
    return RewardPart(LENGTH_TERM, term.weight, -min(max(share, 0.0), 1.0), f"{tokens} tokens")


def _format_part(term: FormatTerm, text: str) -> RewardPart:
    try:
        span = search(term.pattern, text, full_match=term.full_match)
    except JudgeError as error:
        return RewardPart(FORMAT_TERM, term.weight, None, str(error)[:_MAX_REASON])
    reason = "the pattern does not match" if span is None else "the pattern matches"
    return RewardPart(FORMAT_TERM, term.weight, float(span is not None), reason)
