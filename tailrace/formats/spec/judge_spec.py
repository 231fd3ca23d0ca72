"""The judges of a run spec, with their options."""

from __future__ import annotations

import re
import typing
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

from tailrace.formats.data.eval_item import MAX_MARKER, MAX_MARKERS
from tailrace.formats.endpoint_access import EndpointUrl
from tailrace.formats.resource_id import MODEL_NAME, RUN_NAME, RUN_NAME_FORM
from tailrace.formats.schema import Violation, blank_violations, exactly_one, key
from tailrace.formats.wording import unknown_name

KEY_PREFIX = "TAILRACE_JUDGE_KEY_"
"""Prefix of the names of endpoints' keys, in workers' files and as environment variables of offline
commands; no other variables are read."""


@dataclass(frozen=True)
class BuiltInJudge:
    """A judge that ships with the training library."""

    version: str
    """Version of the judge; must change whenever the same text could get another verdict."""
    reads_markers: bool = False
    """True for a judge that looks for a marked answer."""
    needs_answer: bool = False
    """True for a judge that compares with the item's expected answer, unless its options name what
    it compares with."""
    needs_tools: bool = False
    """True for a judge of calls of tools."""


BUILT_IN: dict[str, BuiltInJudge] = {
    "answer_correctness": BuiltInJudge("4", reads_markers=True, needs_answer=True),
    "math_equivalence": BuiltInJudge("3", reads_markers=True, needs_answer=True),
    "contains": BuiltInJudge("2", needs_answer=True),
    "regex": BuiltInJudge("2", needs_answer=True),
    "json_schema": BuiltInJudge("2"),
    "token_f1": BuiltInJudge("2", reads_markers=True, needs_answer=True),
    "rouge_l": BuiltInJudge("2", reads_markers=True, needs_answer=True),
    "tool_call": BuiltInJudge("1", needs_tools=True),
    "reasoning_quality": BuiltInJudge("1"),
    "llm_rubric": BuiltInJudge("2"),
    "pairwise": BuiltInJudge("2"),
}
"""The built-in judges by name. Judges of other packages cannot take one of these names."""

JUDGES: dict[str, str] = {name: judge.version for name, judge in BUILT_IN.items()}
"""Versions of the built-in judges by name."""


@dataclass(frozen=True)
class ContainsOptions:
    """Options of the judge `contains`: texts that must occur."""

    values: list[str] = key(
        "The texts; empty takes the item's expected and accepted answers.",
        default=[],
        minimum=1,
        max_length=100,
        item_length=10_000,
        shown_first=True,
    )
    all: bool = key("Require all texts, not only one.", default=False)
    ignore_case: bool = key("Ignore case.", default=True)


@dataclass(frozen=True)
class RegexOptions:
    """Options of the judge `regex`: a pattern that must match."""

    pattern: str | None = key(
        "The pattern; left out, the item's expected answer.",
        default=None,
        minimum=1,
        max_length=10_000,
        shown_first=True,
    )
    full_match: bool = key("Match the whole text, not a part.", default=False)


@dataclass(frozen=True)
class JsonSchemaOptions:
    """Options of the judge `json_schema`: JSON of a given form."""

    schema: dict[str, Any] = key("The JSON Schema.", minimum=1, max_length=1000)


@dataclass(frozen=True)
class TokenF1Options:
    """Options of the judge `token_f1`: overlap of words."""

    threshold: float = key(
        "Lowest score that passes.", default=0.5, minimum=0, maximum=1, shown_first=True
    )


@dataclass(frozen=True)
class RougeLOptions:
    """Options of the judge `rouge_l`: longest common subsequence of words."""

    threshold: float = key(
        "Lowest score that passes.", default=0.5, minimum=0, maximum=1, shown_first=True
    )


