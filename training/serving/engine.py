"""The engine: a thread that decodes the requests of all clients together."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

import jax

from tailrace.formats.data.prediction import FinishReason
from training.generate.programs import Chosen, State
from training.generate.slots import Request
from training.models.family import Params
from training.serving.jobs import EngineClosedError, Job, Load, Piece, Row
from training.serving.long_prompts import LongPrompts
from training.serving.programs import RowPrograms
from training.serving.queue import FairQueue
from training.serving.running import RunningRows
from training.serving.shapes import Shapes

_log = logging.getLogger(__name__)

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
        self._patience = patience
        self._wake = threading.Condition()
        """Lock of all that follows, but of programs and their states."""
        self._queue: FairQueue[Row] = FairQueue(places, shapes.slots)
        self._running = RunningRows(programs, params, shapes, end_ids, cache_limit, self._queue)
        self._long = LongPrompts(programs, params, shapes)
        self._starting: Sequence[Row] = ()
        """Rows that are neither waiting nor running yet."""
        self._cancelled: set[tuple[Job, int]] = set()
        self._closed = ""
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
            running = len(self._running.rows) + len(self._long.rows)
            return Load(
                running, len(self._queue), self._running.token_count, self._running.mean_seconds
            )

    def _run(self) -> None:
        try:
            while self._await_work():
                self._admit()
                self._decode()
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends all requests
            _log.exception("the engine has failed")
            self._closed = f"generation has failed: {type(error).__name__}"
        with self._wake:
            started = [*self._running.rows.values(), *self._long.rows, *self._starting]
            rows = dict.fromkeys([*started, *self._queue.entries()])
            self._running.rows.clear()
            self._long.rows.clear()
        for row in rows:
            piece = Piece(row.request.sample, (), (), FinishReason.ERROR, self._closed)
            row.job.receive(piece)

    def _await_work(self) -> bool:
        """Wait until there is something to do; False if the engine is closed."""
        with self._wake:
            while not (self._closed or self._running.rows or self._long.rows or len(self._queue)):
                self._cancelled.clear()
                self._running.release()
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
        for row in self._long.drop(cancelled):
            self._queue.end(row.job.client)
        self._running.drop(cancelled)

    def _admit(self) -> None:
        """Read prompts of waiting rows into idle slots, up to :data:`PREFILL_TOKENS`."""
        with self._wake:
            self._yield_slot()
        budget = PREFILL_TOKENS
        if self._long.rows:
            budget -= self._read_on()
        while budget > 0:
            with self._wake:
                rows = self._starting = self._next_rows()
            if not rows:
                return
            chosen, state = self._running.prefill(rows)
            self._start(rows, chosen, state)
            budget -= sum(len(row.request.tokens) for row in rows)

    def _next_rows(self) -> list[Row]:
        """Return waiting rows to prefill together; long ones are set aside to be read in chunks."""
        rows: list[Row] = []
        while len(self._queue) and len(rows) < min(self._free, self.shapes.rows):
            row = self._queue.pop()
            if self.shapes.is_long(len(row.request.tokens)):
                self._long.rows.append(row)
            else:
                rows.append(row)
        return rows

    @property
    def _free(self) -> int:
        """Number of idle slots that no long prompt will take."""
        return len(self._running.slots.idle) - len(self._long.rows)

    def _read_on(self) -> int:
        """Read the next chunk of a long prompt and return its number of tokens."""
        complete = self._long.read()
        if complete is not None:
            with self._wake:
                self._starting = [self._long.remove_first()]
            self._start(self._starting, *complete)
        return self.shapes.chunk or 0

    def _start(self, rows: Sequence[Row], chosen: Chosen, state: State) -> None:
        """Take over rows whose prompts have been read; ``chosen`` has their first tokens."""
        slots = self._running.insert(state, len(rows))
        first = jax.device_get(chosen)
        with self._wake:
            self._running.take(rows, slots, first)
            self._starting = ()

    def _decode(self) -> None:
        """Generate the next tokens of all running rows."""
        if not self._running.rows:
            return
        with self._wake:
            # When others wait, the call ends with the first row that ends.
            idle = len(self._running.slots.idle)
            enough = idle + 1 if len(self._queue) else self.shapes.slots
        chosen = jax.device_get(self._running.decode(enough))
        with self._wake:
            self._running.add(chosen)

    def _yield_slot(self) -> None:
        """Interrupt a row of the client with most of them if another client has long had none."""
        latest = time.monotonic() - self._patience
        is_starved = any(row.since <= latest for row in self._queue.starved())
        client = self._queue.largest()
        if is_starved and client is not None and self._free <= 0:
            self._running.interrupt_newest(client)
