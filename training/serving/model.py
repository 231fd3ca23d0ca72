"""The served model: prompts as tokens, and the engine that answers them."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tailrace.formats.data.message import Message
from tailrace.formats.data.thinking import opened_thinking
from tailrace.formats.spec.train_spec import MeshSpec
from training.data.chat_format import ChatFormat
from training.data.tokenizer import beginning, encode
from training.generate.placement import generation_layout
from training.generate.predict import PROMPT_END, Evaluated
from training.serving.engine import Engine
from training.serving.programs import RowPrograms
from training.serving.running import STEPS
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
        cls,
        name: str,
        evaluated: Evaluated,
        *,
        slots: int,
        context: int | None,
        places: int,
        compiles_first: bool = True,
    ) -> ServedModel:
        """Start the engine of a model.

        Args:
            name: Name under which clients ask for it.
            evaluated: The model.
            slots: Number of requests that decode together.
            context: Longest sequence in tokens (default: the model's, or what memory allows).
            places: Maximum number of waiting requests.
            compiles_first: Compile every program now, not when a request needs it.

        Raises:
            TrainingError: As :meth:`training.serving.shapes.Shapes.of`, or the chat template
                cannot render a prompt.
        """
        model, ends = evaluated.model, evaluated.chat.ends | evaluated.ends
        layout = generation_layout(model, MeshSpec())
        row_parts = 1 if layout is None else layout.row_parts
        shapes = Shapes.of(model, slots, context, row_parts)
        programs = RowPrograms(model, ends, STEPS, layout)
        if compiles_first:
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

    def text_prompt(self, text: str) -> Prompt:
        """Return the prompt of a text, which begins as the tokenizer begins texts."""
        tokenizer = self._evaluated.tokenizer
        return Prompt([*beginning(tokenizer), *encode(tokenizer, text)])

    @property
    def vocabulary(self) -> int:
        """Number of tokens that the model embeds."""
        return self._evaluated.model.vocabulary

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
