from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tailrace.formats import reference
from tailrace.formats.run_spec import RunSpec
from tailrace.formats.schema import parse

DOCS = Path(__file__).parents[3] / "docs"


def test_the_committed_page_is_up_to_date() -> None:
    text = (DOCS / "run-spec.md").read_text()
    assert text == reference.page(), "docs/run-spec.md is stale: run `make docs`"


@pytest.mark.parametrize("example", sorted((DOCS / "examples").glob("*.yaml")))
def test_the_examples_are_valid_specs(example: Path) -> None:
    spec = parse(RunSpec, yaml.safe_load(example.read_text()))
    assert [kind.value for kind in spec.stage_kinds()] == ["train", "infer", "judge"]
