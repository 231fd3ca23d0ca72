"""The chat format of a model: conversations as tokens, with the mask of those to learn.

Training encodes with :meth:`ChatFormat.encode_all`, generation with
:meth:`ChatFormat.prompt_tokens`; both render with the model's chat template alike. Text of messages
stays text: a special token spelled in one neither opens nor ends a turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from tailrace.formats.data.message import Message, Role
from tailrace.formats.data.thinking import TAG
from tailrace.formats.data.tool_calls import TOOL_MARKERS
from tailrace.formats.model.chat_template import template_reads_clock
from tailrace.formats.spec.train_spec import TrainOn
from training.data.chat_template import (
    Beginning,
    ChatTemplate,
    RenderedBeginning,
    Rendering,
    RenderJob,
    check_variables,
    render_all,
)
from training.data.continuation import continuation, same_text
from training.data.conversation import Conversation, template_message
from training.data.literal_text import ConversationError, LiteralText, SpecialTextError
from training.data.masking import (
    Turns,
    assistant_messages,
    beginnings_of,
    blocks_by_message,
    learnt_messages,
    marked_turns,
    turns_between,
)
from training.data.rendered_example import RenderedExample, authors_of, overlapping
from training.data.rendering import chat_template_of, today
from training.data.template_probe import TemplateProbe
from training.data.tokenizer import beginning

__all__ = ["ChatFormat", "ConversationError", "SpecialTextError"]

_CHUNK = 64
"""Largest number of conversations in one request to the renderer."""

_CHUNK_CHARACTERS = 1 << 20
"""Number of characters after which a request takes no further conversation."""


@dataclass(frozen=True)
class _Plan:
    """A conversation that is to be rendered."""

    conversation: Conversation
    learnt: list[int]
    """Messages to learn."""
    located: list[int]
    """Messages whose place in the text must be known."""
    whole: bool
    """True if all text is learnt but that of unlearnt assistant messages."""
    template: ChatTemplate
    job: RenderJob


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
        self._plain, self._with_tools = (
            chat_template_of(tokenizer, self.clock, kwargs, tools=tools) for tools in (False, True)
        )
        probe = TemplateProbe(tokenizer, self._plain, self._with_tools)
        probe.require_prompt()
        self.turn_end = probe.turn_end()
        self._takes_answers = probe.takes_answers()
        self._controls = probe.controls(self.turn_end)
        self._literal = LiteralText(tokenizer.backend_tokenizer, self._controls)

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
        texts = (self._plain.text, self._with_tools.text)
        return self.clock.isoformat() if any(map(template_reads_clock, texts)) else None

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
        template = self._with_tools if tools else self._plain
        job = self._job(messages, tools, (), allow_special_tokens, asks=True)
        rendering = render_all(template, [job])[0]
        encoded = self._literal.encode(self._literal.rendered(_text_of(rendering)))
        return [int(token) for token in encoded.tokens]

    def example(self, prompt: str, response: str) -> tuple[list[int], list[int]]:
        """Return the tokens of a prompt, and those of the response that a model is trained on."""
        messages = [Message(Role.USER, prompt), Message(Role.ASSISTANT, response)]
        example = self.encode(Conversation(messages, 1), TrainOn.COMPLETION)
        begin, end = int(example.mask.argmax()), example.learnt_length
        tokens = [int(token) for token in example.tokens[:end]]
        return tokens[:begin], tokens[begin:]

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
        plans = (self._plan(c, train_on, allow_special_tokens) for c in conversations)
        for chunk in _chunks(plans):
            for plan, rendering in zip(chunk, _render(chunk), strict=True):
                try:
                    example = self._encoded(plan, rendering)
                except ConversationError as error:
                    yield error
                else:
                    yield example

    def _job(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]],
        beginnings: Sequence[Beginning],
        allow_special_tokens: bool,
        *,
        asks: bool = False,
    ) -> RenderJob:
        """Return the job of rendering messages, with placeholders for control tokens."""
        contents = [template_message(message) for message in messages]
        if not allow_special_tokens:
            contents = [self._protected(content) for content in contents]
            tools = [self._literal.protect(tool) for tool in tools]
        return RenderJob(contents, tools, asks, beginnings)

    def _protected(self, message: dict[str, Any]) -> dict[str, Any]:
        teaches = message["role"] == Role.ASSISTANT
        return {
            name: value
            if name == "role"
            else self._literal.protect(value, teaches=teaches and name == "content")
            for name, value in message.items()
        }

    def _plan(
        self, conversation: Conversation, train_on: TrainOn, allow_special_tokens: bool
    ) -> _Plan:
        messages = conversation.messages
        template = self._with_tools if conversation.tools else self._plain
        if not messages:
            text = conversation.text
            text = text if allow_special_tokens else self._literal.protect(text)
            return _Plan(conversation, [], [], True, template, RenderJob([{"content": text}]))
        whole = train_on is TrainOn.EVERYTHING
        learnt = learnt_messages(conversation, train_on)
        located = learnt
        if whole:
            last = [i for i in learnt if i == len(messages) - 1]
            located = [i for i in assistant_messages(messages) if i not in learnt] + last
        beginnings = [] if template.marks_answers else beginnings_of(located, len(messages))
        job = self._job(messages, conversation.tools, beginnings, allow_special_tokens)
        return _Plan(conversation, learnt, located, whole, template, job)

    def _encoded(self, plan: _Plan, rendering: Rendering | None) -> RenderedExample:
        if rendering is None:
            return self._plain_text(str(plan.job.messages[0]["content"]))
        turns = self._turns(plan, rendering)
        rendered = self._literal.rendered(turns.text)
        encoded = self._literal.encode(rendered)
        place = rendered.plain_position
        places = {
            index: [(place(begin), place(end)) for begin, end in spans]
            for index, spans in turns.places.items()
        }
        chosen = [i for i in places if (i in plan.learnt) is not plan.whole]
        mask = overlapping(encoded.spans, [span for i in chosen for span in places[i]])
        untrainable = turns.untrainable
        if plan.whole:
            mask = ~mask
            untrainable = [i for i in untrainable if i not in plan.learnt]
        messages = plan.conversation.messages
        return RenderedExample(
            encoded.text,
            encoded.tokens,
            mask,
            encoded.spans,
            authors_of(encoded.text, messages, places),
            untrainable,
            [i for i in plan.learnt if _loses_reasoning(messages[i], encoded.text, places.get(i))],
        )

    def _turns(self, plan: _Plan, rendering: Rendering) -> Turns:
        """Return the text of a conversation with the places of its messages."""
        if plan.template.marks_answers:
            turns = self._marked_turns(plan, rendering)
        else:
            turns = self._rendered_turns(plan, rendering)
        last = len(plan.conversation.messages) - 1
        if last in turns.places and last in plan.learnt:
            self._end_last_turn(turns, last)
        return turns

    def _marked_turns(self, plan: _Plan, rendering: Rendering) -> Turns:
        text, messages = _text_of(rendering), plan.conversation.messages
        answers = assistant_messages(messages)
        beginnings: dict[Beginning, RenderedBeginning | None] = {}
        if len(rendering.blocks) != len(answers):
            # Render beginnings to see which block belongs to which message.
            wanted = [Beginning(i + 1, asks=False) for i in answers if i + 1 < len(messages)]
            job = RenderJob(plan.job.messages, plan.job.tools, beginnings=wanted)
            counted = render_all(plan.template, [job])[0].beginnings
            beginnings = dict(zip(wanted, counted, strict=True))
        blocks = blocks_by_message(rendering, answers, beginnings)
        return marked_turns(text, plan.located, blocks, self.turn_end)

    def _rendered_turns(self, plan: _Plan, rendering: Rendering) -> Turns:
        beginnings = dict(zip(plan.job.beginnings, rendering.beginnings, strict=True))
        last = len(plan.conversation.messages) - 1
        if last not in plan.located:
            return turns_between(_text_of(rendering), plan.located, beginnings, self.turn_end)
        asked = beginnings[Beginning(last, asks=True)]
        text, begin, shared = self._last_turn(plan, rendering, asked)
        earlier = [i for i in plan.located if i != last]
        turns = turns_between(text, earlier, beginnings, self.turn_end, shared)
        if begin is None:
            turns.untrainable.append(last)
        else:
            turns.places[last] = [(begin, len(text))]
        return turns

    def _last_turn(
        self, plan: _Plan, rendering: Rendering, asked: RenderedBeginning | None
    ) -> tuple[str, int | None, int]:
        """Return the text of a conversation that ends with an answer, and the answer's begin.

        The begin is None for an answer that cannot be learnt. The third value is the number of
        leading characters that the text shares with the conversation as the template renders it.
        ``asked`` is the rendered prompt of the answer.
        """
        message = plan.job.messages[-1]
        if asked is None:
            text = _text_of(rendering)
            return text, None, len(text)
        opened = asked.text if asked.text is not None else (rendering.text or "")[: asked.length]
        if rendering.text is not None and asked.is_prefix:
            rest = rendering.text[asked.length :]
            if self._keeps_answer(message, rest):
                return rendering.text, asked.length, len(rendering.text)
        if "tool_calls" in message or (rendering.text is None and self._takes_answers):
            text = _text_of(rendering)
            return text, None, len(text)
        answer = continuation(opened, message["content"], message.get("reasoning_content"))
        return opened + answer + self.turn_end.taught, len(opened), asked.common

    def _keeps_answer(self, message: Mapping[str, Any], rest: str) -> bool:
        """Return True if the template writes an answer without a change of its text."""
        if "tool_calls" in message or "reasoning_content" in message:
            return True
        written = self.turn_end.written
        answer = rest[: len(rest) - len(written)]
        return rest.endswith(written) and same_text(answer, message["content"])

    def _end_last_turn(self, turns: Turns, last: int) -> None:
        """End the turn at the end of a text with its first end-of-turn token, or add one."""
        *spans, (begin, _) = turns.places[last]
        stop = self.turn_end.find(turns.text, begin, len(turns.text))
        if stop is None:
            stop = max(begin, self.turn_end.without_token(turns.text))
            turns.text = turns.text[:stop] + str(self.tokenizer.eos_token)
            stop = len(turns.text)
        turns.places[last] = [*spans, (begin, stop)]

    def _plain_text(self, protected: str) -> RenderedExample:
        encoded = self._literal.encode(self._literal.rendered(protected))
        first = beginning(self.tokenizer)
        head = [str(token) for token in self.tokenizer.convert_ids_to_tokens(first)]
        end = str(self.tokenizer.eos_token)
        text = "".join([*head, encoded.text, end])
        tokens = np.concatenate([first, encoded.tokens, [int(self.tokenizer.eos_token_id)]])
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
    def _silent(self) -> frozenset[int]:
        added = self.tokenizer.added_tokens_decoder.items()
        special = [(id_, token.content) for id_, token in added if token.special]
        return frozenset(
            id_ for id_, text in special if text not in TOOL_MARKERS and not TAG.fullmatch(text)
        )


def _text_of(rendering: Rendering) -> str:
    if rendering.text is None:
        raise ConversationError(
            f"the model's chat template refuses the conversation: {rendering.problem}"
        )
    return rendering.text


def _chunks(plans: Iterator[_Plan]) -> Iterator[list[_Plan]]:
    chunk: list[_Plan] = []
    size = 0
    for plan in plans:
        chunk.append(plan)
        size += plan.job.size
        if len(chunk) == _CHUNK or size > _CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _render(plans: Sequence[_Plan]) -> list[Rendering | None]:
    """Return the rendered conversations, in order; None for plain text."""
    renderings: list[Rendering | None] = [None] * len(plans)
    by_template: dict[bool, list[int]] = {}
    for index, plan in enumerate(plans):
        if plan.conversation.messages:
            by_template.setdefault(bool(plan.conversation.tools), []).append(index)
    for indices in by_template.values():
        jobs = [plans[i].job for i in indices]
        for index, rendering in zip(
            indices, render_all(plans[indices[0]].template, jobs), strict=True
        ):
            renderings[index] = rendering
    return renderings


def _loses_reasoning(message: Message, text: str, spans: Sequence[tuple[int, int]] | None) -> bool:
    if not message.reasoning_content or not message.reasoning_content.strip():
        return False
    begin, end = (spans[0][0], spans[-1][1]) if spans else (0, len(text))
    return message.reasoning_content.strip() not in text[begin:end]
