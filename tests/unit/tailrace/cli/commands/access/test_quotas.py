from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.control_plane import ServedControlPlane
from tests.unit.tailrace.cli.conftest import Tailrace


@pytest.fixture
def plane(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ServedControlPlane]:
    plane = ServedControlPlane(sqlite_url, tmp_path / "data", max_running_runs=9)
    monkeypatch.setenv("TAILRACE_SERVER", plane.address)
    yield plane
    plane.stop()


def test_quotas_and_usage_on_the_command_line(
    tailrace: Tailrace, plane: ServedControlPlane
) -> None:
    changed = tailrace("quotas", "set", "default", "stored_bytes=2000000", "open_streams=unlimited")
    assert changed.code == 0, changed.err
    rows = {line.split()[0]: line.split()[1:] for line in changed.out.splitlines()}
    assert rows["running_runs"] == ["9", "0", "default"]
    assert rows["open_streams"] == ["unlimited", "project"]
    assert rows["stored_bytes"][-1] == "project"
    assert tailrace("quotas", "set", "default", "open_streams=default").code == 0
    quotas = tailrace("quotas", "get", "--json").json()
    assert quotas["name"] == "projects/default/quotas"
    (overridden,) = [quota for quota in quotas["quotas"] if quota.get("overridden")]
    assert overridden["limit"] == 2000000
    wrong = tailrace("quotas", "set", "default", "gpus=3")
    assert wrong.code == 2
    assert "must be QUOTA=LIMIT with one of unfinished_runs" in wrong.err
    assert tailrace("quotas", "set", "default", "open_streams=many").code == 2
    assert tailrace("quotas", "get", "missing").code == 3
    assert tailrace("datasets", "seed", "golden-v2").code == 0
    usage = tailrace("usage", "--by", "project", "--from", "2020-01-01")
    assert usage.code == 0, usage.err
    assert "SLOT-SECONDS" in usage.out
    assert "default" in usage.out
    assert tailrace("usage", "--by", "label").code == 2
