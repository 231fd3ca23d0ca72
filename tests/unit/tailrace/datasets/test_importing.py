from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tailrace.datasets import convert_file, importing
from tailrace.datasets.importing import WrongRows
from tailrace.datasets.readers.row import DataFileError
from tailrace.formats.data.dataset_file import parse_dataset
from tailrace.formats.data.record import DatasetKind

TEXTS = [
    "café cafe\u0301",
    "😀👩‍👩‍👧",
    "שלום العربية\u200f",
    "a\r\nb\rc\u2028d",
    "tab\t\ufeff",
]
ROWS = [{"prompt": f"{i}: {text}", "completion": text} for i, text in enumerate(TEXTS)]


def _lines(rows: list[Any], end: str = "\n") -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + end for row in rows).encode()


def _write(path: Path, rows: list[Any]) -> None:
    """Write rows in the format of the path's name."""
    match path.name.partition(".")[2]:
        case "jsonl":
            path.write_bytes(b"\xef\xbb\xbf" + _lines(rows, "\r\n"))
        case "jsonl.gz":
            path.write_bytes(gzip.compress(_lines(rows)))
        case "jsonl.zst":
            path.write_bytes(zstandard.compress(_lines(rows)))
        case "json":
            path.write_text(json.dumps(rows, indent=1, ensure_ascii=False))
        case "csv":
            with path.open("w", newline="") as file:
                table = csv.DictWriter(file, ["prompt", "completion"])
                table.writeheader()
                table.writerows(rows)
        case "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize(
    "name", ["d.jsonl", "d.jsonl.gz", "d.jsonl.zst", "d.json", "d.csv", "d.parquet"]
)
def test_text_survives_every_format(tmp_path: Path, name: str) -> None:
    _write(tmp_path / name, ROWS)
    conversion = convert_file(tmp_path / name, tmp_path / "out")
    assert conversion.path == tmp_path / "out"
    assert (conversion.kind, conversion.lines) == (DatasetKind.COMPLETION, len(ROWS))
    stored = conversion.path.read_bytes()
    assert [json.loads(line) for line in stored.split(b"\n")[:-1]] == ROWS
    assert all(text.encode() in stored for text in TEXTS[:3])
    assert [r.completion for r in parse_dataset(stored.splitlines(True))] == TEXTS  # type: ignore[union-attr]


def test_canonical_lines_are_not_written_again(tmp_path: Path) -> None:
    source = tmp_path / "d.jsonl"
    source.write_bytes(b"\r\n" + _lines(ROWS, "\r\n"))
    conversion = convert_file(source, tmp_path / "out")
    assert conversion.path == source
    assert conversion.lines == len(ROWS)
    assert not (tmp_path / "out").exists()


def test_traces_are_not_written_again(tmp_path: Path) -> None:
    source = tmp_path / "d.jsonl"
    source.write_bytes(_lines([{"prompt": "p", "steps": [], "answer": "1"}]))
    assert convert_file(source, tmp_path / "out").path == source


def test_nulls_of_absent_keys_are_dropped(tmp_path: Path) -> None:
    source = tmp_path / "d.jsonl"
    source.write_bytes(_lines([{**ROWS[0], "tools": None}]))
    conversion = convert_file(source, tmp_path / "out")
    assert json.loads(conversion.path.read_bytes()) == ROWS[0]


def test_nulls_that_parquet_adds_are_dropped(tmp_path: Path) -> None:
    chats = [
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a"}]},
        {
            "messages": [
                {"role": "user", "content": "hi", "name": "Eve"},
                {"role": "assistant", "content": "b", "weight": 0},
            ]
        },
    ]
    pq.write_table(pa.Table.from_pylist(chats), tmp_path / "d.parquet")
    conversion = convert_file(tmp_path / "d.parquet", tmp_path / "out")
    assert [json.loads(line) for line in conversion.path.read_bytes().splitlines()] == chats


def _refused(tmp_path: Path, content: bytes, name: str = "d.jsonl", **options: Any) -> WrongRows:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WrongRows) as refusal:
        convert_file(tmp_path / name, tmp_path / "out", **options)
    return refusal.value


def test_wrong_rows_have_place_field_and_reason(tmp_path: Path) -> None:
    content = _lines([ROWS[0], {"prompt": "p", "completion": 3}, [1]]) + b"{\n"
    refusal = _refused(tmp_path, content)
    first, second, third = refusal.errors
    assert first.place == "line 2"
    assert first.reason == "completion: must be text or a list of messages, not 3"
    assert (second.place, second.reason[:25]) == ("line 3", "(root): must be an object")
    assert third.reason.startswith("is not JSON: ")
    assert str(refusal).startswith("line 2: completion: must be text")


