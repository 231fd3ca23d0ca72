from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.training.models.test_exported import saved
from training import export_model
from training.export_model import main
from training.models.folder import load_model
from training.models.gguf.file import GgufFile


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX is imported here already."""
    monkeypatch.setattr(export_model, "prepare_process", lambda _: None)


def test_a_file_and_a_folder(tmp_path: Path, tokenizer: Any) -> None:
    source = saved(tmp_path / "source", tokenizer)
    file, folder = tmp_path / "model.gguf", tmp_path / "folder"
    assert main([f"--model={source}", f"--output={file}", "--gguf", "--dtype=float16"]) == 0
    assert GgufFile(file).architecture == "llama"
    assert main([f"--model={source}", f"--output={folder}"]) == 0
    assert load_model(folder)[0].config == load_model(source)[0].config


def test_refusals_leave_nothing_behind(
    tmp_path: Path, tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    source = saved(tmp_path / "source", tokenizer, model_type="mistral", sliding_window=16)
    output = tmp_path / "out"
    for options, problem in (
        (["--gguf"], "sliding_window = 16"),
        (["--form=adapter"], "has no adapter"),
        (["--gguf", "--form=adapter"], "leave --form adapter out"),
    ):
        assert main([f"--model={source}", f"--output={output}", *options]) == 1
        assert problem in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ["source"]
    assert main([f"--model={source}", f"--output={source}"]) == 1
    assert load_model(source)
