"""Long prompts, read a chunk at a time, so that running answers go on meanwhile."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np

from training.generate.programs import Chosen, State
from training.generate.slots import pad_prompts
from training.models.family import Params
from training.serving.jobs import Job, Row
from training.serving.programs import RowPrograms, RowSettings
from training.serving.shapes import Shapes


class LongPrompts:
    """Rows whose prompts are being read, one after another."""

    def __init__(self, programs: RowPrograms, params: Params, shapes: Shapes) -> None:
        self.rows: deque[Row] = deque()
        self._programs = programs
        self._params = params
        self._shapes = shapes
        self._state: State | None = None
        self._count = 0
        """Number of tokens of the first row that have been read."""

    def read(self) -> tuple[Chosen, State] | None:
        """Read the next chunk of the first row.

        Returns:
            First token and state of the row if its prompt is complete; the row stays the first.
        """
        row, size = self.rows[0], self._shapes.chunk
        if size is None:
            raise ValueError("prompts are read whole")
        tokens = row.request.tokens
        if self._state is None:
            width = self._shapes.width(len(tokens))
            self._state = self._programs.empty(self._shapes.rows, width)
        begin, self._count = self._count, min(self._count + size, len(tokens))
        part = replace(row.request, prompt=tokens[begin : self._count], drawn=())
        prompts = pad_prompts([part], self._shapes.rows, size)
        prompts.drawn[0] = len(row.request.drawn)
        settings = RowSettings.greedy(self._shapes.rows)
        settings.set(0, row.job.sampling)
        is_last = self._count == len(tokens)
        chosen, self._state = self._programs.chunk(
            self._params, self._state, prompts, np.int32(begin), np.bool_(is_last), settings
        )
        return (chosen, self._state) if is_last else None

    def remove_first(self) -> Row:
        """Remove and return the first row."""
        self._state, self._count = None, 0
        return self.rows.popleft()

    def drop(self, cancelled: set[tuple[Job, int]]) -> list[Row]:
        """Remove and return the cancelled rows."""
        dropped = [row for row in self.rows if row.key in cancelled]
        if dropped and dropped[0] is self.rows[0]:
            self._state, self._count = None, 0
        self.rows = deque(row for row in self.rows if row.key not in cancelled)
        return dropped
