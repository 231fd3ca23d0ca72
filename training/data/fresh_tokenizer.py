"""Tokenizers trained from the texts of a dataset, for models that start from random weights."""

from __future__ import annotations

from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase

from tailrace.formats.data.record import Record
from tailrace.formats.data.trace import Trace
from training.data.chat_template import RenderJob, render_template
from training.data.conversation import template_message, whole_conversation
from training.data.rendering import chat_template_of, render_prompt, render_response
from training.data.tokenizer import train_tokenizer


def fresh_tokenizer(
    records: Iterable[Record], vocabulary: int, context: int, template: str | None = None
) -> PreTrainedTokenizerBase:
    """Return a tokenizer trained from the texts of records, which are read one by one.

    Args:
        records: Records of any kind.
        vocabulary: Largest number of tokens.
        context: Longest sequence of the model, in tokens.
        template: Chat template of the tokenizer (default: ours).
    """
    bare = train_tokenizer([], vocabulary, context)
    texts = (_text(record, bare) for record in records)
    tokenizer = train_tokenizer(texts, vocabulary, context)
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def _text(record: Record, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the text of a record in the default chat template."""
    if isinstance(record, Trace):
        return render_prompt(tokenizer, record.prompt) + render_response(record)
    conversation = whole_conversation(record)
    if not conversation.messages:
        return conversation.text
    template = chat_template_of(tokenizer, tools=bool(conversation.tools))
    messages = [template_message(message) for message in conversation.messages]
    return render_template(template, RenderJob(messages, conversation.tools))
