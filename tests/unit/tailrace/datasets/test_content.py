from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tailrace import Client, errors
from tailrace.datasets.content import DatasetError, local_file, open_lines, split_lines
from tailrace.formats.data.jsonl import MAX_LINE_BYTES


def test_lines_do_not_depend_on_the_chunks() -> None:
    content = "ä\n\n{}\nend".encode()
    whole = content.splitlines(keepends=True)
    for size in range(1, len(content) + 1):
        chunks = [content[at : at + size] for at in range(0, len(content), size)]
        assert list(split_lines(chunks)) == whole


def test_a_line_without_an_end_is_held_up_to_the_limit() -> None:
    chunks = (b"x" * (1 << 20) for _ in range(40))
    (line,) = split_lines(chunks)
    assert len(line) == MAX_LINE_BYTES + 1


def test_a_reader_that_stops_early_ends_the_stream(plane: Any) -> None:
    plane.datasets.content["d"] = b"one\ntwo\n" * 100_000
    with Client(plane.address) as client, open_lines(client, "d@1") as lines:
        assert next(lines) == b"one\n"
    assert plane.faults.calls[-1][0] == "ExportDataset"


def test_a_file_comes_before_a_dataset_of_the_same_name(plane: Any, tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(b"here\n")
    with Client(plane.address) as client, local_file(client, str(tmp_path / "d")) as path:
        assert path == tmp_path / "d"
    assert plane.faults.calls == []


def test_a_copy_has_the_first_lines_and_is_deleted(plane: Any) -> None:
    plane.datasets.content["d"] = b"one\ntwo\nthree\n"
    with Client(plane.address) as client, local_file(client, "d", 2) as path:
        assert path.read_bytes() == b"one\ntwo\n"
    assert not path.exists()


def test_a_path_of_no_file_is_refused_before_a_call(plane: Any) -> None:
    refused = "neither a file here nor the name of a dataset"
    with (
        Client(plane.address) as client,
        pytest.raises(DatasetError, match=refused),
        open_lines(client, "data/d.jsonl"),
    ):
        pass
    assert plane.faults.calls == []


def test_a_broken_stream_is_an_error_not_an_end(plane: Any) -> None:
    plane.datasets.content["d"] = b"one\ntwo\n"
    plane.faults.break_after["ExportDataset"] = [1]
    with (
        Client(plane.address) as client,
        open_lines(client, "d") as lines,
        pytest.raises(errors.Unavailable),
    ):
        list(lines)
