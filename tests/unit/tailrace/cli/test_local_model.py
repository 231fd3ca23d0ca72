from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tailrace.cli import local_model
from tailrace.v1 import artifact_pb2, run_pb2

FILES = {"config.json": b"{}", "model.safetensors": b"weights"}


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The program that replaced the command: its arguments and its environment."""
    calls: list[tuple[list[str], dict[str, str]]] = []

    def replace(path: str, arguments: list[str], environment: dict[str, str]) -> None:
        assert path == sys.executable
        calls.append((arguments, environment))
        raise SystemExit(0)

    monkeypatch.setattr(local_model.os, "execve", replace)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TAILRACE_API_KEY", raising=False)
    return lambda: calls[-1]


def words(arguments: list[str]) -> dict[str, str]:
    return dict(word.lstrip("-").partition("=")[::2] for word in arguments[4:])


def test_a_folder_is_used_where_it_is(tailrace: Any, program: Any, tmp_path: Path) -> None:
    (tmp_path / "models/m").mkdir(parents=True)
    assert tailrace("models", "chat", "models/m").code == 0
    arguments, _ = program()
    assert arguments[1:4] == ["-P", "-m", "training.chat"]
    compiled = str(tmp_path / "cache/tailrace/compiled")
    assert words(arguments) == {"model": "models/m", "cache_dir": compiled}


def test_an_imported_model_is_fetched_once(served: Any, plane: Any, program: Any) -> None:
    plane.models.add("m", FILES)
    served("models", "serve", "models/m", "--port", "0")
    first = words(program()[0])
    folder = Path(first["model"])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert (first["name"], first["port"], first["host"]) == ("models/m", "0", "127.0.0.1")
    before = (folder / "model.safetensors").stat().st_mtime_ns
    served("models", "serve", "models/m", "--name", "mine")
    assert words(program()[0])["name"] == "mine"
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_the_model_of_a_run_comes_with_the_settings_of_its_training(
    served: Any, plane: Any, program: Any
) -> None:
    plane.runs.runs["runs/demo"] = run_pb2.Run(name="runs/demo", uid="a-b-c")
    plane.artifacts.add(artifact_pb2.ARTIFACT_KIND_MODEL, FILES)
    plane.artifacts.add(artifact_pb2.ARTIFACT_KIND_METRICS, {"provenance.json": b"{}"})
    result = served("models", "chat", "runs/demo", "--system", "-x", "--json")
    assert result.code == 0, result.err
    options = words(program()[0])
    folder = Path(options["model"])
    assert (folder.name, options["name"]) == ("final_model", "runs/demo")
    assert (folder.parent / "provenance.json").exists()
    assert (options["system"], options["json"]) == ("-x", "")


def test_another_name_is_left_to_the_library(tailrace: Any, program: Any) -> None:
    tailrace("models", "chat", "org/name", "--cache-dir", "here")
    options = words(program()[0])
    assert (options["model"], options["name"]) == ("org/name", "org/name")
    assert options["cache_dir"] == "here/compiled"


def test_an_alias_without_its_kind_is_not_asked_of_the_hub(tailrace: Any, program: Any) -> None:
    refusal = tailrace("models", "serve", "support@prod")
    assert refusal.code == 2
    assert "'support@prod' is neither a folder nor a hub id" in refusal.err
    assert "models/NAME@ALIAS" in refusal.err


def test_a_key_is_not_among_the_arguments(tailrace: Any, program: Any) -> None:
    tailrace("models", "serve", "org/name", "--api-key", "secret", "--allow-host", "a.test")
    arguments, environment = program()
    assert not any("secret" in word for word in arguments)
    assert environment["TAILRACE_API_KEY"] == "secret"
    assert words(arguments)["allow-host"] == "a.test"


def test_a_missing_library_is_named(
    tailrace: Any, program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_model, "_NEEDED", ("training", "no_such_library"))
    refusal = tailrace("models", "serve", "org/name")
    assert refusal.code == 2
    assert "no_such_library cannot be imported" in refusal.err
    assert "tailrace[training]" in refusal.err


def test_a_model_that_does_not_exist(served: Any, program: Any) -> None:
    assert served("models", "chat", "models/absent").code == 3
