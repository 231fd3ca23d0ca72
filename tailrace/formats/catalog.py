"""Built-in names: presets and eval sets.

With them a run spec with an unknown name is refused before it occupies a worker. Tests compare them
with the registries of the training library.
"""

from __future__ import annotations

from dataclasses import dataclass

PRESETS: dict[str, int] = {"gpt2-nano": 256}
"""Architectures that start from random weights, with their context length in tokens."""

STAGE_VERSIONS: dict[str, str] = {"train": "5", "infer": "5", "judge": "3"}
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
    """Return :data:`STAGE_VERSIONS` as workers report them: ``train 5, infer 5, judge 3``."""
    return ", ".join(f"{kind} {version}" for kind, version in STAGE_VERSIONS.items())


@dataclass(frozen=True)
class ShippedTemplate:
    """A chat template that ships with the training library."""

    sha256: str
    """Digest of its file: a release that changes it does not reuse results of the old one."""
    reads_clock: bool = False
    """True if it writes the current date."""


CHAT_TEMPLATES: dict[str, ShippedTemplate] = {
    "chatml": ShippedTemplate("f4bd3a2563041e4b872c5c866c6208e31be154cefde99b2a1047c708c0100ef3"),
    "gemma3": ShippedTemplate("3f5961bf14aa865515ff46c34941810ba9db8055c5f9010874b75ca9d6c6edd5"),
    "llama3": ShippedTemplate("5f579f9846ecc88ed7dadaf9bad71cf210bca072d235816242da351383eb7ebe"),
    "mistral": ShippedTemplate("e09050c678a60b1b933e4e1e157ec1bfd38248f941f6b8e57f9b0da5b9c9c13f"),
    "olmo2": ShippedTemplate("9b61ea7f4f0942ccf17a88d2cb7e0cec1340cac9a8eae4926cc02aaa9d5266d8"),
    "phi4": ShippedTemplate("cd4c0db45864d3478456021cb9b6e1caf25605aaabec62e9b977b38a39ee17f5"),
    "qwen2.5": ShippedTemplate("fb7dd3b2c5d6f3ffe57596d7fd907a19155533b903db136a5f4d71b42bb8f25a"),
    "qwen3": ShippedTemplate("af8d76accc7d05e06eca7790c6755b4b58bce38c497f2a430f58a19e6915504f"),
    "smollm2-tools": ShippedTemplate(
        "7ff54e2c8dede701b755eee65e39c3979f252c9005eaa4f1a5942f8f7d590f35"
    ),
    "smollm2": ShippedTemplate("783a858c1ee4b40fbd7039d934f8497e2933ffce941ad35e18c4a55e98961cb6"),
    "smollm3": ShippedTemplate(
        "ebbb1f353aaee8b3a46e84cdf30b1b8773dabd472a8a3fbee9a5e31f99c2a1e7",
        reads_clock=True,
    ),
}
"""Chat templates that ship with the training library, by name."""
