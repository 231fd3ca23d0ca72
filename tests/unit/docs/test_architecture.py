"""The page of the architecture shows the state tables and the folders that the code has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

import pytest

from docs.generate.repository import ROOT
from services.domain.run import RUN_TRANSITIONS
from services.domain.stage import STAGE_TRANSITIONS

PAGE = (ROOT / "docs" / "architecture.md").read_text()
DIAGRAMS = [
    set(re.findall(r"^ +(\S+) --> (\S+)", block, re.MULTILINE))
    for block in re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", PAGE, re.DOTALL)
]


@pytest.mark.parametrize(
    ("diagram", "table"), list(zip(DIAGRAMS, [RUN_TRANSITIONS, STAGE_TRANSITIONS], strict=True))
)
def test_a_diagram_has_the_transitions_of_its_table(
    diagram: set[tuple[str, str]], table: Mapping[StrEnum, frozenset[StrEnum]]
) -> None:
    edges = {(str(before), str(after)) for before, ends in table.items() for after in ends}
    final = {(str(state), "[*]") for state, ends in table.items() if not ends}
    start = {edge for edge in diagram if edge[0] == "[*]"}
    assert start
    assert diagram - start == edges | final


def test_the_map_names_every_folder_with_modules() -> None:
    rows = set(re.findall(r"^\| `([\w/]+)` \|", PAGE, re.MULTILINE))
    folders = {
        str(path.parent.relative_to(ROOT))
        for package in ("services", "workers", "training", "tailrace")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py" or path.read_text().count("\n") > 20
    }
    folders -= {"services/storage/migrations/versions"}
    assert rows - {"protos/tailrace/v1"} == folders


def test_every_file_that_the_page_names_exists() -> None:
    for row in re.findall(r"^\| [^|]+ \| (`.*`)(?:, .*)? \|$", PAGE, re.MULTILINE):
        names = re.findall(r"`([\w/.]+)`", row)
        for name in names:
            folder = ROOT if "/" in name else (ROOT / names[0]).parent
            assert (folder / name).exists(), name
