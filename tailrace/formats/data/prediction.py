"""Predictions: the outputs of models for eval items."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tailrace.formats.data.thinking import SplitText, split_thinking
from tailrace.formats.schema import Violation, key

MAX_GENERATED = 4 << 20
"""Maximum length of a prediction's text, in characters."""

MAX_PROMPT = 1_000_000
"""Maximum length of a prediction's prompt, in characters; the rest of a transcript is left out."""


class ModelRole(enum.StrEnum):
    """The model of a run that generated a prediction."""

    TRAINED = "trained"
    """The model as the TRAIN stage left it."""
    BASE = "base"
    """The model the run started from."""


class FinishReason(enum.StrEnum):
    """The reason why generation ended."""

    EOS = "eos"
    """The model generated its end-of-sequence token."""
    LENGTH = "length"
    """The limit of new tokens or the model's context was reached."""
    STOP = "stop"
    """A stop string was generated."""
    ERROR = "error"
    """Nothing was generated; ``error`` has the reason."""


@dataclass(frozen=True)
class Prediction:
    """A model's output for one eval item and sample: one line of predictions.jsonl."""

    eval_set: str = key("The eval set of the item.", minimum=1, max_length=128)
    example_id: str = key("The id of the item.", minimum=1, max_length=128)
    model_role: ModelRole = key("Model that generated the text.")
    prompt: str = key(
        "The item's prompt; of a conversation, its transcript.", minimum=1, max_length=MAX_PROMPT
    )
    text: str = key(
        "Generated text, without special tokens other than tags of thinking and tool calls.",
        max_length=MAX_GENERATED,
    )
    finish_reason: FinishReason = key("Reason why generation ended.")
    prompt_tokens: int = key("Length of the rendered prompt.", unit="tokens", minimum=0)
    completion_tokens: int = key("Tokens generated, EOS included.", unit="tokens", minimum=0)
    sample: int = key("Number of the sample of this item, from 0.", default=0, minimum=0)
    token_ids: list[int] = key("Ids of the generated tokens.", default=[], minimum=0)
    logprobs: list[float] = key(
        "Natural log-probabilities of the tokens; empty unless requested.", default=[], maximum=0
    )
    error: str = key("Reason for finish_reason error; empty for any other.", default="")
    reasoning: str = key(
        "Thinking before the answer, without its tags; empty for none.",
        default="",
        max_length=MAX_GENERATED,
    )
    answer: str | None = key(
        "Text after the thinking, which judges read; empty if the thinking never ends. Unset in "
        "predictions of earlier releases.",
        default=None,
        max_length=MAX_GENERATED,
    )
    thinking_closed: bool | None = key(
        "True if the model ended its thinking with a closing tag; unset if it did not think.",
        default=None,
    )

    @property
    def split(self) -> SplitText:
        """The text's thinking and answer; a prediction of an earlier release is split here."""
        if self.answer is None:
            return split_thinking(self.text)
        answer = None if self.thinking_closed is False else self.answer
        return SplitText(self.reasoning, answer, self.thinking_closed)

    def violations(self, path: str) -> list[Violation]:
        """Return a violation unless the error is set exactly if the finish reason is error."""
        if bool(self.error) == (self.finish_reason is FinishReason.ERROR):
            return []
        return [Violation(f"{path}.error" if path else "error", "goes with finish_reason error")]
