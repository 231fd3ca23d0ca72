from __future__ import annotations

from pathlib import Path

import pytest

from tailrace.formats.data.golden import golden_v2, write_golden_v2
from tailrace.formats.data.split import split_records
from training.data.datasets import find_dataset, load_dataset, load_split
from training.errors import DataError


def test_found_by_name_folder_and_file(tmp_path: Path) -> None:
    file = write_golden_v2(tmp_path).dataset
    assert find_dataset("golden-v2", tmp_path) == file
    assert find_dataset(str(file.parent), tmp_path) == file
    assert find_dataset(str(file), tmp_path) == file
    assert list(load_dataset(file)) == golden_v2()


def test_missing_ones_name_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="tailrace datasets seed golden-v2 --output"):
        find_dataset("golden-v2", tmp_path)
    with pytest.raises(DataError, match="give a JSON Lines file"):
        find_dataset("mine", tmp_path)


def test_wrong_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": "p", "steps": []}\nnonsense\n')
    with pytest.raises(DataError, match=r"bad.jsonl: line 1: answer: is required.*line 2: is not"):
        load_dataset(path)


def test_splits(tmp_path: Path) -> None:
    traces = golden_v2()
    assert load_split(traces, None).train == traces
    path = tmp_path / "split.json"
    with pytest.raises(DataError, match="no file"):
        load_split(traces, path)
    made = split_records(traces, 0.2, 42)
    path.write_text(made.dump())
    loaded = load_split(traces, path)
    assert list(loaded.train) == list(made.train)
    assert list(loaded.held_out) == list(made.held_out)
    with pytest.raises(DataError, match="another dataset"):
        load_split(made.train, path)
