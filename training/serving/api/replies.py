"""Documents of responses, whole and in parts, in OpenAI's schema."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

from tailrace.formats.data.message import ToolCall
from training.data.chat_format import ChatFormat
from training.serving.api.generation import Choice, Generation
from training.serving.splitting import Parts, PartStream

Document = dict[str, Any]


class Reply(Protocol):
    """Documents of one response."""

    def whole(self, choices: Sequence[Choice]) -> Document:
        """Return the document of answers that have ended."""
        ...

    def opening(self) -> list[Document]:
        """Return the documents before the first token."""
        ...

    def part(self, choice: Choice) -> Document | None:
        """Return the document of what has come since the last one; None if it is nothing."""
        ...

    def usage(self) -> Document:
        """Return the last document of a stream, with the counts of tokens."""
        ...


class _Base:
    """Parts that both endpoints share."""

    def __init__(self, generation: Generation, chat: ChatFormat, model: str, prefix: str) -> None:
        self.generation = generation
        self.with_logprobs = generation.question.with_logprobs
        self._chat = chat
        self._head = {
            "id": f"{prefix}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }
        self._reported = [0] * len(generation.choices)
        """Number of tokens of each choice whose log-probabilities were sent."""

    def document(self, kind: str, choices: list[Document], **more: Any) -> Document:
        """Return a document of a kind."""
        return {**self._head, "object": kind, "choices": choices, **more}

    def counts(self) -> Document:
        """Return the ``usage`` of the response."""
        prompt, completion = self.generation.prompt_tokens, self.generation.completion_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    def new_tokens(self, choice: Choice) -> list[tuple[int, float]]:
        """Return tokens with log-probabilities that were not returned before."""
        begin, tokens = self._reported[choice.index], choice.text.tokens
        self._reported[choice.index] = len(tokens)
        return list(zip(tokens[begin:], choice.logprobs[begin:], strict=True))

    def token_text(self, token: int) -> str:
        """Return the text of one token; part of a character becomes U+FFFD."""
        return self._chat.written([token])


class ChatReply(_Base):
    """Documents of ``/v1/chat/completions``."""

    def __init__(self, generation: Generation, chat: ChatFormat, model: str) -> None:
        super().__init__(generation, chat, model, "chatcmpl")
        self._streams: list[PartStream] = list(map(generation.part_stream, generation.choices))

    def whole(self, choices: Sequence[Choice]) -> Document:
        """Return a ``chat.completion``."""
        return self.document(
            "chat.completion", list(map(self._whole_choice, choices)), usage=self.counts()
        )

    def opening(self) -> list[Document]:
        """Return a chunk with the role of each answer."""
        return [
            self._chunk(choice, {"role": "assistant", "content": ""})
            for choice in self.generation.choices
        ]

    def part(self, choice: Choice) -> Document | None:
        """Return a ``chat.completion.chunk``."""
        stream, text = self._streams[choice.index], choice.text.text
        has_ended = bool(choice.finish_reason)
        parts = stream.finish(text) if has_ended else stream.advance(text)
        delta = {
            "reasoning_content": parts.reasoning,
            "content": parts.content,
            "tool_calls": [{"index": i, **_call(call)} for i, call in enumerate(parts.calls)],
        }
        delta = {name: value for name, value in delta.items() if value}
        logprobs = self._logprobs(choice)
        if not (delta or has_ended or logprobs):
            return None
        return self._chunk(choice, delta, _finish_reason(choice, parts), logprobs)

    def usage(self) -> Document:
        """Return the chunk of ``stream_options.include_usage``."""
        return self.document("chat.completion.chunk", [], usage=self.counts())

    def _whole_choice(self, choice: Choice) -> Document:
        parts = self.generation.parts(choice)
        message: Document = {"role": "assistant", "content": parts.content, "refusal": None}
        if parts.reasoning:
            message["reasoning_content"] = parts.reasoning
        if parts.calls:
            message["content"] = parts.content or None
            message["tool_calls"] = list(map(_call, parts.calls))
        return {
            "index": choice.index,
            "message": message,
            "logprobs": self._logprobs(choice),
            "finish_reason": _finish_reason(choice, parts),
        }

    def _chunk(
        self,
        choice: Choice,
        delta: Document,
        finish_reason: str | None = None,
        logprobs: Document | None = None,
    ) -> Document:
        fields = {"index": choice.index, "delta": delta, "logprobs": logprobs}
        return self.document("chat.completion.chunk", [{**fields, "finish_reason": finish_reason}])

    def _logprobs(self, choice: Choice) -> Document | None:
        """Return the new tokens with their log-probabilities; None if there are none."""
        tokens = self.new_tokens(choice) if self.with_logprobs else []
        if not tokens:
            return None
        texts = [(self.token_text(token), logprob) for token, logprob in tokens]
        return {
            "content": [
                {"token": t, "logprob": p, "bytes": list(t.encode()), "top_logprobs": []}
                for t, p in texts
            ],
            "refusal": None,
        }


class CompletionReply(_Base):
    """Documents of ``/v1/completions``."""

    def __init__(self, generation: Generation, chat: ChatFormat, model: str) -> None:
        super().__init__(generation, chat, model, "cmpl")
        self._shown = [0] * len(generation.choices)
        self._offsets = [0] * len(generation.choices)

    def whole(self, choices: Sequence[Choice]) -> Document:
        """Return a ``text_completion``."""
        documents = [self._choice(choice, choice.text.text) for choice in choices]
        return self.document("text_completion", documents, usage=self.counts())

    def opening(self) -> list[Document]:
        """Return nothing: the first document has text."""
        return []

    def part(self, choice: Choice) -> Document | None:
        """Return a ``text_completion`` with the new text."""
        text = choice.text.text[self._shown[choice.index] :]
        self._shown[choice.index] += len(text)
        if not (text or choice.finish_reason):
            return None
        return self.document("text_completion", [self._choice(choice, text)])

    def usage(self) -> Document:
        """Return the chunk of ``stream_options.include_usage``."""
        return self.document("text_completion", [], usage=self.counts())

    def _choice(self, choice: Choice, text: str) -> Document:
        return {
            "index": choice.index,
            "text": text,
            "logprobs": self._logprobs(choice) if self.with_logprobs else None,
            "finish_reason": choice.finish_reason or None,
        }

    def _logprobs(self, choice: Choice) -> Document:
        tokens = self.new_tokens(choice)
        texts = [self.token_text(token) for token, _ in tokens]
        offsets = []
        for text in texts:
            offsets.append(self._offsets[choice.index])
            self._offsets[choice.index] += len(text)
        return {
            "tokens": texts,
            "token_logprobs": [logprob for _, logprob in tokens],
            "top_logprobs": None,
            "text_offset": offsets,
        }


def _call(call: ToolCall) -> Document:
    """Return a call of a tool; one without an id gets one."""
    arguments = json.dumps(call.function.arguments, ensure_ascii=False)
    function = {"name": call.function.name, "arguments": arguments}
    id_ = call.id or f"call_{uuid.uuid4().hex[:24]}"
    return {"id": id_, "type": "function", "function": function}


def _finish_reason(choice: Choice, parts: Parts) -> str | None:
    return "tool_calls" if parts.calls else choice.finish_reason or None
