from __future__ import annotations

import datetime
import decimal
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tailrace.datasets.readers import parquet
from tailrace.datasets.readers.formats import read_rows
from tailrace.datasets.readers.row import DataFileError, Row


@pytest.fixture
def table(tmp_path: Path) -> Any:
    """Write columns as Parquet and return the rows."""

    def rows(columns: Any, **options: Any) -> list[Row]:
        path = tmp_path / "d.parquet"
        content = columns if isinstance(columns, pa.Table) else pa.table(columns)
        pq.write_table(content, path, **options)
        return list(read_rows(path))

    return rows


def test_nested_rows_become_plain_data(table: Any) -> None:
    messages = [[{"role": "user", "content": "à 😀"}], [{"role": "user", "content": None}]]
    rows = table({"messages": messages, "n": [[[1], []], [[2]]]})
    assert [row.content["messages"] for row in rows] == messages
    assert rows[0].content["n"] == [[1], []]
    assert [row.place for row in rows] == ["row 1", "row 2"]


def test_rows_beyond_a_batch_and_a_row_group(table: Any) -> None:
    numbers = list(range(1000))
    rows = table({"n": numbers}, row_group_size=300)
    assert [row.content["n"] for row in rows] == numbers
    assert rows[-1].place == "row 1000"


def test_dates_and_times_become_text(table: Any) -> None:
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5)
    columns = {
        "day": [moment.date()],
        "s": pa.array([moment], pa.timestamp("s")),
        "ns": pa.array([moment], pa.timestamp("ns", "UTC")),
        "none": pa.array([None], pa.timestamp("us")),
    }
    (row,) = table(columns)
    assert row.content["day"] == "2026-01-02"
    assert row.content["s"] == "2026-01-02 03:04:05.000"
    assert row.content["ns"].startswith("2026-01-02 03:04:05.000000000")
    assert row.content["none"] is None


def test_dictionaries_and_maps(table: Any) -> None:
    columns = {
        "word": pa.array(["a", "a"]).dictionary_encode(),
        "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
    }
    assert [row.content for row in table(columns)] == [
        {"word": "a", "map": {"k": 1}},
        {"word": "a", "map": {}},
    ]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([b"\x00"], "values of the type binary in the column 'c'"),
        ([decimal.Decimal("1.50")], r"values of the type decimal128\(3, 2\) in the column 'c'"),
        ([datetime.timedelta(1)], r"values of the type duration\[us\]"),
        ([[datetime.date(2026, 1, 1)]], r"values of the type date32\[day\]"),
        ([{"bytes": b"x", "path": "a.png"}], r"has images or audio \(bytes, path\) in the column"),
        ([[{"bytes": b"x", "path": "a.png"}]], r"has images or audio \(bytes, path\)"),
    ],
)
def test_types_that_json_lacks_are_refused_by_column(
    table: Any, values: list[Any], problem: str
) -> None:
    with pytest.raises(DataFileError, match=problem):
        table({"text": ["a"], "c": values})


def test_images_are_refused_by_name(table: Any) -> None:
    features = {"info": {"features": {"photo": {"_type": "Image"}}}}
    content = pa.table({"photo": ["a.png"]})
    content = content.replace_schema_metadata({"huggingface": json.dumps(features)})
    with pytest.raises(DataFileError, match="has images in the column 'photo': a dataset holds"):
        table(content)


@pytest.mark.parametrize("recorded", ["[", "[]", '{"info": 1}', '{"info": {"features": [1]}}'])
def test_records_of_features_that_are_no_use_are_passed_over(table: Any, recorded: str) -> None:
    content = pa.table({"a": ["x"]}).replace_schema_metadata({"huggingface": recorded})
    assert table(content)[0].content == {"a": "x"}


def test_huge_row_groups_are_refused(table: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(parquet, "MAX_GROUP_BYTES", 100)
    with pytest.raises(DataFileError, match=r"has a row group of .* row_group_size=10000"):
        table({"n": list(range(1000))})


def test_rows_that_may_repeat_a_large_dictionary_are_read_in_small_batches(
    table: Any, monkeypatch: Any
) -> None:
    sizes: list[int] = []
    iter_batches = pq.ParquetFile.iter_batches

    def counted(file: Any, *args: Any, **options: Any) -> Any:
        sizes.append(options["batch_size"])
        return iter_batches(file, *args, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    monkeypatch.setattr(parquet, "BATCH_BYTES", 100_000)
    assert len(table({"text": ["x" * 30_000] * 50})) == 50
    assert len(table({"text": ["x" * 300_000] * 50})) == 50
    assert len(table({"text": ["x"] * 50})) == 50
    assert sizes == [3, 1, parquet.BATCH_ROWS]


def test_columns_that_are_nested_too_deeply(table: Any) -> None:
    kind = pa.string()
    for _ in range(400):
        kind = pa.list_(kind)
    with pytest.raises(DataFileError, match=r"nested too deeply|cannot be read as Parquet"):
        table(pa.table({"deep": pa.array([None], kind)}))


def test_files_that_are_not_parquet(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    path.write_bytes(b"PAR1 no, it is not PAR1")
    with pytest.raises(DataFileError, match=r"d\.parquet: cannot be read as Parquet: "):
        list(read_rows(path))
    path.write_bytes(gzip.compress(b"PAR1"))
    with pytest.raises(DataFileError, match="is a packed Parquet file: unpack it"):
        list(read_rows(path))


def test_text_that_is_not_utf8(table: Any) -> None:
    text = pa.array([b"\xff"]).view(pa.string())
    with pytest.raises(DataFileError, match="has text that is not UTF-8 after row 0"):
        table({"a": text})


def test_pyarrow_that_is_not_installed(table: Any, monkeypatch: Any, tmp_path: Path) -> None:
    table({"a": [1]})
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(
        DataFileError, match=r'Parquet needs pyarrow.*pip install "tailrace\[data\]"'
    ):
        list(read_rows(tmp_path / "d.parquet"))
