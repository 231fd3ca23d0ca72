"""Records of a dataset that are nearly the same."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tailrace.formats.data.leakage import prompt_words

RUN_WORDS = 3
"""Number of words in a run; texts are compared by their sets of runs."""

MIN_SIMILARITY = 0.8
"""Lowest share of common runs (Jaccard) of two records that are nearly the same."""

SHOWN_PAIRS = 10
"""Number of pairs that are listed; all are counted."""

_SKETCH = 8
_MIN_SHARED = 3
_MAX_RECORDS_PER_RUN = 200
"""Number of records from which on a run, such as one of a system prompt, tells nothing."""


@dataclass(frozen=True)
class SimilarPair:
    """Two records that are nearly the same."""

    line: int
    """Line of the later one."""
    earlier: int
    """Line of the earlier one."""
    similarity: float
    """Share of common runs."""


class SimilarLines:
    """Search for records whose texts share most of their runs of :data:`RUN_WORDS` words.

    Case, punctuation and Unicode forms are folded. Each record is compared with those that share
    several of its smallest hashes (bottom-k sketches, Broder 1997). All hashes are in memory: 8
    bytes a word.
    """

    def __init__(self) -> None:
        self._lines: list[int] = []
        self._keys: list[int] = []
        self._runs: list[array[int]] = []

    def add(self, line: int, key: str, texts: Iterable[str]) -> None:
        """Add a record; those with the same ``key`` are equal, and no pair."""
        runs = {run for text in texts for run in _runs(text)}
        self._lines.append(line)
        self._keys.append(hash(key))
        self._runs.append(array("q", runs))

    def pairs(self) -> list[SimilarPair]:
        """Return each record that is nearly the same as an earlier one, with the most similar."""
        frequencies = Counter(run for runs in self._runs for run in runs)
        records_of_run: dict[int, list[int]] = defaultdict(list)
        pairs = []
        for index, runs in enumerate(self._runs):
            rare = sorted(run for run in runs if frequencies[run] <= _MAX_RECORDS_PER_RUN)
            sketch = rare[:_SKETCH]
            shared = Counter(earlier for run in sketch for earlier in records_of_run[run])
            enough = min(_MIN_SHARED, len(sketch))
            candidates = [earlier for earlier, count in shared.items() if count >= enough]
            pair = self._most_similar(index, candidates)
            pairs += [pair] if pair is not None else []
            for run in sketch:
                records_of_run[run].append(index)
        return pairs

    def _most_similar(self, index: int, candidates: Iterable[int]) -> SimilarPair | None:
        best: SimilarPair | None = None
        runs = set(self._runs[index])
        for earlier in candidates:
            if self._keys[earlier] == self._keys[index]:
                continue
            earlier_runs = self._runs[earlier]
            common = sum(run in runs for run in earlier_runs)
            similarity = common / (len(runs) + len(earlier_runs) - common)
            if similarity >= MIN_SIMILARITY and (best is None or similarity > best.similarity):
                best = SimilarPair(self._lines[index], self._lines[earlier], similarity)
        return best


def _runs(text: str) -> Iterator[int]:
    words = prompt_words(text)
    return (hash(words[at : at + RUN_WORDS]) for at in range(len(words) - RUN_WORDS + 1))
