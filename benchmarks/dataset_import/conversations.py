"""Seeded conversations, as many as wanted, written one at a time."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

_TURNS = (("system", 8), ("user", 20), ("assistant", 35), ("user", 12), ("assistant", 30))
"""Role and number of words of each message."""

_SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}


def write_conversations(path: Path, count: int, form: str) -> None:
    """Write JSON Lines of the form ``messages`` or ``conversations`` (ShareGPT)."""
    with path.open("w", encoding="utf-8") as file:
        for messages in _conversations(count):
            row: dict[str, object] = {"messages": messages}
            if form == "conversations":
                row = {form: [_sharegpt(message) for message in messages]}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _conversations(count: int) -> Iterator[list[dict[str, str]]]:
    source = random.Random(7)  # noqa: S311 - a seeded generator, not a secret
    letters = "abcdefghijklmnopqrstuvwxyzéß"
    words = ["".join(source.choices(letters, k=source.randint(2, 9))) for _ in range(5000)]
    for _ in range(count):
        yield [
            {"role": role, "content": " ".join(source.choices(words, k=length))}
            for role, length in _TURNS
        ]


def _sharegpt(message: dict[str, str]) -> dict[str, str]:
    return {"from": _SHAREGPT[message["role"]], "value": message["content"]}
