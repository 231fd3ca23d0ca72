from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tailrace.datasets.readers import stream
from tailrace.datasets.readers.formats import read_rows
from tailrace.datasets.readers.row import DataFileError

LINES = b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n'


def _packed(content: bytes) -> dict[str, bytes]:
    return {"gz": gzip.compress(content), "zst": zstandard.compress(content)}


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_packed_lines(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"d.jsonl.{suffix}"
    path.write_bytes(_packed(LINES)[suffix])
    assert [row.content for row in read_rows(path)] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_several_members_of_a_packed_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"d.csv.{suffix}"
    path.write_bytes(_packed(b"a,b\n1,2\n")[suffix] + _packed(b"3,4\n")[suffix])
    assert [row.content for row in read_rows(path)] == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_packed_file_that_was_cut_off(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"d.jsonl.{suffix}"
    path.write_bytes(_packed(LINES)[suffix][:-6])
    with pytest.raises(DataFileError, match=r"ends in the middle of its .* data: fetch it again"):
        list(read_rows(path))


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_damaged_data(tmp_path: Path, suffix: str) -> None:
    content = bytearray(_packed(LINES * 50)[suffix])
    content[10:40] = b"\xff" * 30
    path = tmp_path / f"d.jsonl.{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataFileError, match="is damaged"):
        list(read_rows(path))


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: Any, suffix: str) -> None:
    monkeypatch.setattr(stream, "FREE_BYTES", 100_000)
    path = tmp_path / f"d.jsonl.{suffix}"
    path.write_bytes(_packed(b"{}\n" * 1_000_000)[suffix])
    rows = []
    with pytest.raises(DataFileError, match="expands to more than 200 times its size"):
        rows.extend(read_rows(path))
    assert len(rows) < 700_000


def test_a_window_too_large_is_refused(tmp_path: Path) -> None:
    settings = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    packed = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    path = tmp_path / "d.jsonl.zst"
    path.write_bytes(packed.compress(LINES) + packed.flush())
    with pytest.raises(DataFileError, match="needs more than 128 MiB of memory"):
        list(read_rows(path))


def test_zstandard_that_is_not_installed(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    path = tmp_path / "d.jsonl.zst"
    path.write_bytes(_packed(LINES)["zst"])
    with pytest.raises(DataFileError, match=r'Zstandard needs .*pip install "tailrace\[data\]"'):
        list(read_rows(path))
