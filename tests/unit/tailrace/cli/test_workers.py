from __future__ import annotations

from typing import Any


def test_list(served: Any) -> None:
    assert served("workers", "list", "--json").json()[0]["pools"] == ["cpu"]
    out = served("workers", "list").out
    assert "w1" in out
    assert "ONLINE" in out
