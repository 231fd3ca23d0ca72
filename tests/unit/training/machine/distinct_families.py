"""Families whose layers are split over devices in ways of their own."""

from __future__ import annotations

DISTINCT = ("gpt2", "llama", "olmo2", "gemma3_text", "phi3", "qwen3_moe")
"""The others split the same weights in the same way."""
