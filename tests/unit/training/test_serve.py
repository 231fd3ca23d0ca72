"""The server as a process: a real model, real signals."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tailrace.formats.data.message import Message, Role
from tailrace.formats.spec.train_spec import MeshSpec
from tests.servers.node import Process, wait_until
from tests.stack import session_folder
from tests.unit.training.chat_folder import write_chat_folder
from training.generate.predict import Evaluated
from training.generate.sampling import Sampling
from training.serve import main

HI: Any = [{"role": "user", "content": "Hi"}]


class Server:
    """The process, and a client of it."""

    def __init__(self, model: Path, folder: Path, cache: Path, *flags: str) -> None:
        argv = [sys.executable, "-m", "training.serve", "--model", str(model), "--port", "0"]
        argv += ["--cache_dir", str(cache), "--slots", "4", *flags]
        env = {**os.environ, "TAILRACE_API_KEY": "secret", "HF_HUB_OFFLINE": "1"}
        self.process = Process(argv, log=folder / "serve.log", env=env)
        wait_until(self._is_ready, "the model server", 120)
        match = re.search(r"serving (\S+) at (\S+)", self.log)
        assert match
        self.name, url = match.groups()
        self.client = openai.OpenAI(base_url=url, api_key="secret", max_retries=0, timeout=60)

    @property
    def log(self) -> str:
        return self.process.log.read_text()

    def chat(self, **fields: Any) -> Any:
        return self.client.chat.completions.create(model=self.name, messages=HI, **fields)

    def _is_ready(self) -> bool:
        assert self.process.popen.poll() is None, self.log
        return "as a judge's endpoint" in self.log


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chat_folder(tmp_path_factory.mktemp("serve") / "tiny")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return session_folder(tmp_path_factory.getbasetemp()) / "serve-cache"


@pytest.fixture(scope="module")
def server(model: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(model, tmp_path_factory.mktemp("server"), cache)
    yield server
    server.process.stop(timeout=30)


@pytest.mark.timeout(300)
def test_answers_are_those_of_an_evaluation(server: Server, model: Path) -> None:
    evaluated = Evaluated.open(model)
    prompt = evaluated.chat.prompt_tokens([Message(Role.USER, "Hi")])
    for settings in ({"temperature": 0.0}, {"temperature": 1.3, "seed": 5}):
        sampling = Sampling(max_new_tokens=24, stop=evaluated.chat.stop, **settings)  # type: ignore[arg-type]
        generator = evaluated.generator(MeshSpec())
        parts = generator.generate([prompt], sampling, 1)
        (expected,) = [g for part in parts for g in part]
        answer = server.chat(max_tokens=24, **settings)
        assert answer.usage.prompt_tokens == len(prompt)
        assert answer.usage.completion_tokens == expected.count
        ended = expected.finish_reason.value == "eos"
        text = evaluated.chat.text(expected.tokens[:-1] if ended else expected.tokens)
        assert answer.choices[0].message.content == text.replace("\0", "")
        streamed = server.chat(max_tokens=24, stream=True, **settings)
        deltas = (chunk.choices[0].delta.content or "" for chunk in streamed)
        assert "".join(deltas) == answer.choices[0].message.content


def test_many_clients_at_once_have_the_answers_that_they_have_alone(server: Server) -> None:
    def ask(seed: int) -> str:
        answer = server.chat(max_tokens=30, temperature=1.2, seed=seed)
        return str(answer.choices[0].message.content)

    alone = [ask(seed) for seed in range(6)]
    together = [""] * 6

    def store(seed: int) -> None:
        together[seed] = ask(seed)

    threads = [threading.Thread(target=store, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_the_key_is_shown_nowhere(server: Server) -> None:
    assert "secret" not in server.log
    arguments = Path(f"/proc/{server.process.pid}/cmdline").read_text()
    assert "training.serve" in arguments
    assert "secret" not in arguments


def test_the_setting_for_judges_is_printed(server: Server) -> None:
    port = server.client.base_url.port
    assert f"TAILRACE_JUDGE_ENDPOINTS=127.0.0.1:{port}" in server.log


@pytest.mark.timeout(300)
def test_sigterm_ends_streams_and_then_the_process(
    model: Path, cache: Path, tmp_path: Path
) -> None:
    server = Server(model, tmp_path, cache, "--grace", "0")
    stream = server.chat(stream=True, temperature=2.0, n=64, max_tokens=100)
    next(stream)
    server.process.send(signal.SIGTERM)
    with pytest.raises(openai.APIError, match="the server is ending"):
        list(stream)
    assert server.process.popen.wait(30) == 0
    assert "programs are compiled" in server.log


def test_flags_that_cannot_be_used(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.delenv("TAILRACE_API_KEY", raising=False)
    keys = tmp_path / "keys"

    def refusal(*flags: str) -> str:
        assert main(["--model", str(tmp_path), *flags]) == 2
        return str(capsys.readouterr().err)

    assert "without a key: set an API key" in refusal("--host", "192.0.2.1")
    keys.write_text("one\n")
    keys.chmod(0o644)
    assert "chmod 600" in refusal("--api-key-file", str(keys))
    keys.chmod(0o600)
    keys.write_text("\n")
    assert "has no API key" in refusal("--api-key-file", str(keys))
    keys.write_text("good\nnot good\n")
    message = refusal("--api-key-file", str(keys))
    assert "line 2: an API key must be" in message
    assert "not good" not in message
    monkeypatch.setenv("TAILRACE_API_KEY", "not good")
    assert "TAILRACE_API_KEY: an API key must be" in refusal()
    assert "TAILRACE_API_KEY" not in os.environ
