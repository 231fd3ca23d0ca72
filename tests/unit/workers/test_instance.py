"""A worker keeps its name and the id that the name is bound to."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from tailrace.formats.spec.run_spec import RESOURCE_ID
from workers.attempt.workspace import Workspace, WorkspaceError
from workers.instance import Instance


def test_a_worker_without_a_name_has_the_same_one_at_each_start(tmp_path: Path) -> None:
    first = Instance.claim(tmp_path, "")
    second = Instance.claim(tmp_path, "")
    assert len({first.name, second.name, first.id, second.id}) == 4
    first.close()
    again = Instance.claim(tmp_path, "")
    assert (again.id, again.name) == (first.id, first.name)
    assert again.id not in again.name
    for instance in (again, second):
        instance.close()
    elsewhere = Instance.claim(tmp_path / "elsewhere", "")
    assert elsewhere.name not in (first.name, second.name)
    elsewhere.close()


def test_a_named_worker_keeps_its_id_and_is_there_once(tmp_path: Path) -> None:
    first = Instance.claim(tmp_path, "mine")
    with pytest.raises(WorkspaceError, match="another worker named 'mine'"):
        Instance.claim(tmp_path, "mine")
    other = Instance.claim(tmp_path, "other")
    assert other.id != first.id
    first.close()
    again = Instance.claim(tmp_path, "mine")
    assert (again.id, again.name) == (first.id, "mine")
    for instance in (again, other):
        instance.close()


def test_the_ids_are_their_owners_and_no_workers_folder(tmp_path: Path) -> None:
    instance = Instance.claim(tmp_path, "mine")
    (folder,) = tmp_path.iterdir()
    assert not re.fullmatch(RESOURCE_ID, folder.name)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "mine").stat().st_mode) == 0o600
    workspace = Workspace(tmp_path, "mine")
    workspace.close()
    assert (folder / "mine").read_text() == instance.id
    instance.close()


@pytest.mark.parametrize("content", [b"", b"short", b"\0" * 43])
def test_an_id_that_was_not_written_whole_is_made_again(tmp_path: Path, content: bytes) -> None:
    Instance.claim(tmp_path, "mine").close()
    (tmp_path / "_instances/mine").write_bytes(content)
    first = Instance.claim(tmp_path, "mine")
    first.close()
    second = Instance.claim(tmp_path, "mine")
    second.close()
    assert len(first.id) > 32
    assert second.id == first.id


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="cannot use"):
        Instance.claim(tmp_path / "file", "")


@pytest.mark.parametrize("host", ["9front", "Ünïcode.Example.COM", "x" * 200, "---", ""])
def test_any_host_name_makes_a_resource_id(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: host)
    instance = Instance.claim(tmp_path, "")
    assert re.fullmatch(RESOURCE_ID, instance.name)
    instance.close()
