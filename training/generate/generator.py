"""The generator: prompts go in, answers come out as they end."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import jax
import numpy as np

from tailrace.formats.data.prediction import FinishReason
from training.data.packing import bucket
from training.generate.programs import Programs, State
from training.generate.sampling import Choice, Sampling
from training.generate.slots import Answer, Request, Slots, lay_out
from training.generate.stopping import Decode, find_stop
from training.machine.sharding import Layout
from training.models.family import Model, Params

STEPS = 16
"""Tokens per call of the decoder: the host looks for stop strings and for a stop in between."""

WAVES = 4
"""Into how many parts the slots are divided: so many at a time are filled, and refilled."""

SMALLEST_PROMPT = 8
"""Columns that prompts are padded to at least."""

SMALLEST_CACHE = 64
"""Columns that a cache has at least; it grows as its rows do."""


@dataclass(frozen=True)
class Generation:
    """What was generated for one sample of one prompt."""

    index: int
    """The prompt's place in the input."""
    tokens: list[int]
    """New tokens; the end-of-sequence token, if reached, is the last one."""
    finish_reason: FinishReason
    error: str = ""
    """Why nothing was generated, with ``error``: the prompt leaves no room in the context."""
    sample: int = 0
    """Number of the sample of this prompt, from 0."""
    logprobs: list[float] = field(default_factory=list)
    """The tokens' natural log-probabilities; empty unless asked for."""
    text: str | None = None
    """The text before the stop string, with ``stop``; else the tokens tell it."""

    @property
    def count(self) -> int:
        """Tokens generated, the end-of-sequence token included."""
        return len(self.tokens)


