"""The table of templates in docs/data.md says what the templates do."""

from __future__ import annotations

import re

import pytest

from docs.generate.repository import ROOT
from tailrace.formats.catalog import CHAT_TEMPLATES
from tailrace.formats.spec.methods import TrainOn
from tests.parity.templates.cases import CASES, MARKED, TOOLS, cases_of, small_tokenizer
from training.data.chat_format import ChatFormat
from training.data.rendered_example import RenderedExample

COLUMNS = ["rendering", "mask", "turns", "tools", "thinking", "end"]
ROW = re.compile(r"^\| `([\w.-]+)` \| (yes|no) \| (.*) \|$", re.MULTILINE)
CELL = re.compile(r" (?<!\\)\| ")


def rows() -> dict[str, dict[str, str]]:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    return {
        name: dict(zip(COLUMNS, [rendering, *CELL.split(rest)], strict=True))
        for name, rendering, rest in ROW.findall(page)
    }


ROWS = rows()


def examples(name: str) -> dict[str, RenderedExample]:
    return {
        case: ChatFormat(small_tokenizer(name), kwargs=CASES[case].kwargs).encode(
            CASES[case].conversation, TrainOn.ALL_ASSISTANT
        )
        for case in cases_of(name)
    }


def test_every_template_has_its_row() -> None:
    assert set(ROWS) == set(CHAT_TEMPLATES)


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_a_row_is_as_the_code(name: str) -> None:
    row, encoded = ROWS[name], examples(name)
    # test_templates.py compares every rendering with that of transformers.
    assert row["rendering"] == "yes"
    assert row["mask"] == ("generation blocks" if name in MARKED else "prefixes")
    assert (row["turns"] == "all") is not any(e.untrainable for e in encoded.values())
    assert (
        row["end"].replace("\\", "") == f"`{small_tokenizer(name).decode([last_token(encoded)])}`"
    )
    thought = encoded["reasoning"]
    assert (row["thinking"] == "left out") is (3 in thought.lost_reasoning)
    last_and_first = "Count: 3" in thought.text, "A greeting" in thought.text
    forms = {"left out": (False, False), "`<think>`, in every turn": (True, True)}
    assert last_and_first == forms.get(row["thinking"], (True, False))
    assert (row["tools"] == "refused") is (name not in TOOLS)
    if name in TOOLS:
        begin = row["tools"].strip("`").partition("…")[0].partition("`")[0]
        assert begin in encoded["tools"].text


def last_token(encoded: dict[str, RenderedExample]) -> int:
    """Return the last learnt token, which is the same in every conversation."""
    (token,) = {int(example.tokens[example.mask][-1]) for example in encoded.values()}
    return token
