"""The chat format of a model: conversations as tokens, with the mask of those to learn.

Training encodes with :meth:`ChatFormat.encode_all`, generation with
:meth:`ChatFormat.prompt_tokens`; both render with the model's chat template alike. Text of messages
stays text: a special token spelled in one neither opens nor ends a turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from tailrace.formats.data.message import Message, Role
from tailrace.formats.data.thinking import TAG
from tailrace.formats.data.tool_calls import TOOL_MARKERS
from tailrace.formats.model.chat_template import template_reads_clock
from tailrace.formats.spec.methods import TrainOn
from training.data.chat_template import Rendering, check_variables, render_all
from training.data.conversation import Conversation
from training.data.literal_text import ConversationError, LiteralText, SpecialTextError
from training.data.render_plan import Planner, RenderPlan, chunks, render
from training.data.rendered_example import RenderedExample, authors_of, overlapping
from training.data.rendering import chat_template_of, today
from training.data.template_probe import TemplateProbe
from training.data.tokenizer import beginning
from training.data.turn_finder import TurnFinder, text_of

__all__ = ["ChatFormat", "ConversationError", "SpecialTextError"]

_NAME = re.compile(r"[A-Za-z0-9_.:/-]+")
"""Names of tools that no template escapes."""

_HAS_TOOLS = "set model.chat_template to one with a form for tools, such as qwen2.5"


class ChatFormat:
    """The token sequences of one model's conversations.

    :meth:`encode_all` encodes examples for training, :meth:`encode` a single one, and
    :meth:`prompt_tokens` prompts for generation. :func:`training.data.masking.untrainable_error`
    is the error for turns that an example reports as ``untrainable``;
    :func:`training.data.exchanges.fitting` leaves out old exchanges of an overlong conversation.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        clock: date | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Find out how the chat template writes turns.

        Args:
            tokenizer: Tokenizer with the chat template.
            clock: Day that the chat template reads (default: today, UTC).
            kwargs: Variables for the chat template, in training and generation alike
                (``model.chat_template_kwargs``).

        Raises:
            ModelConfigError: The template cannot render a prompt.
            ConfigError: A variable belongs to the conversation, such as ``messages``.
        """
        check_variables(kwargs or {})
        self.tokenizer = tokenizer
        self.clock = clock or today()
        plain, with_tools = (
            chat_template_of(tokenizer, self.clock, kwargs, tools=tools) for tools in (False, True)
        )
        self._reads_clock = any(template_reads_clock(t.text) for t in (plain, with_tools))
        probe = TemplateProbe(tokenizer, plain, with_tools)
        probe.require_prompt()
        self.turn_end = probe.turn_end()
        self._controls = probe.controls(self.turn_end)
        self._literal = LiteralText(tokenizer.backend_tokenizer, self._controls)
        self._planner = Planner(plain, with_tools, self._literal)
        self._finder = TurnFinder(
            self.turn_end,
            str(tokenizer.eos_token),
            self._planner.label,
            takes_answers=probe.takes_answers(),
        )

    @property
    def end(self) -> int:
        """Token that ends an answer in training."""
        if self.turn_end.token is None:
            return int(self.tokenizer.eos_token_id)
        return self.turn_end.token

    @cached_property
    def ends(self) -> frozenset[int]:
        """Tokens that end an answer: the tokenizer's and the template's."""
        ids = {int(self.tokenizer.eos_token_id), self.end}
        return frozenset(
            ids | {id_ for text, id_ in self._controls.items() if self.turn_end.is_token(text)}
        )

    @property
    def stop(self) -> tuple[str, ...]:
        """Text that ends an answer, for templates that end turns without a special token."""
        ends_with_text = self.turn_end.token is None and self.turn_end.taught
        return (self.turn_end.taught,) if ends_with_text else ()

    @property
    def template_date(self) -> str | None:
        """Day that the template reads; None for a template without a clock."""
        return self.clock.isoformat() if self._reads_clock else None

    def token_of(self, text: str) -> int | None:
        """Return the id of the special token ``text``, or None if it is not one."""
        ids = {token.content: id_ for id_, token in self.tokenizer.added_tokens_decoder.items()}
        return ids.get(text)

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens; of special tokens, only tags of thinking and of tool calls."""
        return self.written([token for token in tokens if token not in self._silent])

    def written(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, special tokens included."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=False))

    def mixes_in_token(self, text: str) -> bool:
        """Return True if a text has a special token in it and other text."""
        return any(token in text and token != text for token in self._controls)

    def prompt(self, text: str) -> list[int]:
        """Return the tokens of a user's message; see :meth:`prompt_tokens`."""
        return self.prompt_tokens([Message(Role.USER, text)])

    def prompt_tokens(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]] = (),
        *,
        allow_special_tokens: bool = False,
    ) -> list[int]:
        """Return the tokens of a conversation up to the begin of the assistant's next turn.

        Raises:
            ConversationError: The template refuses the conversation, or its text spells a special
                token and cannot be encoded as text.
            ModelConfigError: The template exceeds a limit.
        """
        job = self._planner.job(messages, tools, (), allow_special_tokens, asks=True)
        rendering = render_all(self._planner.template(tools), [job])[0]
        rendered = self._literal.rendered(text_of(rendering))
        _require_tools(rendered.plain, tools)
        encoded = self._literal.encode(rendered)
        return [int(token) for token in encoded.tokens]

    def encode(
        self, conversation: Conversation, train_on: TrainOn, *, allow_special_tokens: bool = False
    ) -> RenderedExample:
        """Return a conversation as the model sees it in training; see :meth:`encode_all`.

        Raises:
            ConversationError: The template or the tokenizer cannot take the conversation.
            ModelConfigError: The template exceeds a limit.
        """
        encoded = self.encode_all(
            [conversation], train_on, allow_special_tokens=allow_special_tokens
        )
        for example in encoded:
            if isinstance(example, ConversationError):
                raise example
            return example
        raise AssertionError

    def encode_all(
        self,
        conversations: Iterable[Conversation],
        train_on: TrainOn,
        *,
        allow_special_tokens: bool = False,
    ) -> Iterator[RenderedExample | ConversationError]:
        """Yield conversations as the model sees them in training, in order.

        The tokens are those of the whole text that the chat template renders, encoded once. The
        last turn goes on from its prompt in any case: if the template renders it in another way
        (a prompt that opens thinking, a template without answers), the answer is written behind
        the prompt. A last turn without a token that ends it is ended by the tokenizer's.

        Plain text begins as the tokenizer begins every text, ends with its end-of-sequence token,
        and is learnt whole.

        Tokens after :attr:`RenderedExample.learnt_length`, such as a line feed behind the end of
        the last turn, can be left out of training.

        Args:
            conversations: The conversations; they are rendered many at a time.
            train_on: Part to learn. Messages with weight 0 are not learnt in any case.
            allow_special_tokens: True if text of messages may become special tokens.

        Yields:
            The example, or the error for a conversation that the template or the tokenizer cannot
            take.

        Raises:
            ModelConfigError: The template exceeds a limit.
        """
        plans = (self._planner.plan(c, train_on, allow_special_tokens) for c in conversations)
        for chunk in chunks(plans):
            for plan, renderings in zip(chunk, render(chunk), strict=True):
                try:
                    example = self._encoded(plan, *renderings)
                except ConversationError as error:
                    yield error
                else:
                    yield example

    def _encoded(
        self, plan: RenderPlan, rendering: Rendering | None, labelled: Rendering | None
    ) -> RenderedExample:
        if rendering is None:
            return self._plain_text(str(plan.job.messages[0]["content"]))
        if plan.refusal:
            raise ConversationError(plan.refusal)
        turns = self._finder.turns(plan, rendering, labelled)
        rendered = self._literal.rendered(turns.text)
        encoded = self._literal.encode(rendered)
        place = rendered.plain_position
        places = {
            index: [(place(begin), place(end)) for begin, end in spans]
            for index, spans in turns.places.items()
        }
        _require_tools(rendered.plain, plan.conversation.tools)
        _require_calls(rendered.plain, plan, places)
        chosen = [i for i in places if (i in plan.learnt) is not plan.learns_all]
        mask = overlapping(encoded.spans, [span for i in chosen for span in places[i]])
        untrainable = turns.untrainable
        if plan.learns_all:
            mask = ~mask
            untrainable = [i for i in untrainable if i not in plan.learnt]
        return RenderedExample(
            encoded.text,
            encoded.tokens,
            mask,
            encoded.spans,
            authors_of(encoded.text, plan.conversation.messages, places),
            untrainable,
            _lost_reasoning(plan, encoded.text, places),
        )

    def _plain_text(self, protected: str) -> RenderedExample:
        encoded = self._literal.encode(self._literal.rendered(protected))
        head = [str(token) for token in self.tokenizer.convert_ids_to_tokens(self._first)]
        end = str(self.tokenizer.eos_token)
        text = "".join([*head, encoded.text, end])
        tokens = np.concatenate([self._first, encoded.tokens, [int(self.tokenizer.eos_token_id)]])
        ends = np.cumsum([len(token) for token in head], dtype=np.int64)
        begins = np.concatenate([[0], ends])
        spans = np.concatenate(
            [
                np.stack([begins[:-1], ends], axis=1),
                encoded.spans + begins[-1],
                [[len(text) - len(end), len(text)]],
            ]
        )
        mask = np.ones(len(tokens), np.bool_)
        return RenderedExample(text, tokens.astype(np.int32), mask, spans, [], [], [])

    @cached_property
    def _first(self) -> list[int]:
        """Tokens that the tokenizer puts before every text."""
        return beginning(self.tokenizer)

    @cached_property
    def _silent(self) -> frozenset[int]:
        added = self.tokenizer.added_tokens_decoder.items()
        special = [(id_, token.content) for id_, token in added if token.special]
        return frozenset(
            id_ for id_, text in special if text not in TOOL_MARKERS and not TAG.fullmatch(text)
        )


