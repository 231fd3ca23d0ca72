"""``make audit`` says whether a package is vulnerable, and when it does not know."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.advisories import UNKNOWN, VULNERABLE, report

SAFE = {"name": "safe", "version": "1", "vulns": []}
WEAK = {"name": "weak", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "odd", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "status", "line"),
    [
        ([SAFE], 0, "1 packages looked up, 0 vulnerable"),
        ([SAFE, WEAK], VULNERABLE, "weak 2: CVE-1, fixed in: 3"),
        ([SAFE, SKIPPED], UNKNOWN, "odd: not looked up: not found"),
    ],
)
def test_packages_are_reported(
    packages: list[dict[str, Any]], status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(json.dumps({"dependencies": packages}), "") == status
    assert line in capsys.readouterr().out


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ("", "ERROR: could not connect"),
        (json.dumps({"dependencies": [SKIPPED]}), "not found"),
        (json.dumps({"dependencies": []}), "nothing"),
    ],
)
def test_a_database_that_is_away_is_no_clean_report(
    output: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = "" if output else f"ERROR: one\n{problem}"
    assert report(output, errors) == UNKNOWN
    assert capsys.readouterr().err.endswith(f"pip-audit says: {problem}\n")
