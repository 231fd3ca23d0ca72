from __future__ import annotations

import difflib

import pytest

from tests.contract.snapshot import FOLDER, collect


@pytest.mark.timeout(60)
def test_the_public_contract_is_the_recorded_one() -> None:
    current = collect()
    recorded = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    lines: list[str] = []
    for name in sorted(current | recorded):
        before, after = recorded.get(name, ""), current.get(name, "")
        lines += difflib.unified_diff(
            before.splitlines(), after.splitlines(), f"recorded/{name}", name, lineterm="", n=1
        )
    if lines:
        diff = "\n".join(lines)
        pytest.fail(f"{diff}\nrun `make contract` and note the change in CHANGELOG.md", False)
