"""Finding a judge by its name: the built-in ones, and those of other packages."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from tailrace.formats.catalog import JUDGES
from training.errors import ConfigError
from training.judges.base import Judge, JudgeSetup

GROUP = "tailrace.judges"
"""The entry point group of judges."""

_HOMES = {
    "answer_correctness": "answer_correctness:AnswerCorrectnessJudge",
    "math_equivalence": "math_equivalence:MathEquivalenceJudge",
    "contains": "contains:ContainsJudge",
    "regex": "regex_match:RegexJudge",
    "json_schema": "json_form:JsonSchemaJudge",
    "token_f1": "overlap:TokenF1Judge",
    "rouge_l": "overlap:RougeLJudge",
    "reasoning_quality": "reasoning_quality:ReasoningQualityJudge",
    "llm_rubric": "llm_rubric:RubricJudge",
    "pairwise": "pairwise:PairwiseJudge",
}


def judge_names() -> list[str]:
    """The names that :func:`make_judge` knows."""
    return list(_points())


def make_judge(setup: JudgeSetup) -> Judge:
    """The judge that a spec names.

    Raises :class:`training.errors.ConfigError` for an unknown name, listing the known ones, for
    options that it cannot use, and for a package that does not load.
    """
    points = _points()
    name = setup.spec.name
    if name not in points:
        raise ConfigError(f"there is no judge {name!r}; known: {', '.join(points)}")
    try:
        factory = points[name].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the judge {name} does not load: {error}") from error
    judge: Judge = factory(setup)
    return judge


def _points() -> dict[str, EntryPoint]:
    """Entry points by name. Those of the built-in judges need no installed metadata."""
    found = {point.name: point for point in entry_points(group=GROUP)}
    built_in = {
        name: EntryPoint(name, f"training.judges.{home}", GROUP) for name, home in _HOMES.items()
    }
    return {name: built_in[name] for name in JUDGES} | {
        name: point for name, point in sorted(found.items()) if name not in built_in
    }
