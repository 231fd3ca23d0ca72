"""Rows that decode together: their slots, settings and cache."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tailrace.formats.data.prediction import FinishReason
from training.generate.programs import Chosen, State
from training.generate.slots import Answer, Request, Slots, pad_prompts
from training.models.family import Params
from training.serving.jobs import Job, Piece, Row
from training.serving.programs import RowPrograms, RowSettings
from training.serving.queue import FairQueue
from training.serving.shapes import Shapes

STEPS = 4
"""Tokens per call of the decoder; between calls answers are passed on and requests admitted."""


class RunningRows:
    """Rows in slots, and the state of their cache on the device."""

    def __init__(
        self,
        programs: RowPrograms,
        params: Params,
        shapes: Shapes,
        end_ids: frozenset[int],
        cache_limit: int | None,
        queue: FairQueue[Row],
    ) -> None:
        """Begin with idle slots.

        Args:
            programs: Compiled programs.
            params: Parameters of the model.
            shapes: Sizes of the programs.
            end_ids: Tokens that end an answer.
            cache_limit: As in :class:`training.generate.slots.Slots`.
            queue: Queue that rows come from; it is charged with their tokens.
        """
        self.rows: dict[int, Row] = {}
        """Running rows by slot."""
        self.slots = Slots(shapes.slots, end_ids, cache_limit)
        self.token_count = 0
        """Number of tokens generated so far."""
        self._programs = programs
        self._params = params
        self._shapes = shapes
        self._end_ids = end_ids
        self._queue = queue
        self._settings = RowSettings.greedy(shapes.slots)
        self._state: State | None = None
        self._seconds: deque[float] = deque([1.0], maxlen=32)

    @property
    def mean_seconds(self) -> float:
        """Mean time of the latest answers from their first token to their end."""
        return sum(self._seconds) / len(self._seconds)

    def release(self) -> None:
        """Free the cache; no row may be running."""
        self._state = None

    def prefill(self, rows: Sequence[Row]) -> tuple[Chosen, State]:
        """Read the prompts of rows; return their first tokens and their state."""
        requests = [row.request for row in rows]
        width = self._shapes.width(max(len(request.tokens) for request in requests))
        settings = RowSettings.greedy(self._shapes.rows)
        for number, row in enumerate(rows):
            settings.set(number, row.job.sampling)
        prompts = pad_prompts(requests, self._shapes.rows, width)
        return self._programs.prefill(self._params, prompts, settings)

    def insert(self, state: State, count: int) -> list[int]:
        """Insert the state of ``count`` rows into idle slots and return their indices."""
        idle = self.slots.idle[:count]
        # Filler rows get an index beyond the last slot, so that they are dropped.
        targets = np.full(self._shapes.rows, self._shapes.slots, np.int32)
        targets[:count] = idle
        # The slots that decode already must not lose columns.
        fitted = self._fit(max(state.columns, self.slots.columns(0)))
        self._state = self._programs.insert(fitted, state, targets)
        return idle

    def take(self, rows: Sequence[Row], slots: Sequence[int], first: Chosen) -> None:
        """Take over inserted rows; ``first`` has their first tokens."""
        now = time.monotonic()
        for number, (slot, row) in enumerate(zip(slots, rows, strict=True)):
            row.started = now
            self.rows[slot] = row
            self._settings.set(slot, row.job.sampling)
            self._queue.charge(row.job.client, len(row.request.tokens))
            if np.isnan(first.logprobs[number]):
                self._fail(slot)
                continue
            part = slice(number, number + 1)
            self.slots.take([row.request], [slot], Chosen(first.tokens[part], first.logprobs[part]))
        self._pass_on()

    def decode(self, enough: int) -> Chosen:
        """Generate the next tokens of all rows; ends early with ``enough`` idle slots."""
        state = self._fit(self.slots.columns(STEPS))
        chosen, self._state = self._programs.decode(
            self._params, state, self.slots.rows, self._settings, np.int32(enough)
        )
        return chosen

    def add(self, chosen: Chosen) -> None:
        """Append the tokens of :meth:`decode`."""
        is_broken = np.any(np.isnan(chosen.logprobs) & (np.asarray(chosen.tokens) >= 0), axis=1)
        for slot, answer in self.slots.live():
            if is_broken[slot]:
                self.slots.end(slot, len(answer.tokens))
                self._fail(slot)
        self.slots.leave()
        self.slots.add(chosen)
        self._pass_on()

    def drop(self, cancelled: set[tuple[Job, int]]) -> None:
        """End cancelled rows."""
        for slot, answer in self.slots.live():
            if self.rows[slot].key in cancelled:
                self.slots.end(slot, len(answer.tokens))
                self._leave(slot)
        self.slots.leave()

    def interrupt_newest(self, client: str) -> None:
        """Put the newest row of a client back into the queue."""
        live = [(s, a) for s, a in self.slots.live() if self.rows[s].job.client == client]
        if live:
            slot, answer = max(live, key=lambda entry: self.rows[entry[0]].started)
            self._put_back(slot, self.slots.interrupt(slot, answer))

    def _pass_on(self) -> None:
        """Pass new tokens on, and empty the slots of answers that ended or outgrew the cache."""
        for slot, answer in self.slots.live():
            row, begin = self.rows[slot], answer.searched
            tokens, logprobs = answer.tokens[begin:], answer.logprobs[begin:]
            answer.searched = len(answer.tokens)
            self.token_count += len(tokens)
            self._queue.charge(row.job.client, len(tokens))
            finish = self._reason(answer)
            if tokens:
                row.job.receive(Piece(row.request.sample, tokens, logprobs, finish))
            if answer.ended:
                self._seconds.append(time.monotonic() - row.started)
                self._leave(slot)
        self.slots.leave()
        for slot, answer in self.slots.outgrown():
            self._put_back(slot, self.slots.interrupt(slot, answer))

    def _reason(self, answer: Answer) -> FinishReason | None:
        """Return the reason of the end; None for an answer in progress."""
        if not answer.ended:
            return None
        return FinishReason.EOS if answer.tokens[-1] in self._end_ids else FinishReason.LENGTH

    def _fail(self, slot: int) -> None:
        """End a row whose scores are not finite numbers."""
        row = self.rows[slot]
        error = "the model's scores are not finite numbers: its weights are damaged"
        row.job.receive(Piece(row.request.sample, (), (), FinishReason.ERROR, error))
        self._leave(slot)

    def _leave(self, slot: int) -> None:
        self._queue.end(self.rows.pop(slot).job.client)

    def _put_back(self, slot: int, request: Request) -> None:
        row = replace(self.rows[slot], request=request, since=time.monotonic())
        self._queue.put_back(row.job.client, row)
        self._leave(slot)

    def _fit(self, columns: int) -> State:
        """Return the state with ``columns`` columns at least, and at most four times as many."""
        needed = self._shapes.cache(columns)
        sizes = self._shapes.columns
        state = self._state
        if state is None:
            state = self._programs.empty(self._shapes.slots, sizes[0])
        index = sizes.index(state.columns)
        while sizes[index] < needed:
            index += 1
            state = self._programs.grow(state, sizes[index])
        while index > 1 and needed <= sizes[index - 2]:
            index -= 1
            state = self._programs.shrink(state, sizes[index])
        return state
