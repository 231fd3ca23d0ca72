"""Model families: one module each, holding the family's record."""

from __future__ import annotations

from tailrace.formats.model.families import (
    gemma2,
    gemma3,
    gpt2,
    granite,
    llama,
    mistral,
    mixtral,
    olmo2,
    phi3,
    qwen2,
    qwen3,
    qwen3_moe,
    smollm3,
)
from tailrace.formats.model.families.family import Family

FAMILIES: dict[str, Family] = {
    module.FAMILY.model_type: module.FAMILY
    for module in (
        gpt2,
        llama,
        mistral,
        qwen2,
        qwen3,
        olmo2,
        granite,
        smollm3,
        gemma2,
        gemma3,
        phi3,
        mixtral,
        qwen3_moe,
    )
}
"""By ``model_type``: every family that can be imported and loaded."""
