from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tailrace as sdk
from tests.servers.control_plane import ServedControlPlane
from tests.unit.services.driver import spec


@pytest.fixture(scope="module")
def plane(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedControlPlane]:
    served = ServedControlPlane.on_copy(sqlite_template, tmp_path_factory.mktemp("cancel"))
    with sdk.Client(served.address) as client:
        client.seed_dataset("golden-v2")
    yield served
    served.stop()


@pytest.fixture
def client(plane: ServedControlPlane) -> Iterator[sdk.Client]:
    with sdk.Client(plane.address) as client:
        yield client


def states(client: sdk.Client, *names: str) -> list[int]:
    return [client.get_run(name).state for name in names]


QUEUED, CANCELLED = 1, 6


def test_several_runs_by_name_and_uid(served: Any, client: sdk.Client) -> None:
    uid = client.create_run(spec(), run_id="a1").uid
    for name in ("a2", "a3"):
        client.create_run(spec(), run_id=name)
    result = served("runs", "cancel", "a1", "missing", "runs/a2")
    assert result.code == 3
    assert result.out.splitlines() == ["runs/a1 CANCELLED", "runs/a2 CANCELLED"]
    assert "runs/missing does not exist" in result.err
    assert states(client, "a3") == [QUEUED]
    listed = served("runs", "cancel", uid, "a3", "--json").json()
    assert [run["name"] for run in listed] == ["runs/a1", "runs/a3"]
    assert served("runs", "cancel", uid).out == "runs/a1 CANCELLED\n"


def test_a_filter_needs_a_yes(
    served: Any, client: sdk.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, team in (("b1", 'x"y'), ("b2", 'x"y'), ("b3", "z")):
        client.create_run(spec(labels={"team": team}), run_id=name)
    client.cancel_run("b2")
    label = ("--label", 'team=x"y')
    refused = served("runs", "cancel", *label)
    assert refused.code == 2
    assert "b1" in refused.out
    assert "give --yes" in refused.err
    assert served("runs", "cancel", *label, "--json").code == 2
    nothing = served("runs", "cancel", "--label", "team=none")
    assert (nothing.code, nothing.out) == (0, "no unfinished run\n")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("tailrace.cli.commands.cancel.typer.confirm", lambda *_, **__: False)
    declined = served("runs", "cancel", *label)
    assert declined.code == 130
    assert "b1" in declined.out
    assert states(client, "b1", "b3") == [QUEUED, QUEUED]
    done = served("runs", "cancel", *label, "--yes")
    assert done.code == 0
    assert done.out.endswith("runs/b1 CANCELLED\n")
    assert "b3" not in done.out
    assert "no unfinished run" in served("runs", "cancel", *label, "--yes").out
    listed = served("runs", "cancel", "--filter", "labels.team = z", "--yes", "--json").json()
    assert [run["name"] for run in listed] == ["runs/b3"]


@pytest.mark.parametrize(
    "arguments", [[], ["a", "--label", "x=y"], ["--label", "team", "--yes"], ["--filter", ""]]
)
def test_unclear_wishes_are_refused(served: Any, arguments: list[str]) -> None:
    assert served("runs", "cancel", *arguments).code == 2
