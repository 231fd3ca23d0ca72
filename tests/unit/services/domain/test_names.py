from __future__ import annotations

import pytest

from services.domain.names import description_violations, id_violations
from tailrace.formats.limits import MAX_DESCRIPTION


@pytest.mark.parametrize("value", ["a", "a1", "a-b", "x" * 63])
def test_ids(value: str) -> None:
    assert id_violations("id", value) == []


@pytest.mark.parametrize("value", ["", "1a", "A", "a_b", "a-", "x" * 64, "a b", "a\n", "../a"])
def test_what_is_no_id(value: str) -> None:
    assert [v.field for v in id_violations("id", value)] == ["id"]


def test_descriptions() -> None:
    assert description_violations("d", "x" * MAX_DESCRIPTION) == []
    assert description_violations("d", "x" * (MAX_DESCRIPTION + 1))
    assert description_violations("d", "a\0b")