@dataclass(frozen=True)
class JudgeEndpoint:
    """A server that speaks OpenAI's chat completions."""

    RENAMED: ClassVar[dict[str, str]] = {
        "base_url": "url",
        "api_key": (
            f"api_key_env, the name ({KEY_PREFIX}…) under which the worker's operator keeps a key "
            "for the endpoint's host: keys do not travel in specs"
        ),
    }

    url: str = key(
        "Base URL, `https://host/v1`, without user or password. Public servers need https; other "
        "servers must be listed by the worker's operator.",
        minimum=1,
        max_length=2000,
        pattern=r"https?://[^\s/@?#]+(/[^\s@?#]*)?",
        form="an http or https URL without user, password, query and fragment",
    )
    model: str = key("Name of the model at the server.", minimum=1, max_length=256)
    api_key_env: str | None = key(
        f"Name of the key to send, `{KEY_PREFIX}…`, which the worker's operator binds to the URL's "
        "host; left out, no key is sent.",
        default=None,
        minimum=1,
        max_length=128,
        pattern=KEY_PREFIX + r"[A-Z0-9_]+",
        form=f"the name of a key, {KEY_PREFIX}…",
    )
    timeout: float = key(
        "Time limit of one answer.",
        unit="seconds",
        default=60.0,
        duration=True,
        above=0,
        maximum=3600,
    )
    max_retries: int = key(
        "Further tries after a failure that may pass.", default=4, minimum=0, maximum=100
    )
    concurrency: int = key("Requests at a time.", default=4, minimum=1, maximum=64)

    def violations(self, path: str) -> list[Violation]:
        """The URL must be one whose host everybody reads the same."""
        try:
            EndpointUrl.of(self.url)
        except ValueError as error:
            return [Violation(f"{path}.url", str(error))]
        return []


@dataclass(frozen=True)
class JudgeBackend:
    """A model that judges: exactly one of `model` and `endpoint`."""

    model: str | None = key(
        "A hub id or an imported model (`models/{model}`), run by the worker.",
        default=None,
        minimum=1,
        max_length=256,
        pattern=MODEL_NAME,
        form="a hub id such as 'org/name', nor an imported model 'models/NAME'",
        shown_first=True,
    )
    endpoint: JudgeEndpoint | None = key(
        "A server that speaks OpenAI's chat completions.", default=None, shown_first=True
    )
    max_new_tokens: int = key(
        "Maximum number of tokens in one reply.", default=512, minimum=1, maximum=65_536
    )

    def violations(self, path: str) -> list[Violation]:
        """A model must be chosen."""
        return exactly_one(path, model=self.model, endpoint=self.endpoint)


@dataclass(frozen=True)
class ModelJudgeOptions:
    """Options that every judge has that asks a model."""

    backend: JudgeBackend = key("The model that judges.")


@dataclass(frozen=True)
class RubricOptions(ModelJudgeOptions):
    """Options of the judge `llm_rubric`: a model that scores by a rubric."""

    rubric: str = key(
        "Rubric: the properties of a good answer, in words.", minimum=1, max_length=20_000
    )
    pass_score: float = key("Lowest score that passes.", default=0.5, minimum=0, maximum=1)


@dataclass(frozen=True)
class PairwiseOptions(ModelJudgeOptions):
    """Options of the judge `pairwise`: a model that prefers one of two answers."""

    criteria: str = key(
        "Criteria: the properties of a better answer, in words.", minimum=1, max_length=20_000
    )
    baseline: str | None = key(
        "The run (`runs/{run}`) whose predictions are the other answers; left out, those of the "
        "run's own untouched model (`include_base`).",
        default=None,
        pattern=RUN_NAME,
        form=RUN_NAME_FORM,
        shown_first=True,
    )


