"""Slots of the generator on the host: the answer in each, and its tokens so far."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from training.errors import NotFiniteError
from training.generate.programs import Chosen, Prompts, Rows


@dataclass(frozen=True)
class Request:
    """One sample of one prompt to generate."""

    index: int
    """Position of the prompt in the input."""
    number: int
    """Number of the prompt's random stream."""
    sample: int
    """Number of the sample of this prompt, from 0."""
    prompt: Sequence[int]
    budget: int
    """Largest number of new tokens."""
    drawn: tuple[int, ...] = ()
    """First new tokens, of an answer that was interrupted."""
    logprobs: tuple[float, ...] = ()
    """Log-probabilities of ``drawn``."""

    @property
    def tokens(self) -> list[int]:
        """Prompt and tokens drawn so far."""
        return [*self.prompt, *self.drawn]


@dataclass
class Answer:
    """Answer in progress."""

    request: Request
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    searched: int = 0
    """Number of leading tokens already searched for stop strings."""
    ended: bool = False


class Slots:
    """Fixed number of slots, each idle or taken by an answer."""

    def __init__(
        self, number: int, end_ids: Collection[int], cache_limit: int | None = None
    ) -> None:
        """Begin with idle slots.

        Args:
            number: Number of slots.
            end_ids: Tokens that end an answer.
            cache_limit: Longest sequence whose cached keys hold (default: all sequences); an answer
                that grows beyond is interrupted.
        """
        self._end_ids = end_ids
        self._cache_limit = cache_limit
        self._answers: list[Answer | None] = [None] * number
        self.rows = Rows(*(np.zeros(number, np.int32) for _ in Rows._fields))

    @property
    def idle(self) -> list[int]:
        """Indices of the idle slots."""
        return [slot for slot, answer in enumerate(self._answers) if answer is None]

    def columns(self, steps: int) -> int:
        """Return the columns that the longest row needs after ``steps`` more tokens."""
        # Idle slots are written to as well, without moving on.
        return int((self.rows.position + np.minimum(self.rows.left, steps)).max()) + 1

    def take(self, requests: Sequence[Request], slots: Sequence[int], first: Chosen) -> None:
        """Take over prefilled requests; ``first`` holds their first tokens."""
        tokens, logprobs = np.asarray(first.tokens), np.asarray(first.logprobs)
        for row, (request, slot) in enumerate(zip(requests, slots, strict=True)):
            drawn = list(request.drawn)
            self._answers[slot] = Answer(request, drawn, list(request.logprobs), len(drawn))
            self.rows.position[slot] = len(request.tokens) - 1
            self.rows.left[slot] = self._left(request)
            self.rows.drawn[slot] = len(drawn)
            self.rows.numbers[slot] = request.number
            self.rows.samples[slot] = request.sample
            self._add(slot, tokens[row : row + 1], logprobs[row : row + 1])

    def add(self, chosen: Chosen) -> None:
        """Append the tokens of one call of the decoder."""
        tokens, logprobs = np.asarray(chosen.tokens), np.asarray(chosen.logprobs)
        for slot, answer in enumerate(self._answers):
            if answer is not None:
                count = int((tokens[slot] >= 0).sum())
                self._add(slot, tokens[slot, :count], logprobs[slot, :count])

    def end(self, slot: int, count: int) -> None:
        """Cut an answer to ``count`` tokens and end it."""
        answer = self._answers[slot]
        if answer is not None:
            del answer.tokens[count:], answer.logprobs[count:]
            answer.ended = True

    def live(self) -> list[tuple[int, Answer]]:
        """Return the taken slots with their answers."""
        return [(s, answer) for s, answer in enumerate(self._answers) if answer is not None]

    def leave(self) -> list[Answer]:
        """Remove and return the answers that ended; their slots become idle."""
        ended = [(slot, answer) for slot, answer in self.live() if answer.ended]
        for slot, _ in ended:
            self._answers[slot] = None
            self.rows.left[slot] = self.rows.position[slot] = 0
        return [answer for _, answer in ended]

    def interrupted(self) -> list[Request]:
        """Remove the answers that outgrew the cache and return the requests to continue them."""
        return [self.interrupt(slot, answer) for slot, answer in self.outgrown()]

    def outgrown(self) -> list[tuple[int, Answer]]:
        """Return the slots whose answers cannot continue with the cached keys."""
        return [(s, a) for s, a in self.live() if not a.ended and not self.rows.left[s]]

    def interrupt(self, slot: int, answer: Answer) -> Request:
        """Remove an answer in progress and return the request to continue it."""
        self._answers[slot] = None
        self.rows.left[slot] = self.rows.position[slot] = 0
        drawn, logprobs = tuple(answer.tokens), tuple(answer.logprobs)
        return replace(answer.request, drawn=drawn, logprobs=logprobs)

    def _left(self, request: Request) -> int:
        """Return the number of tokens that a request can get before it ends or is interrupted."""
        left = request.budget - len(request.drawn)
        room = (self._cache_limit or 0) + 1 - len(request.tokens)
        return min(left, room) if room > 0 else left

    def _add(self, slot: int, tokens: NDArray[np.int32], logprobs: NDArray[np.float32]) -> None:
        answer, rows = self._answers[slot], self.rows
        if answer is None or not len(tokens):
            return
        if np.isnan(logprobs).any():
            raise NotFiniteError(
                f"the model's scores for token {len(answer.tokens) + 1} of an answer are not "
                "finite numbers: its weights are damaged, or too large to compute with"
            )
        answer.tokens += tokens.tolist()
        answer.logprobs += logprobs.tolist()
        rows.token[slot] = tokens[-1]
        rows.position[slot] += len(tokens)
        rows.left[slot] -= len(tokens)
        rows.drawn[slot] += len(tokens)
        full = len(answer.tokens) >= answer.request.budget
        answer.ended = int(tokens[-1]) in self._end_ids or full


def pad_prompts(requests: Sequence[Request], rows: int, width: int) -> Prompts:
    """Return the prompts padded on the right to ``rows`` rows of ``width`` columns."""
    prompts = _empty_prompts(rows, rows, width)
    for row, request in enumerate(requests):
        _put(prompts, row, row, request)
    return prompts


def pad_shared_prompts(requests: Sequence[Request], rows: int, width: int) -> Prompts:
    """Return :func:`pad_prompts`, but samples of one prompt share it.

    The number of prompts is a power of two, so that few programs are compiled.
    """
    indices = list(dict.fromkeys(request.index for request in requests))
    count = 1 << (len(indices) - 1).bit_length()
    # Samples that were interrupted continue differently.
    if count >= rows or any(request.drawn for request in requests):
        return pad_prompts(requests, rows, width)
    prompts = _empty_prompts(rows, count, width)
    owners = np.zeros(rows, np.int32)
    for row, request in enumerate(requests):
        owners[row] = indices.index(request.index)
        _put(prompts, row, int(owners[row]), request)
    return prompts._replace(rows=owners)


def _empty_prompts(rows: int, count: int, width: int) -> Prompts:
    return Prompts(
        tokens=np.zeros((count, width), np.int32),
        lengths=np.ones(count, np.int32),
        numbers=np.zeros(rows, np.int32),
        samples=np.zeros(rows, np.int32),
        drawn=np.zeros(rows, np.int32),
    )


def _put(prompts: Prompts, row: int, prompt: int, request: Request) -> None:
    prompts.tokens[prompt, : len(request.tokens)] = request.tokens
    prompts.lengths[prompt] = len(request.tokens)
    prompts.drawn[row] = len(request.drawn)
    prompts.numbers[row] = request.number
    prompts.samples[row] = request.sample
