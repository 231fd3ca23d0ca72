"""Eval prompts that share a run of words with a dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tailrace.datasets.content import DatasetError
from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.leakage import prompt_words

RUN_WORDS = 13
"""Number of words in a run (GPT-3, arXiv:2005.14165, appendix C)."""

MAX_RUNS = 2_000_000
"""Maximum number of distinct runs of an eval set, which are held in memory."""


class SharedWords:
    """Search for runs of :data:`RUN_WORDS` words that eval prompts and texts have in common.

    Case, punctuation and Unicode forms are folded. Runs are held as hashes of 64 bits.
    """

    def __init__(self, items: Sequence[EvalItem]) -> None:
        """Collect the runs of the prompts.

        Raises:
            DatasetError: There are more than :data:`MAX_RUNS`.
        """
        self._items = items
        self._runs: set[int] = set()
        self._seen: set[int] = set()
        self.item_count = len(items)
        """Number of prompts."""
        self.too_short = 0
        """Number of prompts with fewer words than a run has."""
        for eval_item in items:
            runs = list(_runs(eval_item.shown_prompt))
            self.too_short += not runs
            self._runs.update(runs)
            if len(self._runs) > MAX_RUNS:
                raise DatasetError(
                    f"the eval set has more than {MAX_RUNS:,} runs of {RUN_WORDS} words: give a "
                    "file with a part of its items"
                )

    def add(self, text: str) -> None:
        """Look for the runs in a text of the dataset."""
        self._seen.update(self._runs.intersection(_runs(text)))

    def ids(self) -> list[str]:
        """Return the ids of the items whose prompts share a run with the texts."""
        shared = (i for i in self._items if not self._seen.isdisjoint(_runs(i.shown_prompt)))
        return [eval_item.id for eval_item in shared]


def _runs(text: str) -> Iterator[int]:
    words = prompt_words(text)
    return (hash(words[at : at + RUN_WORDS]) for at in range(len(words) - RUN_WORDS + 1))
