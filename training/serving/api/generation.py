"""Answers to one request: jobs of the engine, and their pieces as choices."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tailrace.formats.data.prediction import FinishReason
from training.serving.api.errors import ApiError
from training.serving.api.questions import Question
from training.serving.engine import Engine
from training.serving.jobs import EngineClosedError, Job, Piece
from training.serving.model import Prompt, ServedModel
from training.serving.queue import FullError
from training.serving.splitting import Parts, PartStream, split_answer
from training.serving.text import AnswerText

RETRY_SECONDS = 60
"""Maximum of ``Retry-After``."""

SILENCE_SECONDS = 15.0
"""Seconds without a token after which a stream shows that it is alive."""


@dataclass(eq=False)
class Choice:
    """One answer, as far as it has come."""

    index: int
    text: AnswerText
    finish_reason: str = ""
    """``stop``, ``length`` or ``tool_calls``; empty until the answer ends."""
    logprobs: list[float] = field(default_factory=list)
    """Log-probabilities of the text's tokens."""

    def add(self, piece: Piece) -> bool:
        """Append the tokens of a piece; return True if the answer has ended."""
        self.finish_reason = self.text.extend(piece)
        more = len(self.text.tokens) - len(self.logprobs)
        self.logprobs += piece.logprobs[:more]
        return bool(self.finish_reason)


class Generation:
    """Running answers to a question; closing it frees their slots.

    It submits its jobs at once, so that a refusal comes before the response has begun.
    """

    def __init__(self, model: ServedModel, question: Question, client: str) -> None:
        """Submit the jobs.

        Args:
            model: The model.
            question: The question.
            client: Name under which it is scheduled.

        Raises:
            ApiError: Too many requests wait, or the server is ending.
        """
        self.question = question
        self._engine: Engine = model.engine
        self._client = client
        self._pieces: asyncio.Queue[tuple[int, Piece]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        sampling, stops = question.sampling, question.sampling.stop
        stop_ids = question.stop_tokens
        self.choices = [
            Choice(index, AnswerText(model.chat.text, (*stops, *prompt.stop), stop_ids))
            for index, prompt in enumerate(
                prompt for prompt in question.prompts for _ in range(sampling.n_samples)
            )
        ]
        self._open = {choice.index for choice in self.choices}
        self._jobs = [self._job(number, prompt) for number, prompt in enumerate(question.prompts)]
        try:
            self._engine.submit(self._jobs)
        except FullError as error:
            load = self._engine.load
            seconds = load.seconds * (load.waiting / self._engine.shapes.slots + 1)
            wait = str(max(1, min(RETRY_SECONDS, round(seconds))))
            headers = {"Retry-After": wait}
            raise ApiError(429, str(error), code="queue_full", headers=headers) from error
        except EngineClosedError as error:
            raise ApiError(503, str(error), code="unavailable") from error

    @property
    def prompt_tokens(self) -> int:
        """Number of tokens of the prompts."""
        return sum(len(prompt.tokens) for prompt in self.question.prompts)

    @property
    def completion_tokens(self) -> int:
        """Number of tokens generated so far."""
        return sum(choice.text.count for choice in self.choices)

    def prompt_of(self, choice: Choice) -> Prompt:
        """Return the prompt that a choice answers."""
        return self.question.prompts[choice.index // self.question.sampling.n_samples]

    def parts(self, choice: Choice) -> Parts:
        """Return the parts of an answer that has ended."""
        opening = self.prompt_of(choice).opening
        return split_answer(choice.text.text, opening, has_tools=self.question.has_tools)

    def part_stream(self, choice: Choice) -> PartStream:
        """Return the stream of an answer's parts."""
        return PartStream(self.prompt_of(choice).opening, has_tools=self.question.has_tools)

    async def changes(self, seconds: float) -> AsyncIterator[Choice | None]:
        """Yield each choice after new tokens, until all have ended; None after a silence.

        Args:
            seconds: Time limit of all answers together.

        Raises:
            ApiError: Generation failed, or takes longer.
        """
        deadline = self._loop.time() + seconds
        while self._open:
            left = deadline - self._loop.time()
            if left <= 0:
                raise ApiError(504, f"no whole answer in {seconds:g} s", code="deadline_exceeded")
            try:
                entry = self._pieces.get()
                index, piece = await asyncio.wait_for(entry, min(left, SILENCE_SECONDS))
            except TimeoutError:
                yield None
                continue
            if index not in self._open:
                continue
            if piece.finish is FinishReason.ERROR:
                status = 503 if self._engine.failure else 500
                raise ApiError(status, piece.error, code="generation_failed")
            choice = self.choices[index]
            if choice.add(piece):
                self._open.discard(index)
                if piece.finish is None:
                    job, sample = divmod(index, self.question.sampling.n_samples)
                    self._engine.cancel(self._jobs[job], sample)
            yield choice

    def close(self) -> None:
        """End what is still running."""
        if self._open:
            self._open.clear()
            for job in self._jobs:
                self._engine.cancel(job)

    def _job(self, number: int, prompt: Prompt) -> Job:
        first = number * self.question.sampling.n_samples

        def receive(piece: Piece) -> None:
            # The loop is closed if the server has ended without waiting for the engine.
            with contextlib.suppress(RuntimeError):
                entry = first + piece.sample, piece
                self._loop.call_soon_threadsafe(self._pieces.put_nowait, entry)

        return Job(prompt.tokens, self.question.sampling, receive, self._client)