@dataclass(frozen=True)
class JudgeSpec:
    """One judge of the JUDGE stage; its options are in the block of its name."""

    RENAMED: ClassVar[dict[str, str]] = {"type": "name", "judge": "name"}

    name: str = key(
        "The judge (`answer_correctness`).",
        minimum=1,
        max_length=63,
    )
    max_error_rate: float = key(
        "Largest share of verdicts that may be errors before the stage fails.",
        default=0.1,
        minimum=0,
        maximum=1,
    )
    contains: ContainsOptions | None = key("Options of `contains`.", default=None)
    regex: RegexOptions | None = key("Options of `regex`.", default=None)
    json_schema: JsonSchemaOptions | None = key("Options of `json_schema`.", default=None)
    token_f1: TokenF1Options | None = key("Options of `token_f1`.", default=None)
    rouge_l: RougeLOptions | None = key("Options of `rouge_l`.", default=None)
    llm_rubric: RubricOptions | None = key("Options of `llm_rubric`.", default=None)
    pairwise: PairwiseOptions | None = key("Options of `pairwise`.", default=None)
    markers: list[str] = key(
        "Further markers of an answer (`Antwort:`), for items without markers; for judges that "
        "look for a marked answer.",
        default=[],
        minimum=1,
        max_length=MAX_MARKERS,
        item_length=MAX_MARKER,
    )
    parameters: dict[str, Any] = key(
        "Options of a judge that is not built in.", default={}, max_length=1000
    )

    def violations(self, path: str) -> list[Violation]:
        """Options must be those of the judge, and be there where it cannot do without.

        Workers may have judges that are not built in: whether one has this one, the control plane
        knows.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            return [Violation(f"{path}.name", unknown_name(self.name, tuple(JUDGES)))]
        violations = [
            Violation(f"{path}.{name}", f"belongs to the judge {name}, not to {self.name}")
            for name in sorted(self._option_blocks() - {self.name})
        ]
        if self.name in NEEDS_OPTIONS and getattr(self, self.name) is None:
            violations.append(
                Violation(f"{path}.{self.name}", f"is required by the judge {self.name}")
            )
        if self.parameters and self.name in JUDGES:
            belongs = f"belongs to judges that are not built in; {self.name} is"
            violations.append(Violation(f"{path}.parameters", belongs))
        if self.markers and self.name in set(JUDGES) - READS_MARKERS:
            belongs = f"belongs to {', '.join(sorted(READS_MARKERS))}, not to {self.name}"
            violations.append(Violation(f"{path}.markers", belongs))
        return violations + blank_violations(path, markers=self.markers)

    def options(self) -> object | None:
        """Return the judge's own options; None if it has none, or is not built in."""
        return getattr(self, self.name) if self.name in OPTIONS else None

    def needs_answer(self) -> bool:
        """Return True if the judge compares with the expected answer of each item."""
        options = self.options()
        if isinstance(options, ContainsOptions) and options.values:
            return False
        if isinstance(options, RegexOptions) and options.pattern is not None:
            return False
        return self.name in BUILT_IN and BUILT_IN[self.name].needs_answer

    def needs_tools(self) -> bool:
        """Return True if the judge compares calls of tools."""
        return self.name in BUILT_IN and BUILT_IN[self.name].needs_tools

    def backend(self) -> JudgeBackend | None:
        """Return the model that judges, for a judge that asks one."""
        options = self.options()
        return options.backend if isinstance(options, ModelJudgeOptions) else None

    def baseline(self) -> str | None:
        """Return the run whose predictions the judge compares with, if its options name one."""
        options = self.options()
        return options.baseline if isinstance(options, PairwiseOptions) else None

    def compares_with_base(self) -> bool:
        """Return whether the judge compares with predictions of the run's own base model."""
        return isinstance(self.options(), PairwiseOptions) and self.baseline() is None

    def endpoint(self) -> JudgeEndpoint | None:
        """Return the server that judges, for a judge that asks one."""
        backend = self.backend()
        return None if backend is None else backend.endpoint

    def _option_blocks(self) -> set[str]:
        return {name for name in OPTIONS if getattr(self, name) is not None}


def _option_types() -> dict[str, type[Any]]:
    """Return the types of the fields of :class:`JudgeSpec` that are named like their judge."""
    hints = typing.get_type_hints(JudgeSpec)
    return {name: typing.get_args(hints[name])[0] for name in BUILT_IN if name in hints}


OPTIONS: dict[str, type[Any]] = _option_types()
"""Types of the built-in judges' options by judge, for judges that have some."""

NEEDS_OPTIONS = frozenset(
    name
    for name, options in OPTIONS.items()
    if any(field.default is field.default_factory is MISSING for field in fields(options))
)
"""Judges whose options have a required key."""

READS_MARKERS = frozenset(name for name, judge in BUILT_IN.items() if judge.reads_markers)
"""Built-in judges that look for a marked answer."""
