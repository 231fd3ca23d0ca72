"""A language model small enough that compiling it is all that takes time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import pytest

from tailrace.formats.data.golden import golden_v2
from tailrace.formats.data.trace import Trace
from tests.stack import session_folder
from training.data.rendering import render_prompt, render_response
from training.data.tokenizer import train_tokenizer
from training.models.family import Model, Params
from training.models.registry import model_from_config
from training.observer import EvalPoint, MetricPoint, Observer, StopRequest

TINY = {"model_type": "gpt2", "n_positions": 64, "n_embd": 16, "n_layer": 1, "n_head": 2}


class Recorder(Observer):
    """Observer that records all calls, and requests a stop after a number of steps."""

    def __init__(self, stop: StopRequest | None = None, at: int = 0) -> None:
        self.points: list[MetricPoint] = []
        self.evaluations: list[EvalPoint] = []
        self.saved: list[int] = []
        self.predictions: list[Any] = []
        self.verdicts: list[Any] = []
        self.done: list[tuple[int, int, str]] = []
        self._stop, self._at = stop, at

    def metric(self, point: MetricPoint) -> None:
        self.points.append(point)

    def evaluation(self, point: EvalPoint) -> None:
        self.evaluations.append(point)

    def progress(self, done: int, total: int, unit: str) -> None:
        self.done.append((done, total, unit))

    def checkpoint(self, step: int, path: Path) -> None:
        self.saved.append(step)

    def prediction(self, prediction: Any) -> None:
        self.predictions.append(prediction)

    def verdict(self, verdict: Any) -> None:
        self.verdicts.append(verdict)

    def stop_request(self) -> StopRequest | None:
        reached = self.done and self.done[-1][0] >= self._at
        return self._stop if reached else None


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs that several tests, and the processes they start, compile are compiled once."""
    folder = session_folder(tmp_path_factory.getbasetemp()) / "xla"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


@pytest.fixture(scope="session")
def recorder() -> type[Recorder]:
    return Recorder


@pytest.fixture(scope="session")
def traces() -> list[Trace]:
    return golden_v2()


@pytest.fixture(scope="session")
def tokenizer(traces: list[Trace]) -> Any:
    bare = train_tokenizer([], 320, 64)
    texts = [render_prompt(bare, t.prompt) + render_response(t) for t in traces]
    return train_tokenizer(texts, 320, 64)


@pytest.fixture(scope="session")
def model(tokenizer: Any) -> Model:
    return model_from_config({**TINY, "vocab_size": len(tokenizer)})


@pytest.fixture(scope="session")
def params(model: Model) -> Params:
    return model.init(0)
