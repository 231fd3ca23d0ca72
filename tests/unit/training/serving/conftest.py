"""An engine with a tiny model, whose buckets are small, and a tiny chat model's folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tailrace.formats.data.prediction import FinishReason
from training.generate.sampling import Sampling
from training.models.family import Model, Params
from training.serving.engine import Engine
from training.serving.jobs import Job, Piece
from training.serving.programs import RowPrograms
from training.serving.running import STEPS
from training.serving.shapes import Shapes, compile_all

ENDS = frozenset({0})


class Received:
    """Everything that came for one job."""

    def __init__(self, prompt: Sequence[int], client: str = "", **sampling: Any) -> None:
        settings = Sampling(**{"seed": 7, **sampling})
        self.pieces: list[Piece] = []
        self.job = Job(prompt, settings, self._receive, client)
        self.begun, self.done = threading.Event(), threading.Event()

    def _receive(self, piece: Piece) -> None:
        self.pieces.append(piece)
        self.begun.set()
        ended = sum(piece.finish is not None for piece in self.pieces)
        if ended == self.job.sampling.n_samples:
            self.done.set()

    def tokens(self, sample: int = 0) -> list[int]:
        assert self.done.wait(60)
        return [t for piece in self.pieces if piece.sample == sample for t in piece.tokens]

    def logprobs(self, sample: int = 0) -> list[float]:
        return [p for piece in self.pieces if piece.sample == sample for p in piece.logprobs]

    @property
    def finish(self) -> FinishReason | None:
        assert self.done.wait(60)
        return self.pieces[-1].finish


@pytest.fixture(scope="session")
def shapes() -> Shapes:
    return Shapes(slots=4, rows=1, context=60, chunk=16, smallest_prompt=16, smallest_cache=16)


@pytest.fixture(scope="session")
def programs(model: Model, params: Params, shapes: Shapes) -> RowPrograms:
    programs = RowPrograms(model, ENDS, STEPS, None)
    compile_all(programs, params, shapes)
    return programs


@pytest.fixture
def engine(programs: RowPrograms, params: Params, shapes: Shapes) -> Iterator[Engine]:
    engine = Engine(programs, params, ENDS, shapes, places=100)
    engine.start()
    yield engine
    engine.close("the test has ended")
