"""Built-in names: presets and eval sets.

With them a run spec with an unknown name is refused before it occupies a worker. Tests compare them
with the registries of the training library.
"""

from __future__ import annotations

PRESETS: dict[str, int] = {"gpt2-nano": 256}
"""Architectures that start from random weights, with their context length in tokens."""

STAGE_VERSIONS: dict[str, str] = {"train": "4", "infer": "4", "judge": "3"}
"""Version of the code of each stage kind, raised whenever the same inputs could give another
result: results of older code are then not reused."""

EVAL_SETS: dict[str, str] = {
    "eval_v1": "c9ac3200315f8e87847cffe4bbd501cea2398bdd972c206dc2472872007b59a1",
    "eval_v2": "882a021ee389a944d76656e415633b05febb3be9cd60eb0a5dcd372c18e2809d",
    "sums_43": "b86e847d49ee6b0190281abe056013250f859169ac421db94748711eb9eed2d4",
}
"""Named eval sets that ship with the training library, with the sha256 of their files: a release
that changes an item does not reuse results of the old file."""

DATASET_EVAL_SETS: tuple[str, ...] = ("dataset:train", "dataset:held_out")
"""Eval sets that consist of items of the run's own dataset."""


def stage_versions_text() -> str:
    """Return :data:`STAGE_VERSIONS` as workers report them: ``train 4, infer 4, judge 3``."""
    return ", ".join(f"{kind} {version}" for kind, version in STAGE_VERSIONS.items())


CHAT_TEMPLATES: tuple[str, ...] = (
    "chatml",
    "gemma3",
    "llama3",
    "mistral",
    "olmo2",
    "phi4",
    "qwen2.5",
    "qwen3",
    "smollm2",
    "smollm2-tools",
    "smollm3",
)
"""Names of the chat templates that ship with the training library."""
