"""Bodies of requests: OpenAI's fields, and those that Tailrace adds.

Fields that have no effect here are accepted if they only describe the request (``metadata``), and
refused if ignoring them would change the answer (``response_format``), unless they have the value
that asks for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tailrace.formats.data.message import (
    MAX_MESSAGES,
    MAX_TOOLS,
    Message,
    Role,
    conversation_violations,
    tool_violations,
)
from tailrace.formats.schema import Violation, key

MAX_SAMPLES = 64
"""Maximum number of answers to one prompt."""

MAX_PROMPTS = 256
"""Maximum number of prompts of one request."""

MAX_ANSWERS = 512
"""Maximum number of answers of one request."""

MAX_TEXT = 4_000_000
"""Maximum length of a prompt, in characters."""

IGNORED = frozenset(
    (
        *("metadata", "store", "service_tier", "safety_identifier", "verbosity", "moderation"),
        *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        "parallel_tool_calls",
    )
)
"""Fields that describe a request to OpenAI's own service."""

NEUTRAL: dict[str, tuple[object, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
    "top_logprobs": (0,),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "functions": ([],),
    "function_call": ("none",),
    "reasoning_effort": (),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
}
"""Fields that are not supported, with the values that ask for nothing."""

WAYS_OUT = {
    "frequency_penalty": "use repetition_penalty",
    "presence_penalty": "use repetition_penalty",
    "functions": "use tools",
    "function_call": "use tool_choice",
    "reasoning_effort": "set what the template reads in chat_template_kwargs",
    "top_logprobs": "logprobs gives those of the chosen tokens",
    "best_of": "use n",
}


@dataclass(frozen=True)
class StreamOptions:
    """Options of a stream."""

    include_usage: bool = key("Send a last chunk with the counts of tokens.", default=False)
    include_obfuscation: bool = key("No effect: no padding is sent.", default=False)


@dataclass(frozen=True)
class ChatMessage(Message):
    """Message of a conversation; an answer may be empty, as models give such."""

    def violations(self, path: str) -> list[Violation]:
        """Return the violations of a message."""
        if self.role is Role.ASSISTANT:
            return self._foreign_keys(path)
        return super().violations(path)


@dataclass(frozen=True, kw_only=True)
class SamplingRequest:
    """Fields of both endpoints."""

    model: str = key("Name of the model, as `/v1/models` lists it.", minimum=1, max_length=1000)
    max_tokens: int | None = key("Maximum number of new tokens.", default=None, minimum=1)
    temperature: float = key("0 is greedy.", default=1.0, minimum=0, maximum=2)
    top_p: float = key("Probability of the tokens to draw from.", default=1.0, above=0, maximum=1)
    top_k: int = key(
        "Number of tokens to draw from; 0: all.", default=0, minimum=0, maximum=2**31 - 1
    )
    repetition_penalty: float = key("1 changes nothing.", default=1.0, minimum=0.1, maximum=10)
    n: int = key("Number of answers.", default=1, minimum=1, maximum=MAX_SAMPLES)
    seed: int | None = key(
        "Equal requests with a seed have equal answers.",
        default=None,
        minimum=-(2**63),
        maximum=2**63 - 1,
    )
    stop: list[str] = key(
        "Texts that end an answer.", default=[], minimum=1, max_length=16, item_length=256
    )
    stream: bool = key("Send the answer in parts.", default=False)
    stream_options: StreamOptions | None = key("Options of the stream.", default=None)
    user: str | None = key("Client for which requests are scheduled.", default=None, max_length=512)

    def violations(self, path: str) -> list[Violation]:
        """Return the violation of options for a stream that is not requested."""
        del path
        if self.stream_options is None or self.stream:
            return []
        return [Violation("stream_options", "goes with stream: true")]


@dataclass(frozen=True, kw_only=True)
class ChatRequest(SamplingRequest):
    """Body of ``/v1/chat/completions``."""

    messages: list[ChatMessage] = key("The conversation.", max_length=MAX_MESSAGES)
    max_completion_tokens: int | None = key(
        "Maximum number of new tokens; the newer name of max_tokens.", default=None, minimum=1
    )
    logprobs: bool = key("Return the log-probabilities of the tokens.", default=False)
    tools: list[dict[str, Any]] = key(
        "Functions that the model may call.", default=[], max_length=MAX_TOOLS, verbatim=True
    )
    chat_template_kwargs: dict[str, Any] = key(
        "Variables for the chat template.", default={}, max_length=64
    )

    @property
    def limit(self) -> int | None:
        """Maximum number of new tokens."""
        if self.max_completion_tokens is None:
            return self.max_tokens
        return self.max_completion_tokens

    def violations(self, path: str) -> list[Violation]:
        """Return the violations of the conversation and the tools."""
        violations = super().violations(path)
        if not self.messages:
            violations.append(Violation("messages", "must not be empty"))
        violations += conversation_violations("messages", self.messages)
        violations += tool_violations("tools", self.tools)
        if None not in (self.max_tokens, self.max_completion_tokens):
            violations.append(Violation("max_tokens", "and max_completion_tokens: give one"))
        return violations


@dataclass(frozen=True, kw_only=True)
class CompletionRequest(SamplingRequest):
    """Body of ``/v1/completions``, but for its prompts."""

    logprobs: int | None = key(
        "0: return the log-probabilities of the tokens; those of other tokens are not available.",
        default=None,
        minimum=0,
        maximum=0,
    )

    @property
    def limit(self) -> int:
        """Maximum number of new tokens; OpenAI's default is small."""
        return 16 if self.max_tokens is None else self.max_tokens
