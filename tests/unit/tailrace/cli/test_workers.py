from __future__ import annotations

from typing import Any


def test_list(served: Any) -> None:
    assert served("workers", "list", "--json").json()[0]["pools"] == ["cpu"]
    out = served("workers", "list").out
    assert "w1" in out
    assert "ONLINE" in out
    assert "cpu-1 in quarantine" in " ".join(out.split())


def test_a_worker_is_shown_and_drained(served: Any) -> None:
    out = served("workers", "get", "w1").out
    assert "runs/r/stages/train" in out
    assert "a process is left" in out
    assert served("workers", "get", "workers/w1", "--json").json()["state"] == "online"
    assert "DRAINING" in served("workers", "drain", "w1").out
    assert served("workers", "get", "w9").code == 3
