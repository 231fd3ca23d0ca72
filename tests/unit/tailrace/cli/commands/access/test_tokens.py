from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailrace.formats.service_url import sqlite_path
from tests.servers.control_plane import ServedControlPlane
from tests.unit.tailrace.cli.conftest import Tailrace

TEXT = re.compile(r"tr_[a-z0-9]{12}_[\w-]{43}")


@pytest.fixture
def guarded(sqlite_url: str, tmp_path: Path) -> Iterator[ServedControlPlane]:
    plane = ServedControlPlane(sqlite_url, tmp_path / "data", require_tokens=True)
    yield plane
    plane.stop()


def test_tokens_from_the_first_to_the_last(
    tailrace: Tailrace,
    guarded: ServedControlPlane,
    sqlite_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TAILRACE_SERVER", guarded.address)
    refused = tailrace("runs", "list")
    assert refused.code == 6
    assert "reason: TOKEN_MISSING" in refused.err
    env = os.environ | {"TAILRACE_DATABASE_URL": f"sqlite:///{sqlite_path(sqlite_url)}"}
    command = [sys.executable, "-m", "tailrace.cli.main", "tokens", "create", "--bootstrap"]
    made = subprocess.run(
        [*command, "--description", "first"], env=env, capture_output=True, text=True, timeout=60
    )
    assert TEXT.fullmatch(made.stdout.strip()), made.stderr
    admin = tmp_path / "admin-token"
    admin.touch(mode=0o600)
    admin.write_text(made.stdout)
    monkeypatch.setenv("TAILRACE_TOKEN_FILE", str(admin))
    created = tailrace("tokens", "create", "--scope", "read", "--days", "1", "--description", "ci")
    assert created.code == 0, created.err
    secret = TEXT.search(created.out)
    assert secret
    listed = tailrace("tokens", "list")
    assert "first" in listed.out
    assert secret[0] not in listed.out
    # A secret must not come onto a command line.
    assert tailrace("tokens", "revoke", secret[0]).code == 2
    revoked = tailrace("tokens", "revoke", secret[0].split("_")[1])
    assert "REVOKED" in revoked.out
    wrong = tailrace("tokens", "create", "--scope", "all")
    assert wrong.code == 2
    assert "must be one of read, write, admin, worker" in wrong.err
