from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from training.errors import ConfigError, ModelNotFoundError, ModelUnreachableError
from training.models import source
from training.models.source import resolve_model, resolve_tokenizer


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def silent_hub() -> Iterator[str]:
    """A hub that accepts connections and never answers."""
    release = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            release.wait(30)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    release.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert resolve_model(str(tmp_path)) == tmp_path


@pytest.mark.parametrize(
    ("name", "says"),
    [("m.gguf", "import_gguf"), ("m.bin", "convert it to safetensors"), ("m.safetensors", "file")],
)
def test_a_file_is_no_folder(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ModelNotFoundError, match=f"is not a model folder: it .*{says}"):
        resolve_model(str(tmp_path / name))


def test_server_models_need_a_download() -> None:
    with pytest.raises(ConfigError, match="tailrace runs download"):
        resolve_model("models/mine")


@pytest.mark.parametrize("name", ["./missing", "/missing/folder", "~/x", "a/b/c"])
def test_missing_folders(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="does not exist"):
        resolve_model(name)


@pytest.mark.parametrize("name", ["missing/", "my models/missing", "a..b"])
def test_what_cannot_be_a_name_on_the_hub_is_no_folder(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="neither a folder here nor a public model"):
        resolve_model(name)


def test_a_path_is_first_told_as_a_missing_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelUnreachableError) as caught:
        resolve_model("artifacts/nope")
    assert str(caught.value).startswith(
        "the folder 'artifacts/nope' does not exist; if it is meant as a model of the hub: "
        "the model "
        "'artifacts/nope' is not cached on this machine"
    )


def test_an_unreachable_hub_is_told_at_once_with_the_ways_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    begun = time.monotonic()
    with pytest.raises(ModelUnreachableError) as caught:
        resolve_model("distilgpt2")
    assert time.monotonic() - begun < 5
    for way_out in ("train_golden_v2_nano.yaml", "tailrace models import", "folder"):
        assert way_out in str(caught.value)


def test_a_silent_hub_is_given_up(silent_hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", silent_hub)
    monkeypatch.setattr(source, "HUB_TIMEOUT_SECONDS", 0.3)
    with pytest.raises(ModelUnreachableError, match="timed out"):
        resolve_model("distilgpt2")


def test_offline_mode_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnreachableError, match="offline mode is on"):
        resolve_model("org/name")


def cached(folder: Path, *files: str) -> Path:
    """A model in the hub's cache, with these files."""
    commit = "0" * 40
    snapshot = folder / "models--distilgpt2" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for name in files:
        (snapshot / name).write_text("{}")
    refs = folder / "models--distilgpt2" / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit)
    return snapshot


SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


@pytest.mark.parametrize(
    "files", [["model.safetensors"], ["model.safetensors.index.json", *SHARDS]]
)
def test_a_cached_model_needs_no_hub(
    files: list[str], empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    snapshot = cached(empty_cache, "config.json", *files)
    index = snapshot / "model.safetensors.index.json"
    if index.exists():
        index.write_text(json.dumps({"weight_map": {name: name for name in SHARDS}}))
    assert resolve_model("distilgpt2") == snapshot


def test_a_cached_tokenizer_needs_neither_the_hub_nor_weights(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelUnreachableError):
        resolve_tokenizer("distilgpt2")
    snapshot = cached(empty_cache, "config.json", "tokenizer.json")
    assert resolve_tokenizer("distilgpt2") == snapshot
    with pytest.raises(ModelUnreachableError):
        resolve_model("distilgpt2")


def test_a_cached_model_that_lacks_a_part_is_fetched(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    snapshot = cached(empty_cache, "config.json", SHARDS[0])
    index = {"weight_map": {name: name for name in SHARDS}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelUnreachableError):
        resolve_model("distilgpt2")


@pytest.fixture
def asked_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str | None]]:
    """A hub that knows no model, and the credentials that it was asked with."""
    credentials: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            credentials.append(self.headers.get("authorization"))
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    login = tmp_path / "token"
    login.write_text("hf_of_the_operator")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(login))
    yield credentials
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_hub_is_asked_as_anybody(
    asked_hub: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(ModelNotFoundError, match="unless HF_TOKEN is set"):
        resolve_model("org/private")
    assert set(asked_hub) == {None}
    monkeypatch.setenv("HF_TOKEN", "hf_named")
    with pytest.raises(ModelNotFoundError):
        resolve_model("org/private")
    assert "Bearer hf_named" in asked_hub
