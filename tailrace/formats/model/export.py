"""Choices for the export of a model to files that other tools open."""

from __future__ import annotations

import enum


class ExportForm(enum.StrEnum):
    """Parts of a model that an export has."""

    MERGED = "merged"
    """The whole model, its adapter merged into the weights."""
    ADAPTER = "adapter"
    """The LoRA adapter alone, in PEFT's layout."""


class ExportDtype(enum.StrEnum):
    """Type of exported weights."""

    SOURCE = "source"
    """The type that each weight is stored in."""
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
