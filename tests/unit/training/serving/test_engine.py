from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

from tailrace.formats.data.prediction import FinishReason
from tests.unit.training.serving.conftest import ENDS, Received
from training.generate.generator import Generator
from training.generate.sampling import Sampling
from training.models.family import Model, Params
from training.serving.engine import Engine
from training.serving.jobs import EngineClosedError
from training.serving.programs import RowPrograms
from training.serving.queue import FullError
from training.serving.shapes import Shapes

PROMPTS = [[5, 6, 7], list(range(20, 40)), [9], [11, 12, 13, 14], [3] * 33]
WAYS: list[dict[str, Any]] = [
    {"max_new_tokens": 20},
    {"max_new_tokens": 20, "temperature": 1.5},
    {"max_new_tokens": 20, "temperature": 1.5, "top_k": 40, "top_p": 0.9, "n_samples": 2,
     "repetition_penalty": 1.2},
]  # fmt: skip


@pytest.fixture(scope="module")
def batch(model: Model, params: Params) -> dict[tuple[int, int], list[list[int]]]:
    """The batch generator's tokens: by way and prompt, those of each sample."""
    generator = Generator(model, params, ENDS)
    tokens: dict[tuple[int, int], list[list[int]]] = {}
    for way, settings in enumerate(WAYS):
        sampling = Sampling(**settings, seed=7)
        parts = generator.generate(PROMPTS, sampling, 5, numbers=[0] * len(PROMPTS))
        answers = sorted((g for part in parts for g in part), key=lambda g: (g.index, g.sample))
        for answer in answers:
            tokens.setdefault((way, answer.index), []).append(answer.tokens)
    return tokens


@pytest.mark.parametrize("order", range(3))
def test_answers_are_those_of_the_batch_generator_in_any_order(
    engine: Engine, batch: Any, order: int
) -> None:
    chance = random.Random(order)
    keys = [(way, prompt) for way in range(len(WAYS)) for prompt in range(len(PROMPTS))]
    chance.shuffle(keys)
    received = {}
    for way, prompt in keys:
        received[way, prompt] = Received(PROMPTS[prompt], chance.choice("ab"), **WAYS[way])
        engine.submit([received[way, prompt].job])
        time.sleep(chance.choice([0, 0, 0.02]))
    answers = {
        key: [r.tokens(sample) for sample in range(r.job.sampling.n_samples)]
        for key, r in received.items()
    }
    assert answers == batch


def test_log_probabilities_are_those_of_the_batch_generator(
    engine: Engine, model: Model, params: Params
) -> None:
    received = Received(PROMPTS[0], max_new_tokens=12)
    engine.submit([received.job])
    settings = Sampling(max_new_tokens=12, logprobs=True)
    ((expected,),) = [
        part for part in Generator(model, params, ENDS).generate([PROMPTS[0]], settings, 1) if part
    ]
    assert received.tokens() == expected.tokens
    np.testing.assert_allclose(received.logprobs(), expected.logprobs, atol=1e-4)


def test_tokens_come_before_the_answer_ends(engine: Engine) -> None:
    received = Received([5, 6, 7], max_new_tokens=40, temperature=2.0)
    engine.submit([received.job])
    tokens = received.tokens()
    assert len(received.pieces) > 3
    assert received.finish is (FinishReason.EOS if tokens[-1] in ENDS else FinishReason.LENGTH)


def test_an_answer_ends_with_the_context(engine: Engine) -> None:
    received = Received([5] * 56, max_new_tokens=40, temperature=2.0, seed=3)
    engine.submit([received.job])
    assert len(received.tokens()) <= 4


def test_a_cancelled_job_frees_its_slot_and_changes_no_other(engine: Engine, batch: Any) -> None:
    long = [Received([5, 6], max_new_tokens=60, temperature=3.0, seed=s) for s in range(8)]
    for received in long:
        engine.submit([received.job])
    assert long[0].begun.wait(60)
    other = Received(PROMPTS[1], **WAYS[0])
    engine.submit([other.job])
    for received in long:
        engine.cancel(received.job)
    assert other.tokens() == batch[0, 1][0]
    assert wait_idle(engine)
    assert not long[-1].done.is_set()


def test_one_sample_can_be_cancelled(engine: Engine) -> None:
    settings: dict[str, Any] = {"max_new_tokens": 50, "temperature": 3.0, "seed": 1}
    both = Received([5, 6], n_samples=2, **settings)
    engine.submit([both.job])
    expected = both.tokens(1)
    part = Received([5, 6], n_samples=2, **settings)
    engine.submit([part.job])
    engine.cancel(part.job, 0)
    assert wait_idle(engine)
    assert [t for piece in part.pieces if piece.sample == 1 for t in piece.tokens] == expected
    assert all(piece.finish is None for piece in part.pieces if piece.sample == 0)


