"""A model server in this process whose answers are scripted, for tests of the HTTP API."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import uvicorn

from tailrace.formats.data.prediction import FinishReason
from tests.unit.training.chat_folder import chat_tokenizer
from training.chat_templates import shipped_template
from training.generate.predict import Evaluated
from training.models.family import Model, Params
from training.serving.api.app import Limits, ModelApi
from training.serving.api.guard import Guard, allowed_hosts
from training.serving.api.metrics import CountedRequests
from training.serving.jobs import EngineClosedError, Job, Load, Piece
from training.serving.model import ServedModel
from training.serving.queue import FullError
from training.serving.shapes import Shapes

NAME = "models/m@prod"
KEYS = ["key-one", "key-two"]


class ScriptedEngine:
    """An engine whose answer to everything is :attr:`text`, a token at a time."""

    def __init__(self, tokenizer: Any) -> None:
        self.shapes = Shapes(slots=2, rows=1, context=2048)
        self.failure = ""
        self.load = Load(0, 3, 0, 4.0)
        self.text = "fine"
        self.hangs = False
        """True if answers never end."""
        self.is_full = False
        self.jobs: list[Job] = []
        self.cancelled: list[tuple[Job, int | None]] = []
        self._tokenizer = tokenizer

    def submit(self, jobs: Sequence[Job]) -> None:
        if self.failure:
            raise EngineClosedError(self.failure)
        if self.is_full:
            raise FullError("3 requests are waiting: at most 3 may")
        self.jobs += jobs
        for job in jobs:
            for sample in range(job.sampling.n_samples):
                self._answer(job, sample)

    def cancel(self, job: Job, sample: int | None = None) -> None:
        self.cancelled.append((job, sample))

    def _answer(self, job: Job, sample: int) -> None:
        tokens = list(self._tokenizer(self.text, add_special_tokens=False)["input_ids"])
        limit = job.sampling.max_new_tokens
        tokens = [*tokens, self._tokenizer.eos_token_id][:limit]
        for number, token in enumerate(tokens):
            finish = None
            if number == len(tokens) - 1 and not self.hangs:
                is_end = token == self._tokenizer.eos_token_id
                finish = FinishReason.EOS if is_end else FinishReason.LENGTH
            job.receive(Piece(sample, [token], [-0.5], finish))


class Scripted:
    """The server with its engine."""

    def __init__(self, model: Model, params: Params) -> None:
        tokenizer = chat_tokenizer(shipped_template("qwen2.5"))
        self.engine: Any = ScriptedEngine(tokenizer)
        served = ServedModel(NAME, Evaluated(model, params, tokenizer), self.engine)
        self.api = ModelApi(served, Limits(body_bytes=20_000, seconds=60.0, places=8))
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    @contextlib.contextmanager
    def running(self) -> Iterator[Scripted]:
        guard = Guard(self.api.application(), KEYS, allowed_hosts("127.0.0.1", ["model.test"]))
        application: Any = CountedRequests(guard, self.api.metrics)
        config = uvicorn.Config(application, http="h11", log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [self.socket]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield self
        server.should_exit = True
        thread.join()