def _require_tools(text: str, tools: Sequence[dict[str, Any]]) -> None:
    """Raise :class:`ConversationError` for a text without the names of tools."""
    for tool in tools:
        name = tool["function"]["name"]
        if _NAME.fullmatch(name) and name not in text:
            raise ConversationError(
                f"the model's chat template leaves out the tool {name}: {_HAS_TOOLS}"
            )


def _require_calls(
    text: str, plan: RenderPlan, places: Mapping[int, Sequence[tuple[int, int]]]
) -> None:
    """Raise :class:`ConversationError` for learnt calls of tools that are not in their turn."""
    for index in plan.learnt:
        spans = places.get(index, [(0, len(text))])
        for call in plan.conversation.messages[index].tool_calls:
            if call.function.name not in text[spans[0][0] : spans[-1][1]]:
                raise ConversationError(
                    f"the model's chat template leaves out the call of {call.function.name} in "
                    f"messages[{index}]: {_HAS_TOOLS}"
                )


def _lost_reasoning(
    plan: RenderPlan, text: str, places: Mapping[int, Sequence[tuple[int, int]]]
) -> list[int]:
    """Return the indices of learnt messages whose reasoning is not in their part of a text."""
    lost = []
    for index in plan.learnt:
        reasoning = (plan.conversation.messages[index].reasoning_content or "").strip()
        spans = places.get(index, [(0, len(text))] if plan.learns_all else [])
        if reasoning and spans and reasoning not in text[spans[0][0] : spans[-1][1]]:
            lost.append(index)
    return lost
