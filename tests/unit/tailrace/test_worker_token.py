"""The worker token: made once, kept private, read again when it changes."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tailrace.worker_token import (
    MIN_CHARACTERS,
    VARIABLE,
    WorkerToken,
    WorkerTokenError,
    bearer,
    make,
    read,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "worker-token"


def test_it_is_made_for_its_owner_alone_and_stays(path: Path) -> None:
    make(path)
    token = read(path)
    assert len(token) >= MIN_CHARACTERS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    make(path)
    assert read(path) == token
    assert [entry.name for entry in path.parent.iterdir()] == ["worker-token"]


def test_control_planes_that_start_at_once_agree(path: Path) -> None:
    def start(_: int) -> str:
        make(path)
        return read(path)

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(start, range(32)))) == 1


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604, 0o622, 0o700])
def test_a_file_that_others_may_open_is_refused_with_the_way_out(path: Path, mode: int) -> None:
    make(path)
    path.chmod(mode)
    with pytest.raises(WorkerTokenError, match=f"mode {mode:04o}.*chmod 600 {path}"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"short\n", b"two words " * 8, b"\xff\x00" * 40])
def test_what_is_no_token_is_refused_and_not_shown(path: Path, content: bytes) -> None:
    make(path)
    path.write_bytes(content)
    with pytest.raises(WorkerTokenError, match="remove the file") as caught:
        read(path)
    assert "two words" not in str(caught.value)


def test_a_missing_file_and_a_folder_in_its_place_are_told(path: Path) -> None:
    with pytest.raises(WorkerTokenError, match=f"no worker token at {path}: .*{VARIABLE}"):
        read(path)
    path.mkdir(parents=True)
    with pytest.raises(WorkerTokenError, match="cannot read the worker token"):
        read(path)
    file = path.parent / "file"
    file.touch()
    with pytest.raises(WorkerTokenError, match="cannot create the worker token"):
        make(file / "worker-token")


def test_a_new_token_is_taken_up_and_a_broken_one_is_not(path: Path) -> None:
    make(path)
    token = WorkerToken(path)
    first = token.value
    new = path.with_name("new")
    make(new)
    new.replace(path)
    second = token.value
    assert second == read(path) != first
    path.unlink()
    assert token.value == second
    path.touch(mode=0o600)
    assert token.value == second


def test_a_call_carries_it(path: Path) -> None:
    make(path)
    token = WorkerToken(path)
    assert bearer((("other", "x"), *token.metadata())) == token.value
    assert bearer(()) == bearer((("authorization", "Basic eA=="),)) == ""
