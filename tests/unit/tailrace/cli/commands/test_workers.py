from __future__ import annotations

from typing import Any

from tailrace.v1 import worker_pb2


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
    assert "ONLINE" in served("workers", "undrain", "w1").out


def test_a_certificate_is_revoked_by_the_workers_name(served: Any) -> None:
    out = served("workers", "revoke-certificate", "w1").out
    assert "workers/w1" in out
    assert "2023-11-1" in out
    assert served("workers", "revoke-certificate", "w1", "--json").json()["revoke_time"]


def test_offline_workers_are_listed_on_request_and_forgotten(served: Any, plane: Any) -> None:
    assert "w0" not in served("workers", "list").out
    assert "w0" in served("workers", "list", "--all").out
    assert served("workers", "forget", "w1").code == 4
    plane.fleet.worker.state = worker_pb2.WORKER_STATE_OFFLINE
    plane.fleet.worker.drained = True
    assert "OFFLINE, drained" in served("workers", "get", "w1").out
    forgotten = served("workers", "forget", "w1")
    assert forgotten.code == 0
    assert "w1 was drained: a worker that starts under this name now takes stages" in forgotten.err
    assert plane.fleet.forgotten == ["workers/w1"]
    assert served("workers", "forget", "w9").code == 3
