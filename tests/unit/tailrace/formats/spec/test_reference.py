from __future__ import annotations

import enum
from pathlib import Path

import pytest
import yaml

from tailrace.formats.schema import parse
from tailrace.formats.spec import reference
from tailrace.formats.spec.run_spec import RunSpec

DOCS = Path(__file__).parents[5] / "docs"


def test_the_committed_page_is_up_to_date() -> None:
    text = (DOCS / "run-spec.md").read_text()
    assert text == reference.page(), "docs/run-spec.md is stale: run `make docs`"


class Told(enum.Enum):
    ONE = "one"
    """The ``first``
    of them."""
    TWO = "two"


def test_words_are_explained_below_the_table_of_their_block() -> None:
    _, block = reference.page().split("\n## train.sft\n")
    block = block.split("\n## ")[0]
    table, words = block.split("\n\n`schedule`:\n\n")
    assert "| `schedule` | `constant`, `linear`, `cosine` |" in table
    assert words.startswith("- `constant`: Stays at `learning_rate`.\n- `linear`: ")
    assert "\n\n`overlong`:\n\n- `refuse`: The run fails" in words


def test_a_word_that_nobody_explains_is_told() -> None:
    with pytest.raises(ValueError, match="Told does not say what it means: TWO"):
        reference.member_docs(Told)


@pytest.mark.parametrize("example", sorted((DOCS / "examples").glob("*.yaml")))
def test_the_examples_are_valid_specs(example: Path) -> None:
    spec = parse(RunSpec, yaml.safe_load(example.read_text()))
    assert [kind.value for kind in spec.stage_kinds()] == ["train", "infer", "judge"]
