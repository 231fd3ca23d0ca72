"""The served model: prompts as tokens, and the engine that answers them."""

from __future__ import annotations

import json
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tailrace.formats.data.message import Message
from tailrace.formats.data.thinking import opened_thinking
from tailrace.formats.spec.train_spec import MeshSpec
from training.data.chat_format import ChatFormat, ConversationError
from training.data.tokenizer import beginning, encode
from training.errors import ConfigError, ModelConfigError
from training.generate.placement import generation_layout
from training.generate.predict import PROMPT_END, Evaluated
from training.generate.sampling import Sampling
from training.serving.engine import STEPS, Engine
from training.serving.errors import ApiError
from training.serving.programs import RowPrograms
from training.serving.schema import ChatRequest, SamplingRequest
from training.serving.shapes import Shapes, compile_all

_MOST_FORMATS = 16
"""Number of chat formats that are kept, one for each set of template variables."""


@dataclass(frozen=True)
class Prompt:
    """A prompt with what its answer's text depends on."""

    tokens: list[int]
    opening: str = ""
    """Tag with which the prompt begins thinking; empty if it does not."""
    stop: tuple[str, ...] = ()
    """Texts with which the chat template ends a turn."""


class ServedModel:
    """A model with its chat formats and its engine; several threads may use it."""

    def __init__(self, name: str, evaluated: Evaluated, engine: Engine) -> None:
        self.name = name
        """Name under which clients ask for it."""
        self.engine = engine
        self._evaluated = evaluated
        self._formats: OrderedDict[str, ChatFormat] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls, name: str, evaluated: Evaluated, *, slots: int, context: int | None, places: int
    ) -> ServedModel:
        """Compile the programs of a model and start its engine.

        Args:
            name: Name under which clients ask for it.
            evaluated: The model.
            slots: Number of requests that decode together.
            context: Longest sequence in tokens (default: the model's).
            places: Maximum number of waiting requests.

        Raises:
            TrainingError: As :meth:`training.serving.shapes.Shapes.of`, or the chat template
                cannot render a prompt.
        """
        model, ends = evaluated.model, evaluated.chat.ends | evaluated.ends
        layout = generation_layout(model, MeshSpec())
        row_parts = 1 if layout is None else layout.row_parts
        shapes = Shapes.of(model, slots, context, row_parts)
        programs = RowPrograms(model, ends, STEPS, layout)
        compile_all(programs, evaluated.params, shapes)
        limit = model.cache_limit
        engine = Engine(programs, evaluated.params, ends, shapes, places=places, cache_limit=limit)
        engine.start()
        return cls(name, evaluated, engine)

    @property
    def context(self) -> int:
        """Longest sequence, prompt and answer, in tokens."""
        return self.engine.shapes.context

    @property
    def chat(self) -> ChatFormat:
        """Format of conversations without further variables."""
        return self._evaluated.chat

    def chat_prompt(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
    ) -> Prompt:
        """Return the prompt of a conversation.

        Raises:
            ConversationError: The template refuses the conversation.
            ConfigError: A variable belongs to the conversation.
            ModelConfigError: The template exceeds a limit, or the tokenizer does not fit the model.
        """
        chat = self._format(variables or {})
        tokens = chat.prompt_tokens(messages, tools)
        return Prompt(tokens, opened_thinking(chat.written(tokens[-PROMPT_END:])), chat.stop)

    def request_prompt(self, request: ChatRequest) -> Prompt:
        """Return the prompt of a request.

        Raises:
            ApiError: The template refuses the conversation, or the prompt is too long.
        """
        try:
            prompt = self.chat_prompt(request.messages, request.tools, request.chat_template_kwargs)
        except ConversationError as error:
            raise ApiError(400, str(error), code="invalid_value", param="messages") from error
        except (ConfigError, ModelConfigError) as error:
            name = "chat_template_kwargs" if request.chat_template_kwargs else "messages"
            raise ApiError(400, str(error), code="invalid_value", param=name) from error
        return self._checked(prompt, "messages")

    def text_prompt(self, prompt: str | list[int]) -> Prompt:
        """Return the prompt of a text, as the tokenizer begins texts, or of token ids.

        Raises:
            ApiError: The prompt is empty or too long, or has other ids than the model's tokens.
        """
        tokenizer = self._evaluated.tokenizer
        if isinstance(prompt, str):
            prompt = [*beginning(tokenizer), *encode(tokenizer, prompt)]
        return self._checked(Prompt(prompt), "prompt")

    def sampling(self, request: SamplingRequest, limit: int | None) -> Sampling:
        """Return the settings of a request for at most ``limit`` new tokens."""
        seed = secrets.randbits(31) if request.seed is None else request.seed % 2**31
        return Sampling(
            max_new_tokens=self.context if limit is None else limit,
            temperature=request.temperature,
            seed=seed,
            top_p=request.top_p,
            top_k=request.top_k,
            repetition_penalty=request.repetition_penalty,
            n_samples=request.n,
            stop=tuple(request.stop),
        )

    def stop_tokens(self, stops: Sequence[str]) -> frozenset[int]:
        """Return the ids of the stop strings that are special tokens.

        Raises:
            ApiError: A stop string has a special token and other text.
        """
        for index, stop in enumerate(stops):
            if self.chat.mixes_in_token(stop):
                problem = f"stop[{index}] has a special token and other text: give one of them"
                raise ApiError(400, problem, code="invalid_value", param=f"stop[{index}]")
        ids = map(self.chat.token_of, stops)
        return frozenset(id_ for id_ in ids if id_ is not None)

    def _checked(self, prompt: Prompt, param: str) -> Prompt:
        count, vocabulary = len(prompt.tokens), self._evaluated.model.vocabulary
        if not count:
            raise ApiError(400, "the prompt has no tokens", code="invalid_value", param=param)
        if max(prompt.tokens) >= vocabulary:
            problem = f"the model has tokens 0 to {vocabulary - 1}, not {max(prompt.tokens)}"
            raise ApiError(400, problem, code="invalid_value", param=param)
        if count >= self.context:
            raise ApiError(
                400,
                f"the prompt has {count} tokens, which leaves no room in the context of "
                f"{self.context} tokens",
                code="context_length_exceeded",
                param=param,
            )
        return prompt

    def _format(self, variables: Mapping[str, Any]) -> ChatFormat:
        """Return the chat format with further template variables."""
        if not variables:
            return self.chat
        name = json.dumps(variables, sort_keys=True)
        with self._lock:
            if name not in self._formats:
                merged = {**self._evaluated.kwargs, **variables}
                evaluated = replace(self._evaluated, kwargs=merged)
                self._formats[name] = evaluated.chat
                while len(self._formats) > _MOST_FORMATS:
                    self._formats.popitem(last=False)
            self._formats.move_to_end(name)
            return self._formats[name]
