"""The audit log from the command line."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tailrace import Client
from tailrace.formats.service_url import sqlite_path
from tests.servers.control_plane import ServedControlPlane
from tests.servers.node import wait_until
from tests.unit.tailrace.cli.conftest import Tailrace

LINE = '{{"prompt": "{} + 1?", "completion": "2"}}\n'


@pytest.fixture
def plane(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ServedControlPlane]:
    """A control plane whose log has four chained events."""
    served = ServedControlPlane(sqlite_url, tmp_path / "data", poll_seconds=0.02)
    with Client(served.address) as client:
        for number in range(3):
            client.import_dataset("d", LINE.format(number).encode())
        client.create_token(["read"])
        wait_until(lambda: client.get_audit_chain().head.sequence == 4, 10)
    yield served
    served.stop()


@pytest.fixture
def audit(
    plane: ServedControlPlane, tailrace: Tailrace, monkeypatch: pytest.MonkeyPatch
) -> Tailrace:
    monkeypatch.setenv("TAILRACE_SERVER", plane.address)
    return lambda *arguments: tailrace("audit", *arguments)


def tamper(url: str, statement: str) -> None:
    with closing(sqlite3.connect(sqlite_path(url))) as database, database:
        database.execute(statement)


def test_events_are_listed_and_filtered(audit: Tailrace) -> None:
    listed = audit("list")
    assert listed.code == 0, listed.err
    assert listed.out.count("DatasetService/ImportDataset") == 3
    one = audit("list", "--resource", "datasets/d@2", "--actor", "local", "--since", "2026-01-01")
    assert one.out.count("ImportDataset") == 1
    assert "datasets/d@2" in one.out
    assert audit("list", "--until", "2026-01-01", "--json").json() == []
    events = audit("list", "--outcome", "SUCCEEDED", "--limit", 2, "--json").json()
    assert [event["sequence"] for event in events] == [4, 3]
    assert audit("list", "--since", "soon").code == 2


def test_a_verified_log_prints_its_head_which_later_logs_must_have(
    audit: Tailrace, sqlite_url: str
) -> None:
    verified = audit("verify", "--json")
    assert verified.code == 0, verified.err
    head = verified.json()["head"]
    assert head.startswith("4:")
    assert audit("verify", "--known", head).code == 0
    other = audit("verify", "--known", f"3:{'0' * 64}")
    assert other.code == 8
    assert "event 3 has another hash than it had" in other.out
    assert audit("verify", "--known", "3").code == 2


def test_a_changed_row_is_named(audit: Tailrace, sqlite_url: str) -> None:
    tamper(sqlite_url, "UPDATE audit_events SET actor = 'other' WHERE sequence = 2")
    broken = audit("verify")
    assert broken.code == 8
    assert "event 2 was changed" in broken.out


def test_an_export_is_verified_without_a_server(
    audit: Tailrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert audit("export", "-o", "audit.jsonl", "--json").json()["events"] == 4
    monkeypatch.setenv("TAILRACE_SERVER", "127.0.0.1:1")
    assert audit("verify", "audit.jsonl").code == 0
    lines = (tmp_path / "audit.jsonl").read_text().splitlines(keepends=True)
    for broken, problem in (
        ([*lines[:2], *lines[3:]], "event 2 is missing"),
        (lines[:4], "event 4 is missing"),
        (
            [*lines[:3], lines[3].replace("datasets/d", "datasets/e"), lines[4]],
            "event 3 was changed",
        ),
    ):
        (tmp_path / "broken.jsonl").write_text("".join(broken))
        result = audit("verify", "broken.jsonl")
        assert (result.code, problem in result.out) == (8, True), result.out
    for text in ("", "{}\n", "x\n", lines[0] + json.dumps({"sequence": 1}) + "\n"):
        (tmp_path / "other.jsonl").write_text(text)
        assert audit("verify", "other.jsonl").code == 2, text
