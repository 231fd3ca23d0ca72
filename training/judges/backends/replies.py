"""Replies of judging models, and the JSON verdicts that they contain."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tailrace.formats.data.thinking import without_thinking
from tailrace.formats.schema import SpecError, T, parse
from training.judges.answers.json_text import find_json
from training.judges.base import JudgeError

_SHOWN = 200


@dataclass(frozen=True)
class Reply:
    """A judging model's reply to one prompt."""

    text: str
    cost_tokens: int
    """Tokens read and written; 0 if the server does not report them."""


@dataclass(frozen=True)
class Material:
    """Texts for a judging model, encoded as JSON so that none of them can end its own quotation."""

    parts: dict[str, str]

    def __str__(self) -> str:
        return json.dumps(self.parts, ensure_ascii=False, indent=1)


def read_verdict(schema: type[T], reply: Reply) -> T:
    """Return the JSON verdict in a reply.

    Raises:
        JudgeError: The reply is not JSON of ``schema``.
    """
    answer = without_thinking(reply.text)
    document = None if answer is None else find_json(answer)
    try:
        if answer is None:
            raise ValueError("it never ends its thinking")
        if document is None:
            raise ValueError("it is not JSON")
        return parse(schema, _with_whole_numbers(document.value))
    except (SpecError, ValueError) as error:
        excerpt = reply.text[:_SHOWN]
        raise JudgeError(
            f"the judging model gave no verdict: {error}; it said {excerpt!r}", reply.cost_tokens
        ) from error


def _with_whole_numbers(value: object) -> object:
    """Return the object with 5.0, which models write for 5, and the like as whole numbers."""
    if not isinstance(value, dict):
        return value
    return {
        name: int(entry) if isinstance(entry, float) and entry.is_integer() else entry
        for name, entry in value.items()
    }
