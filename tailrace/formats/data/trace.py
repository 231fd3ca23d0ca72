"""Traces: training examples of a prompt, reasoning steps and a final answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

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
    steps: list[Step] = key(
        "The reasoning, at most 1000 steps in order.", default=[], max_length=MAX_STEPS
    )
    id: str | None = key(
        "Unique in its dataset; without one, `trace-` and the line number.",
        default=None,
        minimum=1,
        max_length=128,
    )
    metadata: dict[str, str | int | float | bool] = key(
        "Free labels: text, numbers, booleans.", default={}, max_length=64
    )

    @property
    def split_key(self) -> str:
        """Key that records of the same prompt share: the prompt."""
        return self.prompt

    def violations(self, path: str) -> list[Violation]:
        """Return the violations: blank texts, and steps that are misnumbered or never end."""
        violations = blank_violations(path, prompt=self.prompt, answer=self.answer)
        where = f"{path}.steps" if path else "steps"
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
