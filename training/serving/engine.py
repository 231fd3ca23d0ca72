"""The engine: a thread that decodes the requests of all clients together."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import jax
import numpy as np

from tailrace.formats.data.prediction import FinishReason
from training.generate.programs import Chosen, State
from training.generate.slots import Request, Slots, pad_prompts
from training.models.family import Params
from training.serving.jobs import EngineClosedError, Job, Load, Piece, Row
from training.serving.programs import RowPrograms, RowSettings
from training.serving.queue import FairQueue
from training.serving.shapes import Shapes

_log = logging.getLogger(__name__)

STEPS = 4
"""Tokens per call of the decoder; between calls answers are passed on and requests admitted."""

PREFILL_TOKENS = 512
"""Tokens of prompts that are read between two calls of the decoder; one prompt may have more."""

PATIENCE_SECONDS = 2.0
"""Seconds that a client without a running request waits before one of another client yields."""


class Engine:
    """Continuous batching of jobs that come at any time.

    The tokens of a sample are those of :meth:`training.generate.generator.Generator.generate` for
    the prompt alone with the job's settings, whatever else is decoded meanwhile.
    """

    def __init__(
        self,
        programs: RowPrograms,
        params: Params,
        end_ids: frozenset[int],
        shapes: Shapes,
        *,
        places: int,
        cache_limit: int | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Prepare; :meth:`start` starts the thread.

        Args:
            programs: Compiled programs.
            params: Parameters of the model.
            end_ids: Tokens that end an answer.
            shapes: Sizes of the programs.
            places: Maximum number of waiting samples.
            cache_limit: As in :class:`training.generate.slots.Slots`.
            patience: See :data:`PATIENCE_SECONDS`.
        """
        self.shapes = shapes
        self._programs = programs
        self._params = params
        self._end_ids = end_ids
        self._patience = patience
        self._slots = Slots(shapes.slots, end_ids, cache_limit)
        self._settings = RowSettings.greedy(shapes.slots)
        self._rows: dict[int, Row] = {}
        """Running rows by slot."""
        self._starting: Sequence[Row] = ()
        """Rows that are neither waiting nor running yet."""
        self._state: State | None = None
        self._wake = threading.Condition()
        self._queue: FairQueue[Row] = FairQueue(places, shapes.slots)
        self._cancelled: set[tuple[Job, int]] = set()
        self._closed = ""
        self._tokens = 0
        self._seconds: deque[float] = deque([1.0], maxlen=32)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Add the jobs of one request, whose pieces come through their receivers.

        Raises:
            FullError: Too many are waiting; none is added.
            EngineClosedError: The engine was closed, or has failed.
        """
        now = time.monotonic()
        rows = [
            Row(job, Request(0, 0, sample, job.prompt, self._budget(job)), now)
            for job in jobs
            for sample in range(job.sampling.n_samples)
        ]
        with self._wake:
            if self._closed:
                raise EngineClosedError(self._closed)
            self._queue.add(jobs[0].client, rows)
            self._wake.notify()

    def _budget(self, job: Job) -> int:
        return min(job.sampling.max_new_tokens, self.shapes.context - len(job.prompt))

    def cancel(self, job: Job, sample: int | None = None) -> None:
        """End a job, or one sample of it, without a further piece; one that has ended stays so."""
        samples = range(job.sampling.n_samples) if sample is None else [sample]
        with self._wake:
            self._cancelled |= {(job, number) for number in samples}
            self._wake.notify()

    def close(self, why: str) -> None:
        """End all jobs with an error that says ``why``, and the thread at the next step."""
        with self._wake:
            self._closed = self._closed or why
            self._wake.notify()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    @property
    def failure(self) -> str:
        """The reason why the engine has ended; empty while it works."""
        return self._closed

    @property
    def load(self) -> Load:
        """The load of now."""
        with self._wake:
            mean = sum(self._seconds) / len(self._seconds)
            return Load(len(self._rows), len(self._queue), self._tokens, mean)

    def _run(self) -> None:
        try:
            while self._await_work():
                self._admit()
                self._decode()
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends all requests
            _log.exception("the engine has failed")
            self._closed = f"generation has failed: {type(error).__name__}"
        with self._wake:
            rows = [*self._rows.values(), *self._starting, *self._queue.entries()]
            self._rows.clear()
        for row in rows:
            piece = Piece(row.request.sample, (), (), FinishReason.ERROR, self._closed)
            row.job.receive(piece)

    def _await_work(self) -> bool:
        """Wait until there is something to do; False if the engine is closed."""
        with self._wake:
            while not (self._closed or self._rows or len(self._queue)):
                self._cancelled.clear()
                # The cache of the longest sequence so far is released.
                self._state = None
                self._wake.wait()
            if self._closed:
                return False
            self._drop_cancelled()
            return True

    def _drop_cancelled(self) -> None:
        if not self._cancelled:
            return
        cancelled, self._cancelled = self._cancelled, set()
        waiting = self._queue.entries()
        self._queue.remove({id(row) for row in waiting if row.key in cancelled})
        for slot, answer in self._slots.live():
            if self._rows[slot].key in cancelled:
                self._slots.end(slot, len(answer.tokens))
                self._leave(slot)
        self._slots.leave()

    def _admit(self) -> None:
        """Prefill waiting rows into idle slots, up to :data:`PREFILL_TOKENS`."""
        with self._wake:
            self._yield_slot()
        budget = PREFILL_TOKENS
        while budget > 0:
            with self._wake:
                count = min(len(self._queue), len(self._slots.idle), self.shapes.rows)
                rows = self._starting = [self._queue.pop() for _ in range(count)]
            if not rows:
                return
            self._prefill(rows)
            budget -= sum(len(row.request.tokens) for row in rows)

    def _yield_slot(self) -> None:
        """Interrupt a row of the client with most of them if another client has long had none."""
        if self._slots.idle:
            return
        latest = time.monotonic() - self._patience
        largest = self._queue.largest()
        if largest is None or all(row.since > latest for row in self._queue.starved()):
            return
        live = [(s, a) for s, a in self._slots.live() if self._rows[s].job.client == largest]
        slot, answer = max(live, key=lambda entry: self._rows[entry[0]].started)
        request = self._slots.interrupt(slot, answer)
        self._put_back(slot, request)

    def _prefill(self, rows: Sequence[Row]) -> None:
        requests = [row.request for row in rows]
        width = self.shapes.width(max(len(request.tokens) for request in requests))
        settings = RowSettings.greedy(self.shapes.rows)
        for number, row in enumerate(rows):
            settings.set(number, row.job.sampling)
        prompts = pad_prompts(requests, self.shapes.rows, width)
        first, prefilled = self._programs.prefill(self._params, prompts, settings)
        idle = self._slots.idle[: len(rows)]
        # Filler rows get an index beyond the last slot, so that they are dropped.
        targets = np.full(self.shapes.rows, self.shapes.slots, np.int32)
        targets[: len(idle)] = idle
        # The slots that decode already must not lose columns.
        state = self._fit(max(width, self._slots.columns(0)))
        self._state = self._programs.insert(state, prefilled, targets)
        tokens, logprobs = jax.device_get((first.tokens, first.logprobs))
        now = time.monotonic()
        with self._wake:
            for number, (slot, row) in enumerate(zip(idle, rows, strict=True)):
                row.started = now
                self._rows[slot] = row
                self._settings.set(slot, row.job.sampling)
                self._queue.charge(row.job.client, len(row.request.tokens))
                if np.isnan(logprobs[number]):
                    self._fail(slot)
                else:
                    part = slice(number, number + 1)
                    chosen = Chosen(tokens[part], logprobs[part])
                    self._slots.take([row.request], [slot], chosen)
            self._starting = ()
            self._pass_on()

    def _decode(self) -> None:
        """Generate the next tokens of all running rows."""
        if not self._rows:
            return
        state = self._fit(self._slots.columns(STEPS))
        with self._wake:
            # When others wait, the call ends with the first row that ends.
            enough = len(self._slots.idle) + 1 if len(self._queue) else self.shapes.slots
        chosen, self._state = self._programs.decode(
            self._params, state, self._slots.rows, self._settings, np.int32(enough)
        )
        chosen = jax.device_get(chosen)
        is_broken = np.any(np.isnan(chosen.logprobs) & (np.asarray(chosen.tokens) >= 0), axis=1)
        with self._wake:
            for slot, answer in self._slots.live():
                if is_broken[slot]:
                    self._slots.end(slot, len(answer.tokens))
                    self._fail(slot)
            self._slots.leave()
            self._slots.add(chosen)
            self._pass_on()

    def _pass_on(self) -> None:
        """Pass new tokens on, and empty the slots of answers that ended or outgrew the cache."""
        for slot, answer in self._slots.live():
            row, begin = self._rows[slot], answer.searched
            tokens, logprobs = answer.tokens[begin:], answer.logprobs[begin:]
            answer.searched = len(answer.tokens)
            self._tokens += len(tokens)
            self._queue.charge(row.job.client, len(tokens))
            finish = self._reason(tokens) if answer.ended else None
            if tokens:
                row.job.receive(Piece(row.request.sample, tokens, logprobs, finish))
            if answer.ended:
                self._seconds.append(time.monotonic() - row.started)
                self._leave(slot)
        self._slots.leave()
        for slot, answer in self._slots.outgrown():
            self._put_back(slot, self._slots.interrupt(slot, answer))

    def _reason(self, tokens: Sequence[int]) -> FinishReason:
        return FinishReason.EOS if tokens[-1] in self._end_ids else FinishReason.LENGTH

    def _fail(self, slot: int) -> None:
        """End a row whose scores are not finite numbers."""
        row = self._rows[slot]
        error = "the model's scores are not finite numbers: its weights are damaged"
        row.job.receive(Piece(row.request.sample, (), (), FinishReason.ERROR, error))
        self._leave(slot)

    def _leave(self, slot: int) -> None:
        self._queue.end(self._rows.pop(slot).job.client)

    def _put_back(self, slot: int, request: Request) -> None:
        row = replace(self._rows[slot], request=request, since=time.monotonic())
        self._queue.put_back(row.job.client, row)
        self._leave(slot)

    def _fit(self, columns: int) -> State:
        """Return the state with ``columns`` columns at least, and at most four times as many."""
        needed = self.shapes.cache(columns)
        sizes = self.shapes.columns
        state = self._state
        if state is None:
            state = self._programs.empty(self.shapes.slots, sizes[0])
        index = sizes.index(state.columns)
        while sizes[index] < needed:
            index += 1
            state = self._programs.grow(state, sizes[index])
        while index > 1 and needed <= sizes[index - 2]:
            index -= 1
            state = self._programs.shrink(state, sizes[index])
        return state
