from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tailrace.cli.options import ONE_TRY
from tailrace.formats.data import golden


def test_seeding_files_needs_no_server_and_twice_changes_nothing(
    tailrace: Any, tmp_path: Path
) -> None:
    first = tailrace("datasets", "seed", "golden-v2", "--output", "sets", "--json").json()
    assert first["changed"] is True
    dataset = tmp_path / "sets/golden-v2/dataset.jsonl"
    assert dataset.read_bytes() == golden.golden_v2_bytes()
    manifest = json.loads((tmp_path / "sets/golden-v2/manifest.json").read_text())
    assert manifest["traces"] == 100
    before = dataset.stat().st_mtime_ns
    again = tailrace("datasets", "seed", "golden-v2", "--output", "sets", "--json").json()
    assert again["changed"] is False
    assert dataset.stat().st_mtime_ns == before


def test_seeding_writes_files_and_the_database(served: Any, plane: Any, tmp_path: Path) -> None:
    result = served("datasets", "seed")
    assert result.code == 0
    assert "datasets/golden-v2@1" in result.out
    assert (tmp_path / "datasets/golden-v2/dataset.jsonl").is_file()
    assert "golden-v2" in plane.datasets.content


def test_a_folder_and_a_named_server_are_both_served(
    served: Any, plane: Any, tmp_path: Path
) -> None:
    assert served("datasets", "seed", "--output", "sets").code == 0
    assert plane.datasets.content == {}
    result = served("datasets", "seed", "--output", "sets", "--server", plane.address)
    assert "datasets/golden-v2@1" in result.out
    assert "golden-v2" in plane.datasets.content
    assert (tmp_path / "sets/golden-v2/dataset.jsonl").is_file()
    assert not (tmp_path / "datasets").exists()


def test_a_server_that_was_named_must_answer(tailrace: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("tailrace.cli.options.RETRY", ONE_TRY)
    assert tailrace("datasets", "seed", "--server", "127.0.0.1:1").code == 5
    assert not Path("datasets").exists()


def test_without_a_server_the_files_are_enough(
    tailrace: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("tailrace.environment.DEFAULT_SERVER", "127.0.0.1:1")
    result = tailrace("datasets", "seed")
    assert result.code == 0
    assert "no control plane at 127.0.0.1:1: only the files are written" in result.err
    assert (tmp_path / "datasets/golden-v2/manifest.json").is_file()


def test_an_unknown_built_in(tailrace: Any) -> None:
    result = tailrace("datasets", "seed", "golden-v3")
    assert result.code == 3
    assert "golden-v2" in result.err


def test_get_list_and_export(served: Any, plane: Any, tmp_path: Path) -> None:
    plane.datasets.content["mine"] = b"one\ntwo\n"
    assert served("datasets", "get", "mine", "--json").json()["name"] == "datasets/mine@1"
    assert "mine@1" in served("datasets", "list").out
    assert served("datasets", "export", "mine").out == "one\ntwo\n"
    assert served("datasets", "export", "mine", "-o", "sub/out.jsonl").code == 0
    assert (tmp_path / "sub/out.jsonl").read_bytes() == b"one\ntwo\n"


def test_a_broken_export_leaves_the_old_file(served: Any, plane: Any, tmp_path: Path) -> None:
    plane.datasets.content["mine"] = b"0123456789"
    (tmp_path / "out.jsonl").write_bytes(b"old")
    plane.faults.break_after["ExportDataset"] = [1]
    assert served("datasets", "export", "mine", "-o", "out.jsonl").code == 5
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert (tmp_path / "out.jsonl").read_bytes() == b"old"
