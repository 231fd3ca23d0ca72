from __future__ import annotations

import json
from typing import Any

import pytest

from tailrace.datasets.inspection.shared_words import SharedWords
from tailrace.datasets.inspection.stats import Lengths, measure
from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.jsonl import FormatError


def lines(*records: Any) -> list[bytes]:
    return [json.dumps(record).encode() + b"\n" for record in records]


def chat(user: str, assistant: str, **more: Any) -> dict[str, Any]:
    roles = {"user": user, "assistant": assistant}
    return {"messages": [{"role": r, "content": c} for r, c in roles.items()], **more}


def test_lines_turns_and_characters_are_counted() -> None:
    stats = measure(lines(chat("abc", "de"), chat("a", "b"), chat("ä", "🙂")))
    assert (stats.kind, stats.lines, dict(stats.turns)) == (
        "messages",
        3,
        {"user": 3, "assistant": 3},
    )
    assert stats.characters.total() == 5 + 2 + 2
    assert stats.characters.quantiles() == {"p50": 2, "p90": 5, "p99": 5, "max": 5}


def test_quantiles_are_lengths_that_occur() -> None:
    lengths = Lengths()
    for length in range(1, 101):
        lengths.add(length)
    assert lengths.quantiles() == {"p50": 50, "p90": 90, "p99": 99, "max": 100}


def test_duplicates_are_found_whatever_their_case_space_id_and_metadata() -> None:
    stats = measure(
        lines(
            chat("What is it?", "This", id="a"),
            chat("Another", "one"),
            chat("  WHAT is\n it? ", "this", id="b", metadata={"k": 1}),
            chat("what is it?", "that"),
        )
    )
    assert (stats.duplicates, stats.first_duplicates) == (1, [(3, 1)])


def test_another_label_is_not_a_repetition() -> None:
    answer = {"prompt": "q", "completion": "a"}
    stats = measure(lines({**answer, "label": True}, {**answer, "label": False}))
    assert stats.duplicates == 0


def test_all_repeated_lines_are_counted_and_the_first_named() -> None:
    stats = measure(lines(*[chat("q", "a")] * 30))
    assert stats.duplicates == 29
    assert stats.first_duplicates == [(number, 1) for number in range(2, 12)]


def test_wrong_lines_are_named() -> None:
    with pytest.raises(FormatError, match=r"line 2: messages"):
        measure(lines(chat("q", "a"), {"messages": []}))


WORDS = [f"word{number}" for number in range(13)]


def item(name: str, words: list[str]) -> EvalItem:
    return EvalItem(name, prompt=" ".join(words), expected_answer="x")


def test_an_eval_prompt_that_shares_thirteen_words_is_named() -> None:
    shared = SharedWords(
        [
            item("same", ["Before", *map(str.upper, WORDS), "after"]),
            item("other", [*WORDS[:12], "else"]),
            item("short", WORDS[:12]),
        ]
    )
    measure(lines(chat("q", "Well, " + ", ".join(WORDS) + "!")), shared)
    assert shared.ids() == ["same"]
    assert (shared.item_count, shared.too_short) == (3, 1)


def test_an_eval_set_with_too_many_words_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace.datasets.inspection.shared_words.MAX_RUNS", 2)
    with pytest.raises(ValueError, match=r"more than 2 runs of 13 words: give a file with a part"):
        SharedWords([item("long", [*WORDS, "a", "b"])])