def test_one_clients_heavy_request_does_not_keep_another_waiting(
    programs: RowPrograms, params: Params, shapes: Shapes
) -> None:
    engine = Engine(programs, params, ENDS, shapes, places=100, patience=0.0)
    settings: dict[str, Any] = {"max_new_tokens": 55, "temperature": 1.5, "n_samples": 12}
    alone = Received([7, 8], "heavy", **settings)
    engine.start()
    engine.submit([alone.job])
    expected = [alone.tokens(sample) for sample in range(12)]
    heavy, light = Received([7, 8], "heavy", **settings), Received([9], "light", max_new_tokens=4)
    engine.submit([heavy.job])
    assert heavy.begun.wait(60)
    engine.submit([light.job])
    light.tokens()
    assert not heavy.done.is_set()
    # Its answers were interrupted, and are the same.
    assert [heavy.tokens(sample) for sample in range(12)] == expected
    engine.close("the test has ended")


def test_too_many_waiting_requests_are_refused(
    programs: RowPrograms, params: Params, shapes: Shapes
) -> None:
    engine = Engine(programs, params, ENDS, shapes, places=4)
    for _ in range(4):
        engine.submit([Received([5], str(_)).job])
    with pytest.raises(FullError, match="4 requests are waiting: at most 4 may"):
        engine.submit([Received([5], "new").job])


def test_running_answers_go_on_while_a_long_prompt_is_read(engine: Engine) -> None:
    order: list[str] = []

    def log(received: Received, name: str) -> Received:
        receive = received.job.receive
        job = dataclasses.replace(
            received.job, receive=lambda piece: (order.append(name), receive(piece))[1]
        )
        received.job = job
        return received

    short = log(Received([5, 6], max_new_tokens=50, temperature=3.0, seed=9), "short")
    engine.submit([short.job])
    assert short.begun.wait(60)
    long = log(Received([7] * 55, max_new_tokens=3), "long")
    engine.submit([long.job])
    long.tokens()
    short.tokens()
    # Four chunks of the prompt, with tokens of the other answer between them.
    assert order.index("long") >= 4


def test_a_cancelled_long_prompt_is_not_read_to_its_end(engine: Engine, batch: Any) -> None:
    jobs = [Received([7] * 55, str(number)) for number in range(4)]
    for received in jobs:
        engine.submit([received.job])
    for received in jobs[:3]:
        engine.cancel(received.job)
    other = Received(PROMPTS[4], **WAYS[0])
    engine.submit([other.job])
    assert other.tokens() == batch[0, 4][0]
    assert jobs[3].finish is not FinishReason.ERROR
    assert wait_idle(engine)


def test_closing_ends_running_and_waiting_jobs_with_the_reason(engine: Engine) -> None:
    jobs = [Received([5, 6], max_new_tokens=60, temperature=3.0, seed=s) for s in range(20)]
    for received in jobs:
        engine.submit([received.job])
    assert jobs[0].begun.wait(60)
    engine.close("the server is ending")
    assert jobs[-1].finish is FinishReason.ERROR
    assert jobs[-1].pieces[-1].error == "the server is ending"
    assert all(received.done.is_set() for received in jobs)
    with pytest.raises(EngineClosedError, match="the server is ending"):
        engine.submit([Received([5]).job])


def test_scores_that_are_not_finite_end_the_answer_alone(
    model: Model, params: Params, programs: RowPrograms, shapes: Shapes
) -> None:
    broken = {**params, "transformer.ln_f.bias": params["transformer.ln_f.bias"].at[3].set(np.nan)}
    engine = Engine(programs, broken, ENDS, shapes, places=10)
    engine.start()
    received = Received([5, 6])
    engine.submit([received.job])
    assert received.finish is FinishReason.ERROR
    assert "not finite numbers" in received.pieces[-1].error
    assert engine.failure == ""
    engine.close("the test has ended")


def test_a_failure_of_the_engine_ends_every_job(
    programs: RowPrograms, params: Params, shapes: Shapes
) -> None:
    engine = Engine(programs, {}, ENDS, shapes, places=10)
    received = Received([5, 6])
    engine.submit([received.job])
    engine.start()
    assert received.finish is FinishReason.ERROR
    assert engine.failure.startswith("generation has failed")


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """The programs that were compiled, or read from the cache, since the test began."""
    events: list[str] = []

    def listen(event: str, _: float, **__: Any) -> None:
        if event.endswith("backend_compile_duration"):
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


def test_nothing_is_compiled_after_the_start(engine: Engine, compiled: list[str]) -> None:
    lengths = [1, 15, 16, 17, 31, 33, 56, 2, 3]
    jobs = [
        Received([length] * length, max_new_tokens=count, **way)
        for length in lengths
        for count, way in ((3, {}), (40, {"temperature": 1.1, "top_p": 0.8}))
    ]
    for received in jobs:
        engine.submit([received.job])
    for received in jobs:
        received.tokens()
    assert wait_idle(engine)
    again = Received([4] * 40, max_new_tokens=5)
    engine.submit([again.job])
    again.tokens()
    assert compiled == []


def wait_idle(engine: Engine) -> bool:
    """Wait until nothing runs or waits."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        load = engine.load
        if load.running == load.waiting == 0:
            return True
        time.sleep(0.01)
    return False
