"""The INFER block of a run spec: eval sets and sampling."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from tailrace.formats import catalog
from tailrace.formats.resource_id import VERSIONED_ID
from tailrace.formats.schema import Violation, key
from tailrace.formats.wording import unknown_name

MAX_NEW_TOKENS = 65_536
"""Maximum number of tokens that a run may generate per prompt."""


@dataclass(frozen=True)
class InferSpec:
    """The INFER stage: generation over eval sets."""

    RENAMED: ClassVar[dict[str, str]] = {
        "max_tokens": "infer.max_new_tokens",
        "num_return_sequences": "infer.n_samples",
        "n": "infer.n_samples",
        "stop_sequences": "infer.stop",
    }

    max_new_tokens: int = key(
        "Maximum number of tokens generated per prompt.",
        default=64,
        minimum=1,
        maximum=MAX_NEW_TOKENS,
        shown_first=True,
    )
    temperature: float = key(
        "Sampling temperature; 0 is greedy.", default=0.0, minimum=0, maximum=10
    )
    top_p: float = key(
        "Smallest set of likeliest tokens with this probability that sampling draws from; 1 takes "
        "all.",
        default=1.0,
        above=0,
        maximum=1,
    )
    top_k: int = key(
        "Number of likeliest tokens that sampling draws from; 0 takes all.",
        default=0,
        minimum=0,
        maximum=2**31 - 1,
    )
    repetition_penalty: float = key(
        "Divides the score of tokens that were seen already (arXiv:1909.05858); 1 changes nothing.",
        default=1.0,
        minimum=0.1,
        maximum=10,
    )
    n_samples: int = key(
        "Samples per prompt; above 1 needs a temperature above 0.",
        default=1,
        minimum=1,
        maximum=64,
    )
    stop: list[str] = key(
        "Texts that end a generation, and are cut off.",
        default=[],
        minimum=1,
        max_length=16,
        item_length=256,
    )
    seed: int = key("Seed of sampling.", default=42, minimum=0, maximum=2**31 - 1)
    batch_size: int = key("Prompts generated together.", default=32, minimum=1, maximum=4096)
    logprobs: bool = key(
        "Store the log-probabilities of the tokens with the predictions.", default=False
    )
    include_base: bool = key(
        "Predict with the base model, too, to measure the gain of the training.",
        default=False,
        shown_first=True,
    )
    eval_sets: list[str] = key(
        "`dataset:train`, `dataset:held_out`, a built-in set (`eval_v1`), or an imported one "
        "(`name` or `name@version`).",
        default=[],
        minimum=1,
        max_length=16,
        shown_first=True,
    )

    def violations(self, path: str) -> list[Violation]:
        """Return the violations of eval sets, stop texts and the number of samples."""
        violations: list[Violation] = []
        if self.n_samples > 1 and self.temperature == 0:
            same = "would give the same text each time: set temperature above 0"
            violations.append(Violation(f"{path}.n_samples", same))
        if len(set(self.stop)) < len(self.stop):
            violations.append(Violation(f"{path}.stop", "names a text twice"))
        return violations + self._eval_set_violations(f"{path}.eval_sets")

    def _eval_set_violations(self, path: str) -> list[Violation]:
        if not self.eval_sets:
            return [Violation(path, "must name an eval set, such as dataset:held_out or eval_v1")]
        if len(set(self.eval_sets)) < len(self.eval_sets):
            return [Violation(path, "names an eval set twice")]
        known_names = (*catalog.DATASET_EVAL_SETS, *catalog.EVAL_SETS)
        return [
            Violation(f"{path}[{i}]", f"{unknown_name(name, known_names)}, and what {_IMPORT} adds")
            for i, name in enumerate(self.eval_sets)
            if name not in known_names and not is_imported(name)
        ]


_IMPORT = "`tailrace evalsets import`"


def is_imported(eval_set: str) -> bool:
    """Return whether a name has the form of an imported eval set's, which no other name has."""
    return re.fullmatch(VERSIONED_ID, eval_set) is not None