class Generator:
    """Generates with one model; compiled programs are kept between calls."""

    def __init__(
        self,
        model: Model,
        params: Params,
        ends: Collection[int],
        decode: Decode | None = None,
        layout: Layout | None = None,
        stops: Collection[int] = (),
        written: Decode | None = None,
    ) -> None:
        """``ends`` are the tokens that end an answer, of which they are part.

        ``decode`` is needed for stop strings; ``layout`` spreads the work over its mesh; ``stops``
        are tokens that end an answer because somebody asked for it, as stop strings do;
        ``written`` is needed for stop strings that have special tokens in them.
        """
        self._model = model
        self._params = params if layout is None else layout.place(params)
        self._stops = frozenset(stops) - frozenset(ends)
        self._ends = frozenset(ends) | self._stops
        self._decode = decode
        self._written = written
        self._layout = layout
        self._programs: dict[Choice, Programs] = {}

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        batch_size: int,
        *,
        numbers: Sequence[int] | None = None,
        limits: Sequence[int] | None = None,
        done: Collection[tuple[int, int]] = (),
    ) -> Iterator[list[Generation]]:
        """Yield answers as they end, every few tokens, at times none.

        A prompt that fills the model's context, or is empty, yields an ``error`` and disturbs no
        other. Close to the context's end, fewer tokens than asked for are generated. ``numbers``
        are what the prompts' random streams are told apart by (default: their places), ``limits``
        their own most new tokens, ``done`` the places and samples that are not wanted again.
        """
        wanted = product(range(len(prompts)), range(sampling.n_samples))
        requests: list[Request] = []
        refused: list[Generation] = []
        for index, sample in wanted:
            if (index, sample) in done:
                continue
            prompt = prompts[index]
            room = self._model.context - len(prompt)
            if not prompt or room < 1:
                refused.append(self._refused(index, sample, len(prompt)))
                continue
            number = index if numbers is None else numbers[index]
            most = sampling.max_new_tokens if limits is None else limits[index]
            budget = min(most, room)
            requests.append(Request(index, number, sample, prompt, budget))
        if refused:
            yield refused
        if requests:
            # Prompts of similar length are read together, and the cache only ever has to grow.
            requests.sort(key=lambda each: (len(each.prompt), each.index, each.sample))
            rows = min(batch_size, len(prompts) * sampling.n_samples)
            yield from self._run(deque(requests), sampling, rows)

    def _run(
        self, queue: deque[Request], sampling: Sampling, rows: int
    ) -> Iterator[list[Generation]]:
        unit = 1 if self._layout is None else self._layout.row_parts
        number = unit * -(-rows // unit)
        wave = unit * -(-number // unit // WAVES)
        slots = Slots(number, self._ends)
        programs = self._programs_for(sampling.choice)
        root = jax.random.key(sampling.seed)
        state = programs.empty(number, SMALLEST_CACHE)
        while queue or len(slots.idle) < number:
            while queue and len(slots.idle) >= min(wave, len(queue)):
                requests = [queue.popleft() for _ in range(min(wave, len(queue)))]
                state = self._admit(programs, state, slots, requests, wave, root)
                yield self._harvest(slots, sampling)
            if len(slots.idle) == number:
                continue
            state = _fit(programs, state, slots.columns(STEPS))
            enough = min(wave, len(queue)) if queue else number
            made, state = programs.decode(self._params, state, slots.rows, root, enough)
            slots.add(made)
            yield self._harvest(slots, sampling)

    def _admit(
        self,
        programs: Programs,
        state: State,
        slots: Slots,
        requests: Sequence[Request],
        wave: int,
        root: jax.Array,
    ) -> State:
        """Read prompts, ``wave`` rows at a time, and seat them in idle slots."""
        width = bucket(max(len(request.prompt) for request in requests), SMALLEST_PROMPT)
        first, rows = programs.read(self._params, lay_out(requests, wave, width), root)
        places = slots.idle[: len(requests)]
        seats = np.full(wave, len(slots.rows.token), np.int32)
        seats[: len(places)] = places
        state = programs.seat(_fit(programs, state, width), rows, seats)
        slots.take(requests, places, first)
        return state

    def _harvest(self, slots: Slots, sampling: Sampling) -> list[Generation]:
        """The answers that have ended since the last time."""
        texts: dict[tuple[int, int], str] = {}
        for slot, answer in slots.live() if sampling.stop else ():
            found = find_stop(
                answer.tokens, answer.searched, sampling.stop, self._text, self._written
            )
            answer.searched = len(answer.tokens)
            if found is not None:
                slots.end(slot, found[0])
                texts[answer.request.index, answer.request.sample] = found[1]
        return [self._result(answer, sampling.logprobs, texts) for answer in slots.leave()]

    def _text(self, tokens: Sequence[int]) -> str:
        if self._decode is None:
            raise ValueError("stop strings need a generator that can decode")
        return self._decode(tokens)

    def _result(
        self, answer: Answer, logprobs: bool, texts: Mapping[tuple[int, int], str]
    ) -> Generation:
        request = answer.request
        text = texts.get((request.index, request.sample))
        return Generation(
            request.index,
            answer.tokens,
            self._reason(answer.tokens[-1]) if text is None else FinishReason.STOP,
            sample=request.sample,
            logprobs=answer.logprobs if logprobs else [],
            text=text,
        )

    def _reason(self, last: int) -> FinishReason:
        if last in self._stops:
            return FinishReason.STOP
        return FinishReason.EOS if last in self._ends else FinishReason.LENGTH

    def _refused(self, index: int, sample: int, length: int) -> Generation:
        why = (
            f"the prompt has {length} tokens, which leaves no room in the model's context of "
            f"{self._model.context}"
            if length
            else "the prompt has no tokens"
        )
        return Generation(index, [], FinishReason.ERROR, why, sample)

    def _programs_for(self, choice: Choice) -> Programs:
        if choice not in self._programs:
            self._programs[choice] = Programs(self._model, choice, self._ends, STEPS, self._layout)
        return self._programs[choice]


def _fit(programs: Programs, state: State, columns: int) -> State:
    """The state with a cache that has room for so many columns."""
    size = bucket(columns, SMALLEST_CACHE)
    return programs.grow(state, size) if size > state.columns else state
