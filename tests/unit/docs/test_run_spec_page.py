from __future__ import annotations

import enum
from pathlib import Path

import pytest
import yaml

from docs.generate import run_spec
from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import RunSpec

DOCS = Path(__file__).parents[3] / "docs"


class Answer(enum.Enum):
    ONE = "one"
    """The ``first``
    of them."""
    TWO = "two"


def test_words_are_explained_below_the_table_of_their_block() -> None:
    _, block = run_spec.page().split("\n## train\n")
    block = block.split("\n## ")[0]
    table, words = block.split("\n\n`schedule`:\n\n")
    assert "| `schedule` | `constant`, `linear`, `cosine` |" in table
    assert words.startswith("- `constant`: Stays at `learning_rate`.\n- `linear`: ")
    assert "\n\n`dtype`:\n\n- `auto`: " in words


def test_a_word_without_an_explanation_is_an_error() -> None:
    with pytest.raises(ValueError, match="Answer has members without a docstring: TWO"):
        run_spec.member_docs(Answer)


@pytest.mark.parametrize("example", sorted((DOCS / "examples").glob("*.yaml")))
def test_the_examples_are_valid_specs(example: Path) -> None:
    spec = parse(RunSpec, yaml.safe_load(example.read_text()))
    assert [kind.value for kind in spec.stage_kinds()] == ["train", "infer", "judge"]
