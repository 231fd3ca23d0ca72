from __future__ import annotations

from pathlib import Path

import yaml

from tailrace.formats import reference
from tailrace.formats.run_spec import RunSpec
from tailrace.formats.schema import parse

DOCS = Path(__file__).parents[3] / "docs"


def test_the_committed_page_is_up_to_date() -> None:
    text = (DOCS / "run-spec.md").read_text()
    assert text == reference.page(), "docs/run-spec.md is stale: run `make docs`"


def test_the_example_is_a_valid_spec() -> None:
    spec = parse(RunSpec, yaml.safe_load((DOCS / "examples/golden_v2_nano.yaml").read_text()))
    assert [kind.value for kind in spec.stage_kinds()] == ["train", "infer", "judge"]
