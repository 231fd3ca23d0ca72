"""The JSON verdicts that are asked of judging models."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tailrace.formats.data.thinking import without_thinking
from tailrace.formats.schema import SpecError, T, parse
from training.judges.answers.json_text import find_json
from training.judges.backends.asking import Reply
from training.judges.base import JudgeError

_SHOWN = 200


@dataclass(frozen=True)
class Material:
    """What a judging model is given, encoded so that no text in it ends early."""

    parts: dict[str, str]

    def __str__(self) -> str:
        return json.dumps(self.parts, ensure_ascii=False, indent=1)


def _with_whole_numbers(value: object) -> object:
    """Return an object whose numbers such as 5.0, which models write for 5, are whole."""
    if not isinstance(value, dict):
        return value
    return {
        name: int(entry) if isinstance(entry, float) and entry.is_integer() else entry
        for name, entry in value.items()
    }


def read_verdict(schema: type[T], reply: Reply) -> T:
    """The reply as JSON of ``schema``. Raises :class:`JudgeError` for anything else."""
    answer = without_thinking(reply.text)
    found = None if answer is None else find_json(answer)
    try:
        if answer is None:
            raise ValueError("it never ends its thinking")
        if found is None:
            raise ValueError("it is not JSON")
        return parse(schema, _with_whole_numbers(found.value))
    except (SpecError, ValueError) as error:
        shown = reply.text[:_SHOWN]
        raise JudgeError(
            f"the judging model gave no verdict: {error}; it said {shown!r}", reply.cost_tokens
        ) from error
