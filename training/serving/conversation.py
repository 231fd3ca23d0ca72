"""A conversation with a model in this process, kept within its context."""

from __future__ import annotations

import queue
from collections.abc import Generator
from dataclasses import dataclass, replace

from tailrace.formats.data.message import Message, Role
from tailrace.formats.data.prediction import FinishReason
from training.errors import DataError, NotFiniteError
from training.generate.sampling import Sampling
from training.serving.jobs import Job, Piece
from training.serving.model import Prompt, ServedModel
from training.serving.splitting import Parts, PartStream, split_answer
from training.serving.text import AnswerText

_RESERVED_SHARE = 4
"""Part of the context (1 / n) that a prompt leaves for the answer, unless answers are shorter."""


@dataclass(frozen=True)
class Exchange:
    """A question with its answer."""

    question: str
    answer: str
    reasoning: str
    finish_reason: str
    """``stop``, ``length``, or ``interrupted``."""
    prompt_tokens: int
    completion_tokens: int
    left_out: int
    """Number of older exchanges that were left out of the prompt because it was too long."""


class Conversation:
    """Messages so far, and the settings of the answers."""

    def __init__(self, model: ServedModel, sampling: Sampling, system: str = "") -> None:
        self.system = system
        """System prompt; empty for none."""
        self.model = model
        self.last: Exchange | None = None
        """Newest exchange."""
        self._sampling = sampling
        self._exchanges: list[list[Message]] = []
        self._number = 0

    def reset(self) -> None:
        """Forget all exchanges."""
        self._exchanges.clear()
        self.last = None

    def ask(self, question: str) -> Generator[Parts, None, None]:
        """Yield the parts of the answer as they come, then store the exchange.

        An exception thrown in, such as KeyboardInterrupt, ends the answer; what has come is stored.

        Raises:
            DataError: The question is too long, or the chat template refuses the conversation.
            NotFiniteError: The model is damaged.
        """
        prompt, left_out = self._prompt(question)
        text = AnswerText(self.model.chat.text, prompt.stop)
        stream = PartStream(prompt.opening)
        reason = "interrupted"
        pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
        # Each answer has a separate random stream, also to a repeated question.
        sampling = replace(self._sampling, seed=(self._sampling.seed + self._number) % 2**31)
        self._number += 1
        job = Job(prompt.tokens, sampling, pieces.put)
        self.model.engine.submit([job])
        try:
            while True:
                piece = pieces.get()
                if piece.finish is FinishReason.ERROR:
                    raise NotFiniteError(piece.error)
                end = text.extend(piece)
                if end:
                    break
                yield stream.advance(text.text)
            reason = end
            yield stream.finish(text.text)
        finally:
            self.model.engine.cancel(job)
            text.end()
            parts = split_answer(text.text, prompt.opening, has_tools=False)
            self.last = Exchange(
                question,
                parts.content,
                parts.reasoning,
                reason,
                len(prompt.tokens),
                text.count,
                left_out,
            )
            self._store(question, parts)

    def _store(self, question: str, parts: Parts) -> None:
        if parts.content or parts.reasoning:
            answer = Message(
                Role.ASSISTANT, parts.content, reasoning_content=parts.reasoning or None
            )
            self._exchanges.append([Message(Role.USER, question), answer])

    def _prompt(self, question: str) -> tuple[Prompt, int]:
        """Return the prompt without as many of the oldest exchanges as it takes to fit."""
        context = self.model.context
        room = context - min(self._sampling.max_new_tokens, context // _RESERVED_SHARE)
        system = [Message(Role.SYSTEM, self.system)] if self.system else []
        for left_out in range(len(self._exchanges) + 1):
            history = [message for pair in self._exchanges[left_out:] for message in pair]
            prompt = self.model.chat_prompt([*system, *history, Message(Role.USER, question)])
            if len(prompt.tokens) <= room:
                return prompt, left_out
        raise DataError(
            f"the question takes {len(prompt.tokens)} tokens, at most {room} of the context's "
            f"{context} are for questions: ask a shorter one, or give a larger --context"
        )
