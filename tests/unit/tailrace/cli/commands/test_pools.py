from __future__ import annotations

from typing import Any


def test_list(served: Any) -> None:
    (pool,) = served("pools", "list", "--json").json()
    assert (pool["name"], pool["queued_stages"]) == ("cpu", 3)
    out = served("pools", "list").out
    assert "1/1" in out
