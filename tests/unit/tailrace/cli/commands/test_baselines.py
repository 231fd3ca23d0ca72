from __future__ import annotations

from typing import Any


def test_a_baseline_is_set_shown_listed_and_forgotten(served: Any, plane: Any) -> None:
    baseline = served("baselines", "set", "main", "mine", "--description", "the first")
    assert baseline.code == 0
    assert plane.baselines.baselines["baselines/main"].run == "runs/mine"
    assert "runs/mine" in served("baselines", "get", "baselines/main").out
    assert served("baselines", "list", "--json").json()[0]["description"] == "the first"
    assert "baselines/main" in served("baselines", "list").out
    assert served("baselines", "delete", "main").code == 0
    assert served("baselines", "get", "main").code == 3
