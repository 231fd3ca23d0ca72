"""Shapes of the compiled programs, few enough to compile them all before the first request."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from training.errors import ConfigError, DoesNotFitError
from training.generate.programs import Rows, State
from training.generate.slots import pad_prompts
from training.machine.accelerators import device_memory, device_memory_used, host_memory, size_text
from training.models.family import Model, Params
from training.serving.programs import RowPrograms, RowSettings

_log = logging.getLogger(__name__)

CHUNK = 256
"""Tokens of a prompt that are read between two calls of the decoder."""

_FEW_TOKENS = 512
"""Context below which it is not halved for lack of memory."""


@dataclass(frozen=True)
class Shapes:
    """Sizes that occur in the programs of one server."""

    slots: int
    """Rows that decode together, B."""
    rows: int
    """Rows of a prefill, R."""
    context: int
    """Longest sequence, prompt and answer, in tokens."""
    chunk: int | None = None
    """Tokens of a longer prompt that are read at a time; None: prompts are read whole."""
    smallest_prompt: int = 64
    """Smallest number of columns that prompts are padded to; larger ones double it."""
    smallest_cache: int = 256
    """Smallest number of cache columns; larger ones double it."""

    @classmethod
    def of(cls, model: Model, slots: int, context: int | None, row_parts: int = 1) -> Shapes:
        """Return the shapes for ``slots`` rows of at most ``context`` tokens.

        Args:
            model: The model.
            slots: Number of requests that decode together.
            context: Longest sequence (default: that of the model, halved until the key-value cache
                takes half of the free memory at most).
            row_parts: Number of parts that rows are split into.

        Raises:
            ConfigError: ``context`` exceeds the model's.
            DoesNotFitError: The key-value cache needs more memory than is free.
        """
        if context is not None and context > model.context:
            raise ConfigError(f"--context {context} exceeds the model's context of {model.context}")
        free = _free_memory()
        # With another scaling of positions for long sequences a prompt must be read whole.
        chunk = CHUNK if row_parts == 1 and model.cache_limit is None else None
        rows = row_parts * -(-slots // row_parts)
        shapes = cls(rows, row_parts, context or model.context, chunk)
        while context is None and shapes.bytes(model) > free / 2 and shapes.context > _FEW_TOKENS:
            shapes = replace(shapes, context=shapes.context // 2)
        if shapes.bytes(model) > free:
            raise DoesNotFitError(
                f"the key-value cache of {shapes.slots} slots of {shapes.context} tokens takes "
                f"{size_text(shapes.bytes(model))} of memory, {size_text(free)} are free: lower "
                "--slots or --context"
            )
        if shapes.context < (context or model.context):
            _log.info(
                "sequences have at most %d of the model's %d tokens, for lack of memory",
                shapes.context,
                model.context,
            )
        return shapes

    def bytes(self, model: Model) -> int:
        """Return the bytes of the largest key-value cache, and of a prompt on its way into it."""
        sizes = model.dimensions
        token = (
            2 * sizes.layers * sizes.key_heads * sizes.head_width * np.dtype(np.float32).itemsize
        )
        return token * self.context * (self.slots + self.rows)

    @property
    def widths(self) -> list[int]:
        """Numbers of columns of a prefill, W."""
        return _doubled(self.smallest_prompt, self._capacity)

    @property
    def columns(self) -> list[int]:
        """Numbers of cache columns, S."""
        return _doubled(self.smallest_cache, self._capacity)

    def width(self, tokens: int) -> int:
        """Return the columns of a prefill of ``tokens`` tokens."""
        return next(width for width in self.widths if width >= tokens)

    def cache(self, tokens: int) -> int:
        """Return the cache columns for sequences of at most ``tokens`` tokens."""
        return next(columns for columns in self.columns if columns >= min(tokens, self._capacity))

    def is_long(self, tokens: int) -> bool:
        """Return True for a prompt that is read in chunks."""
        return self.chunk is not None and tokens > self.chunk

    @property
    def _capacity(self) -> int:
        """Largest number of columns: chunks fill them exactly."""
        if self.chunk is None or self.context <= self.chunk:
            return self.context
        return self.chunk * -(-self.context // self.chunk)


def _free_memory() -> float:
    """Return the bytes that are free for arrays; infinity where the system does not report them."""
    device = jax.local_devices()[0]
    limit = device_memory(device)
    free = host_memory() if limit is None else limit - device_memory_used(device)
    return math.inf if free is None else free


def _doubled(smallest: int, context: int) -> list[int]:
    """Return ``smallest`` and its doubles, up to the first that holds the context."""
    sizes = [min(smallest, context)]
    while sizes[-1] < context:
        sizes.append(min(2 * sizes[-1], context))
    return sizes


def compile_all(programs: RowPrograms, params: Params, shapes: Shapes) -> int:
    """Compile every program that the engine calls and return their number.

    All run once, for nothing, but whole prefills on a single device.
    """
    begin = time.perf_counter()
    prefilled = {width: _prefill(programs, params, shapes, width) for width in shapes.widths}
    state = programs.empty(shapes.slots, shapes.columns[0])
    idle = Rows(*(np.zeros(shapes.slots, np.int32) for _ in Rows._fields))
    nowhere = np.full(shapes.rows, shapes.slots, np.int32)
    count = len(shapes.widths)
    for columns in shapes.columns:
        _log.info("compiling for sequences of up to %d tokens", columns)
        if columns > state.columns:
            programs.shrink(grown := programs.grow(state, columns), state.columns)
            state = grown
            count += 2
        settings = RowSettings.greedy(shapes.slots)
        _, state = programs.decode(params, state, idle, settings, np.int32(shapes.slots))
        fitting = [rows for width, rows in prefilled.items() if width <= columns]
        for rows in fitting:
            state = programs.insert(state, rows, nowhere)
        count += 1 + len(fitting)
    jax.block_until_ready(state)  # type: ignore[no-untyped-call]
    _log.info("%d programs are compiled, in %.1f s", count, time.perf_counter() - begin)
    return count


def _prefill(programs: RowPrograms, params: Params, shapes: Shapes, width: int) -> State:
    """Compile the prefill of prompts of ``width`` columns and return a state like its result."""
    _log.info("compiling for prompts of up to %d tokens", width)
    settings = RowSettings.greedy(shapes.rows)
    if shapes.rows > 1:
        return programs.prefill(params, pad_prompts((), shapes.rows, width), settings)[1]
    state = programs.empty(shapes.rows, width)
    prefill: Any = programs.prefill
    if shapes.chunk is not None and shapes.is_long(width):
        chunk, start = pad_prompts((), shapes.rows, shapes.chunk), np.int32(0)
        return programs.chunk(params, state, chunk, start, np.bool_(False), settings)[1]
    prefill.lower(params, pad_prompts((), shapes.rows, width), settings).compile()
    return state
