"""Traces: training examples of a prompt, reasoning steps and a final answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from tailrace.formats.data.jsonl import LineErrors, file_lines, parse_records
from tailrace.formats.data.thinking import without_thinking
from tailrace.formats.schema import Violation, blank_violations, key

MAX_TEXT = 50_000
"""Maximum length of a prompt or an answer, in characters."""

MAX_STEPS = 1000
"""Maximum number of reasoning steps of a trace."""


@dataclass(frozen=True)
class Step:
    """One reasoning step of a trace."""

    i: int = key("Position of the step, counted from 0.", minimum=0, maximum=MAX_STEPS - 1)
    type: str = key("Kind of step (`calculation`).", minimum=1, max_length=64)
    content: str = key("Text of the step, 1-20,000 characters.", minimum=1, max_length=20_000)

    def violations(self, path: str) -> list[Violation]:
        """Return a violation for blank text."""
        return blank_violations(path, content=self.content)


@dataclass(frozen=True)
class Trace:
    """A training example: one line of a dataset file."""

    RENAMED: ClassVar[dict[str, str]] = {"final_answer": "answer", "meta": "metadata"}
    FORM: ClassVar[str] = (
        '{"prompt": …, "steps": [{"i": 0, "type": …, "content": …}, …], "answer": …}'
    )

    prompt: str = key("The prompt, 1-50,000 characters.", minimum=1, max_length=MAX_TEXT)
    answer: str = key("The final answer, 1-50,000 characters.", minimum=1, max_length=MAX_TEXT)
    steps: list[Step] = key("The reasoning, 1-1000 steps in order.", max_length=MAX_STEPS)
    id: str | None = key(
        "Unique in its dataset; without one, `trace-` and the line number.",
        default=None,
        minimum=1,
        max_length=128,
    )
    metadata: dict[str, str | int | float | bool] = key(
        "Free labels: text, numbers, booleans.", default={}, max_length=64
    )

    def violations(self, path: str) -> list[Violation]:
        """Return the violations: blank texts, and steps missing, misnumbered or never ending."""
        violations = blank_violations(path, prompt=self.prompt, answer=self.answer)
        where = f"{path}.steps" if path else "steps"
        if not self.steps:
            return [*violations, Violation(where, "must have at least one step")]
        violations += [
            Violation(f"{where}[{index}].i", f"must be {index}, not {step.i}")
            for index, step in enumerate(self.steps)
            if step is not None and step.i != index
        ]
        contents = [step.content for step in self.steps if step is not None]
        if without_thinking("\n".join(contents)) is None:
            unclosed = (
                "never end their thinking, so the answer would be part of it: close the block"
            )
            violations.append(Violation(where, unclosed))
        return violations


def scan_traces(lines: Iterable[bytes], errors: LineErrors) -> Iterator[Trace]:
    """Yield the traces of a dataset file one by one, each with an id; wrong lines go to ``errors``.

    A line is wrong if it is not JSON, not a trace, or repeats the id of an earlier line. Input
    without any trace is an error, too.
    """
    first_line: dict[str, int] = {}
    for number, trace in parse_records(Trace, lines, errors):
        name = trace.id or f"trace-{number:06d}"
        if name in first_line:
            errors.add(number, f"id: {name!r} is taken by line {first_line[name]}")
            continue
        first_line[name] = number
        yield trace if trace.id else replace(trace, id=name)
    if not first_line and not errors.count:
        errors.add(1, "there is no trace in the input")


def parse_traces(lines: Iterable[bytes]) -> list[Trace]:
    """Return the traces of a dataset file, each with an id.

    Raises:
        FormatError: Lines are wrong, as in :func:`scan_traces`; every one is named.
    """
    errors = LineErrors()
    traces = list(scan_traces(lines, errors))
    errors.raise_any()
    return traces


def read_traces(path: Path) -> list[Trace]:
    """Return the traces of a file.

    Raises:
        FormatError: As :func:`parse_traces`.
        OSError: The file cannot be read.
    """
    return parse_traces(file_lines(path))