def test_the_first_hundred_wrong_rows_are_listed_and_all_counted(tmp_path: Path) -> None:
    refusal = _refused(tmp_path, _lines([ROWS[0], *[{"prompt": "p"}] * 200]))
    assert (len(refusal.errors), refusal.count) == (100, 200)


def test_a_file_without_one_readable_row_lists_them(tmp_path: Path) -> None:
    refusal = _refused(tmp_path, b"[1, 2]", "d.json")
    assert [error.place for error in refusal.errors] == ["item 1", "item 2"]
    assert "must be an object with the columns' names as keys" in str(refusal)


def test_repeated_ids_are_named_with_both_places(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("a.jsonl", "b.jsonl"):
        (folder / name).write_bytes(_lines([{**ROWS[0], "id": "x"}]))
    with pytest.raises(WrongRows, match=r"b\.jsonl line 1: id: is that of a\.jsonl line 1"):
        convert_file(folder, tmp_path / "out")
    assert "line 2: id: is that of line 1" in str(
        _refused(tmp_path, _lines([{**ROWS[0], "id": "x"}] * 2))
    )


@pytest.mark.parametrize(
    "part", [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "input_audio"}]
)
def test_images_and_audio_are_refused_by_name(tmp_path: Path, part: Any) -> None:
    chat = {
        "messages": [{"role": "user", "content": [part]}, {"role": "assistant", "content": "a"}]
    }
    refusal = str(_refused(tmp_path, _lines([chat])))
    assert "line 1: messages[0].content[0]: is a" in refusal
    assert "only parts of text can be imported" in refusal


def test_numbers_that_json_lacks_are_refused(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "score": float("nan")}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    with pytest.raises(WrongRows, match=r"row 1: .*score.*must be a finite number"):
        convert_file(tmp_path / "d.parquet", tmp_path / "out")


@pytest.mark.parametrize("content", [b"[]", b"\n\n", b"prompt,completion\n"])
def test_sources_without_rows(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.txt").write_bytes(content)
    with pytest.raises(DataFileError, match=r"d\.txt: has no rows"):
        convert_file(tmp_path / "d.txt", tmp_path / "out")


def test_the_number_of_rows_is_bounded(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(importing, "MAX_LINES", 2)
    (tmp_path / "d.jsonl").write_bytes(_lines(ROWS))
    with pytest.raises(DataFileError, match="has more than the 2 rows allowed"):
        convert_file(tmp_path / "d.jsonl", tmp_path / "out")


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.jsonl").write_bytes(_lines(ROWS))
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(DataFileError, match=r"link that leads out of the folder \(train.jsonl\)"):
        convert_file(folder, tmp_path / "out")


def test_few_rows_are_kept_for_detection_if_they_are_large(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(importing, "_DETECTION_BYTES", 1000)
    seen: list[int] = []
    detect = importing.detect

    def counting(rows: Any, *args: Any, **further: Any) -> Any:
        seen.append(len(rows))
        return detect(rows, *args, **further)

    monkeypatch.setattr(importing, "detect", counting)
    rows = [{"prompt": [{"role": "user", "content": "x" * 400}], "completion": "y"}] * 50
    for name in ("d.parquet", "d.json"):
        _write(tmp_path / name, rows)
        convert_file(tmp_path / name, tmp_path / "out")
    assert seen == [3, 3]


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    os.mkfifo(tmp_path / "data" / "train.jsonl")
    for source in (tmp_path / "data", tmp_path / "data" / "train.jsonl", "/dev/zero"):
        with pytest.raises(DataFileError, match=r"a pipe or a device, .* write its content to a f"):
            convert_file(source, tmp_path / "out")


def test_a_snapshot_of_a_cache_may_link_to_its_files(tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "1").write_bytes(_lines(ROWS))
    (snapshot / "train.jsonl").symlink_to(tmp_path / "blobs" / "1")
    assert convert_file(snapshot, tmp_path / "out").lines == len(ROWS)


def test_files_that_are_left_out_are_noted(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("train.jsonl", "extra.jsonl"):
        (folder / name).write_bytes(_lines(ROWS))
    assert convert_file(folder, tmp_path / "out").note == (
        "not part of a split, left out: extra.jsonl"
    )


def test_progress_is_reported(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(importing, "_PROGRESS_ROWS", 2)
    (tmp_path / "d.json").write_text(json.dumps(ROWS))
    counts: list[int] = []
    convert_file(tmp_path / "d.json", tmp_path / "out", on_rows=counts.append)
    assert counts == [2, 4, 5]
