"""The generator: takes prompts and yields answers as they end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import jax
import numpy as np

from tailrace.formats.data.prediction import FinishReason
from training.data.packing import bucket
from training.generate.programs import Programs, Prompts, State
from training.generate.sampling import Choice, Sampling
from training.generate.slots import Answer, Request, Slots, pad_prompts, pad_shared_prompts
from training.generate.stopping import Decode, find_stop
from training.machine.sharding import Layout
from training.models.family import Model, Params

STEPS = 16
"""Tokens per call of the decoder; between calls the host checks for stop strings and requests."""

ADMISSION_PARTS = 4
"""Parts that the slots are divided into; each admission batch fills one part."""

SMALLEST_PROMPT = 8
"""Smallest number of columns that prompts are padded to."""

SMALLEST_CACHE = 64
"""Smallest number of cache columns; the cache grows with its rows."""


@dataclass(frozen=True)
class Generation:
    """Answer to one sample of one prompt."""

    index: int
    """Position of the prompt in the input."""
    tokens: list[int]
    """New tokens; the end-of-sequence token, if reached, is the last one."""
    finish_reason: FinishReason
    error: str = ""
    """Reason that nothing was generated, with ``FinishReason.ERROR``."""
    sample: int = 0
    """Number of the sample of this prompt, from 0."""
    logprobs: list[float] = field(default_factory=list)
    """Natural log-probabilities of the tokens; empty unless requested."""
    text: str | None = None
    """Text before the stop string, with ``FinishReason.STOP``; otherwise decode the tokens."""

    @property
    def count(self) -> int:
        """Number of generated tokens, the end-of-sequence token included."""
        return len(self.tokens)


class Generator:
    """Text generation with one model; compiled programs are reused between calls."""

    def __init__(
        self,
        model: Model,
        params: Params,
        end_ids: Collection[int],
        decode: Decode | None = None,
        layout: Layout | None = None,
        stop_ids: Collection[int] = (),
        decode_special: Decode | None = None,
    ) -> None:
        """Generate with ``params``.

        Args:
            model: The model.
            params: Its parameters.
            end_ids: Tokens that end an answer and are part of it.
            decode: Decoder of tokens, needed for stop strings.
            layout: Mesh that the work is split over.
            stop_ids: Tokens that end an answer on request, as stop strings do.
            decode_special: Decoder that keeps special tokens, needed for stop strings with some.
        """
        self._model = model
        self._params = params if layout is None else layout.put(params)
        self._stop_ids = frozenset(stop_ids) - frozenset(end_ids)
        self._end_ids = frozenset(end_ids) | self._stop_ids
        self._decode = decode
        self._decode_special = decode_special
        self._layout = layout
        self._programs: dict[Choice, Programs] = {}

    def replace_params(self, params: Any) -> None:
        """Generate with other parameters from now on; they must be laid out like the first ones."""
        self._params = params

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        batch_size: int,
        *,
        numbers: Sequence[int] | None = None,
        limits: Sequence[int] | None = None,
        done: Collection[tuple[int, int]] = (),
        share: bool = False,
    ) -> Iterator[list[Generation]]:
        """Yield answers as they end, every few tokens; a list may be empty.

        A prompt that fills the model's context, or is empty, yields an error and affects no other
        prompt. Close to the end of the context, fewer tokens than requested are generated.

        Args:
            prompts: Token ids of each prompt.
            sampling: Sampling settings.
            batch_size: Number of slots.
            numbers: Number of each prompt's random stream (default: its position).
            limits: Largest number of new tokens of each prompt (default: that of ``sampling``).
            done: Positions and samples to skip.
            share: True to read a prompt once for its samples. Rounding then depends on which
                samples are admitted together, and so on ``done``.
        """
        samples = product(range(len(prompts)), range(sampling.n_samples))
        requests: list[Request] = []
        refused: list[Generation] = []
        for index, sample in samples:
            if (index, sample) in done:
                continue
            prompt = prompts[index]
            room = self._model.context - len(prompt)
            if not prompt or room < 1:
                refused.append(self._refused(index, sample, len(prompt)))
                continue
            number = index if numbers is None else numbers[index]
            limit = sampling.max_new_tokens if limits is None else limits[index]
            budget = min(limit, room)
            requests.append(Request(index, number, sample, prompt, budget))
        if refused:
            yield refused
        if requests:
            # Prompts of similar length are prefilled together, and the cache only ever grows.
            requests.sort(key=lambda request: (len(request.prompt), request.index, request.sample))
            rows = min(batch_size, len(prompts) * sampling.n_samples)
            pad = pad_shared_prompts if share and self._layout is None else pad_prompts
            yield from self._run(deque(requests), sampling, rows, pad)

    def _run(
        self,
        queue: deque[Request],
        sampling: Sampling,
        rows: int,
        pad: Callable[[Sequence[Request], int, int], Prompts],
    ) -> Iterator[list[Generation]]:
        unit = 1 if self._layout is None else self._layout.row_parts
        number = unit * -(-rows // unit)
        batch = unit * -(-number // unit // ADMISSION_PARTS)
        slots = Slots(number, self._end_ids, self._model.cache_limit)
        programs = self._programs_for(sampling.choice)
        root = jax.random.key(sampling.seed)
        state = programs.empty(number, SMALLEST_CACHE)
        while queue or len(slots.idle) < number:
            while queue and len(slots.idle) >= min(batch, len(queue)):
                requests = [queue.popleft() for _ in range(min(batch, len(queue)))]
                columns = max(len(request.tokens) for request in requests)
                prompts = pad(requests, batch, bucket(columns, SMALLEST_PROMPT))
                state = self._admit(programs, state, slots, requests, prompts, root)
                yield self._collect(slots, sampling)
                queue.extend(slots.interrupted())
            if len(slots.idle) == number:
                continue
            state = _fit(programs, state, slots.columns(STEPS))
            enough = min(batch, len(queue)) if queue else number
            chosen, state = programs.decode(self._params, state, slots.rows, root, enough)
            slots.add(chosen)
            yield self._collect(slots, sampling)
            queue.extend(slots.interrupted())

    def _admit(
        self,
        programs: Programs,
        state: State,
        slots: Slots,
        requests: Sequence[Request],
        prompts: Prompts,
        root: jax.Array,
    ) -> State:
        """Prefill the prompts of requests and insert them into idle slots."""
        first, rows = programs.prefill(self._params, prompts, root)
        indices = slots.idle[: len(requests)]
        # Filler rows get an index beyond the last slot, so that they are dropped.
        targets = np.full(len(prompts.numbers), len(slots.rows.token), np.int32)
        targets[: len(indices)] = indices
        state = programs.insert(_fit(programs, state, rows.columns), rows, targets)
        slots.take(requests, indices, first)
        return state

    def _collect(self, slots: Slots, sampling: Sampling) -> list[Generation]:
        """Return the answers that ended since the last call."""
        texts: dict[tuple[int, int], str] = {}
        for slot, answer in slots.live() if sampling.stop else ():
            stop = find_stop(
                answer.tokens, answer.searched, sampling.stop, self._text, self._decode_special
            )
            answer.searched = len(answer.tokens)
            if stop is not None:
                count, text = stop
                slots.end(slot, count)
                texts[answer.request.index, answer.request.sample] = text
        return [self._generation(answer, sampling.logprobs, texts) for answer in slots.leave()]

    def _text(self, tokens: Sequence[int]) -> str:
        if self._decode is None:
            raise ValueError("stop strings need a generator with decode")
        return self._decode(tokens)

    def _generation(
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
        if last in self._stop_ids:
            return FinishReason.STOP
        return FinishReason.EOS if last in self._end_ids else FinishReason.LENGTH

    def _refused(self, index: int, sample: int, length: int) -> Generation:
        error = (
            f"the prompt has {length} tokens, which leaves no room in the model's context of "
            f"{self._model.context}"
            if length
            else "the prompt has no tokens"
        )
        return Generation(index, [], FinishReason.ERROR, error, sample)

    def _programs_for(self, choice: Choice) -> Programs:
        if choice not in self._programs:
            self._programs[choice] = Programs(
                self._model, choice, self._end_ids, STEPS, self._layout
            )
        return self._programs[choice]


def _fit(programs: Programs, state: State, columns: int) -> State:
    """Return the state with at least ``columns`` cache columns."""
    size = bucket(columns, SMALLEST_CACHE)
    return programs.grow(state, size) if size > state.columns else state
