"""Totals of encoded examples: tokens, trained tokens, and the loss that each role bears."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.rendered_example import RenderedExample

TEMPLATE = "template"
"""Name for the author of text that no message wrote."""

PLAIN_TEXT = "text"
"""Name for the author of an example without messages."""

_PERCENTILES = {"p50": 50, "p90": 90, "p99": 99, "max": 100}


@dataclass
class Totals:
    """Totals of the examples that a training would learn from.

    Examples that are dropped count in :attr:`examples` and :attr:`lengths` only.
    """

    max_length: int
    """Longest allowed example in tokens."""
    examples: int = 0
    """Examples, those that are dropped included."""
    tokens: int = 0
    """Tokens, without those that are cut off."""
    trained_tokens: int = 0
    """Tokens that bear a loss."""
    trained_by_role: Counter[str] = field(default_factory=Counter)
    """Tokens that bear a loss by author: a role, :data:`TEMPLATE` or :data:`PLAIN_TEXT`."""
    overlong: int = 0
    """Examples longer than :attr:`max_length`."""
    untrained: int = 0
    """Examples without a trained token; a training leaves them out."""
    left_out_exchanges: int = 0
    """Exchanges that were left out so that their conversations fit."""
    untrainable_turns: int = 0
    """Assistant turns that the template makes impossible to learn."""
    untrainable_examples: int = 0
    """Examples with such a turn."""
    lost_reasoning: int = 0
    """Learnt assistant turns whose reasoning the template leaves out."""
    lengths: array[int] = field(default_factory=lambda: array("I"))
    """Tokens of each whole example."""

    def add(self, rendered: RenderedExample, full_length: int, length: int) -> None:
        """Count an example.

        Args:
            rendered: The example.
            full_length: Number of its tokens before any was left out.
            length: Number of leading tokens to learn from; 0 if it is dropped.
        """
        self.examples += 1
        self.lengths.append(full_length or len(rendered.tokens))
        self.overlong += full_length > self.max_length
        self.untrainable_turns += len(rendered.untrainable)
        self.untrainable_examples += bool(rendered.untrainable)
        self.lost_reasoning += len(rendered.lost_reasoning)
        self.tokens += length
        for role, count in trained_by_role(rendered, length).items():
            self.trained_by_role[role] += count
            self.trained_tokens += count

    @property
    def loss_share(self) -> dict[str, float]:
        """Share of the trained tokens by the role of their author, the largest first."""
        total = max(1, self.trained_tokens)
        return {role: count / total for role, count in self.trained_by_role.most_common()}

    @property
    def length_percentiles(self) -> dict[str, int]:
        """Percentiles of the number of tokens in a whole example; empty without examples."""
        if not self.lengths:
            return {}
        lengths = np.sort(np.frombuffer(self.lengths, np.uint32))
        ranks = {name: -(-percent * len(lengths) // 100) for name, percent in _PERCENTILES.items()}
        return {name: int(lengths[rank - 1]) for name, rank in ranks.items()}

    def to_mapping(self) -> Mapping[str, Any]:
        """Return the totals as plain data."""
        return {
            "examples": self.examples,
            "tokens": self.tokens,
            "trained_tokens": self.trained_tokens,
            "loss_share": {role: round(share, 6) for role, share in self.loss_share.items()},
            "max_seq_length": self.max_length,
            "overlong": self.overlong,
            "without_trained_tokens": self.untrained,
            "left_out_exchanges": self.left_out_exchanges,
            "untrainable_turns": self.untrainable_turns,
            "lost_reasoning": self.lost_reasoning,
            "lengths": self.length_percentiles,
        }

    def summary(self, what: str = "examples") -> str:
        """Return the totals as one line."""
        shares = ", ".join(f"{role} {share:.1%}" for role, share in self.loss_share.items())
        return (
            f"{self.examples:,} {what}: {self.tokens:,} tokens, {self.trained_tokens:,} "
            f"of them trained{f' ({shares})' if shares else ''}; {self.overlong:,} longer than "
            f"max_seq_length {self.max_length}, {self.untrained:,} without a trained token"
        )


def trained_by_role(rendered: RenderedExample, length: int) -> dict[str, int]:
    """Return the numbers of tokens with a loss by the role of their author.

    Only the first ``length`` tokens count, and never the very first, which is not predicted.
    """
    trained = np.flatnonzero(rendered.mask[1:length]) + 1
    if not len(trained):
        return {}
    authors = sorted(rendered.authors)
    if not authors:
        return {PLAIN_TEXT: len(trained)}
    begins, ends = (np.asarray([span[i] for span, _ in authors]) for i in (0, 1))
    tokens: NDArray[np.int64] = rendered.spans[trained]
    # The last part that begins before the token's end.
    places = np.searchsorted(begins, tokens[:, 1], side="left") - 1
    inside = (places >= 0) & (tokens[:, 0] < ends[places])
    counts = Counter(str(authors[i][1]) for i in places[inside].tolist())
    rest = len(trained) - counts.total()
    return {**counts, TEMPLATE: rest} if rest else dict(counts)
