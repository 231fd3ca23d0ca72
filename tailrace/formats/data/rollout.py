"""Rollouts: answers that a training sampled for its own prompts, with any rewards."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tailrace.formats.data.jsonl import LineErrors, bounded_lines, dump_record, parse_records
from tailrace.formats.data.prediction import MAX_GENERATED, MAX_PROMPT, FinishReason
from tailrace.formats.schema import key

PREFLIGHT_STEP = 0
"""Step of the answers that are sampled before the first step."""

_LEVEL = 6


@dataclass(frozen=True)
class RewardPart:
    """A judge's score, or a shaping term, in the reward of an answer."""

    name: str = key("The judge's name, `length` or `format`.", minimum=1, max_length=63)
    weight: float = key("Factor of the score in the reward.")
    score: float | None = key("The score; unset for an error, which has none.", default=None)
    reason: str = key("Reason of the score, or the error.", default="", max_length=10_000)


@dataclass(frozen=True)
class Rollout:
    """One sampled answer: one line of a step's rollouts."""

    step: int = key("Step that learns from the answer; 0 for the pre-flight.", minimum=0)
    prompt_index: int = key("Position of the prompt among those that are trained on.", minimum=0)
    example_id: str = key("Id of the prompt's record.", minimum=1, max_length=128)
    sample: int = key("Number of the sample of this prompt, from 0.", minimum=0)
    prompt: str = key("The prompt; of a conversation, its transcript.", max_length=MAX_PROMPT)
    text: str = key("The answer, without special tokens.", max_length=MAX_GENERATED)
    finish_reason: FinishReason = key("Reason why generation ended.")
    token_ids: list[int] = key("Ids of the answer's tokens.", default=[], minimum=0)
    logprobs: list[float] = key(
        "Natural log-probabilities of the tokens at the temperature of sampling.", default=[]
    )
    parts: list[RewardPart] = key("What the reward is made of.", default=[])
    reward: float | None = key(
        "Sum of weight times score; unset if a judge failed, and for methods without rewards.",
        default=None,
    )
    advantage: float | None = key(
        "Advantage over the group; unset for answers that the step does not learn from, and for "
        "methods without rewards.",
        default=None,
    )
    adversarial: str | None = key(
        "Kind of an answer that no model gave, which pre-flight scores.",
        default=None,
        minimum=1,
        max_length=63,
    )


def rollouts_file(step: int) -> str:
    """Return the name of the file with a step's rollouts."""
    return f"step-{step:08d}.jsonl.gz"


def write_rollouts(path: Path, rollouts: Iterable[Rollout]) -> None:
    """Write the rollouts of a step, compressed; equal rollouts give equal bytes.

    Raises:
        OSError: The file cannot be written.
    """
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as file,
        io.TextIOWrapper(file, encoding="utf-8", newline="\n") as text,
    ):
        text.writelines(dump_record(rollout) for rollout in rollouts)


def read_rollouts(path: Path) -> Iterator[Rollout]:
    """Yield the rollouts of a step.

    Raises:
        FormatError: The file holds other lines.
        OSError: The file is missing or damaged.
    """
    errors = LineErrors()
    try:
        with gzip.open(path, "rb") as file:
            for _, rollout in parse_records(Rollout, bounded_lines(file), errors):
                yield rollout
    except (EOFError, zlib.error) as error:
        raise OSError(f"{path} is damaged: {error}") from error
    errors.raise_any()
