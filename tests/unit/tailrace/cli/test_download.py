from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tailrace.v1 import artifact_pb2


@pytest.fixture
def finished(served: Any, plane: Any) -> Any:
    """A run with two checkpoints, two attempts' metrics and a model."""
    add = plane.artifacts.add
    add(artifact_pb2.ARTIFACT_KIND_CHECKPOINT, {"state.json": b"100"})
    add(artifact_pb2.ARTIFACT_KIND_METRICS, {"metrics.jsonl": b"first\n"})
    add(artifact_pb2.ARTIFACT_KIND_CHECKPOINT, {"state.json": b"200"})
    add(artifact_pb2.ARTIFACT_KIND_METRICS, {"metrics.jsonl": b"second\n"})
    add(artifact_pb2.ARTIFACT_KIND_MODEL, {"config.json": b"{}", "model.safetensors": b"w" * 9})
    return served


def test_model_and_files_in_the_layout_of_a_training(finished: Any, tmp_path: Path) -> None:
    result = finished("runs", "download", "demo", "-o", "out", "--json")
    assert result.json() == {"metrics": "out", "model": "out/final_model"}
    assert (tmp_path / "out/metrics.jsonl").read_bytes() == b"second\n"
    assert (tmp_path / "out/final_model/model.safetensors").read_bytes() == b"w" * 9
    assert not (tmp_path / "out/checkpoint").exists()


def test_one_part(finished: Any, tmp_path: Path) -> None:
    assert finished("runs", "download", "demo", "-o", "out", "--only", "checkpoint").code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["checkpoint"]
    assert (tmp_path / "out/checkpoint/state.json").read_bytes() == b"200"


def test_what_is_not_there(finished: Any, served: Any, tmp_path: Path) -> None:
    result = finished("runs", "download", "demo", "-o", "out", "--only", "verdicts")
    assert (result.code, result.err) == (3, "error: demo has no verdicts yet\n")
    assert not (tmp_path / "out").exists()


def test_a_run_without_results(served: Any) -> None:
    assert "demo has no results yet" in served("runs", "download", "demo", "-o", "out").err


def test_nothing_is_written_through_a_link(finished: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/final_model").symlink_to(tmp_path / "elsewhere")
    finished("runs", "download", "demo", "-o", "out", "--only", "model")
    # The folder asked for may be a link of the user's own; names in the artifact may not lead out.
    assert {path.name for path in (tmp_path / "elsewhere").iterdir()} == {
        "config.json",
        "model.safetensors",
    }
