from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.formats.data import key_spool
from tailrace.formats.data.key_spool import KeySpool


def spooled(keys: list[str], folder: Path | None = None) -> KeySpool:
    spool = KeySpool(folder)
    for line, key in enumerate(keys, start=1):
        spool.add(key, line)
    return spool


@pytest.mark.parametrize("memory", [1 << 20, 24, 240])
@given(keys=st.lists(st.sampled_from([*"abcdefgh", "", "é"]), max_size=40))
def test_repeats_and_counts_in_memory_and_in_a_file(memory: int, keys: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_spool, "_MEMORY_BYTES", memory)
        spool = spooled(keys)
    first: dict[str, int] = {}
    expected = [
        (line, first[key])
        for line, key in enumerate(keys, start=1)
        if first.setdefault(key, line) != line
    ]
    assert sorted(spool.repeats()) == expected
    assert spool.count_distinct() == len(set(keys))
    spool.close()


def test_keys_may_be_added_after_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_spool, "_MEMORY_BYTES", 240)
    spool = spooled([str(number) for number in range(100)])
    assert spool.count_distinct() == 100
    spool.add("7", 101)
    assert list(spool.repeats()) == [(101, 8)]
    spool.close()


def test_any_number_of_keys_needs_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_spool, "_MEMORY_BYTES", 24)
    folders = []
    create = tempfile.TemporaryFile
    monkeypatch.setattr(
        tempfile,
        "TemporaryFile",
        lambda dir: folders.append(dir) or create(dir=dir),  # type: ignore[func-returns-value]
    )
    spool = spooled([str(number) for number in range(1000)], tmp_path)
    assert spool.count_distinct() == 1000
    spool.close()
    assert folders == [tmp_path]
    assert not list(tmp_path.iterdir())
