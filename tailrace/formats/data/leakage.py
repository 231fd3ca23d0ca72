"""Leakage: eval items whose prompts a model may have seen in training.

An item is leaked if a training prompt equals its prompt up to case, space and punctuation, or if at
least 80% of its prompt's words are in runs of ten words that training prompts have, too (the rule
of Llama 2, arXiv:2307.09288, appendix A.6). Runs that more than ten training prompts share are
common phrases and do not count (GPT-3, arXiv:2005.14165, appendix C). Answers are ignored.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from tailrace.formats.data.eval_item import EvalItem

RUN_WORDS = 10
"""Number of words in a run; shorter prompts leak only as a whole."""

MIN_SHARE = 0.8
"""Share of a prompt's words in shared runs from which its item is leaked."""

MAX_PROMPTS = 10
"""Number of training prompts that may share a run before it counts as a common phrase."""

_WORD = re.compile(r"\w+|[^\w\s]")
_PUNCTUATION = frozenset(".,;:!?\"'`[]{}…“”‘’«»¿¡#")

Words = tuple[str, ...]


def prompt_words(prompt: str) -> Words:
    """Return the words and signs of a prompt, without case, Unicode form and punctuation.

    Operators and parentheses stay, so that `7 + 5` and `7 - 5` differ.
    """
    text = unicodedata.normalize("NFKC", prompt).casefold()
    return tuple(word for word in _WORD.findall(text) if word not in _PUNCTUATION)


def leaked_ids(items: Iterable[EvalItem], training_prompts: Iterable[str]) -> set[str]:
    """Return the ids of the leaked items."""
    item_words = {item.id: prompt_words(item.shown_prompt) for item in items}
    item_prompts = set(item_words.values())
    item_runs = {run for words in item_words.values() for run in _runs(words)}
    seen: set[Words] = set()
    prompts_with: Counter[Words] = Counter()
    for prompt in set(training_prompts):
        words = prompt_words(prompt)
        if words in item_prompts:
            seen.add(words)
        if item_runs:
            prompts_with.update(item_runs.intersection(_runs(words)))
    shared = {run for run, prompts in prompts_with.items() if prompts <= MAX_PROMPTS}
    return {
        id_
        for id_, words in item_words.items()
        if words in seen or (shared and _share(words, shared) >= MIN_SHARE)
    }


def _runs(words: Words) -> list[Words]:
    return [words[at : at + RUN_WORDS] for at in range(len(words) - RUN_WORDS + 1)]


def _share(words: Words, shared: set[Words]) -> float:
    """Return the share of words that are in a shared run."""
    covered: set[int] = set()
    for at, run in enumerate(_runs(words)):
        if run in shared:
            covered.update(range(at, at + RUN_WORDS))
    return len(covered) / len(words) if words else 0.0
