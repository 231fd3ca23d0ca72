"""The config.json of a model: one reading for imports and for the training library.

Keys are Hugging Face's. Each family's reader returns a typed configuration and collects every wrong
key; see :mod:`tailrace.formats.model.families`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.formats.model.config_reader import MAX_SIZE, ConfigReader, shorten
from tailrace.formats.model.families import FAMILIES
from tailrace.formats.model.quantization import config_quantization


def read_model_config(config: Mapping[str, Any]) -> Any:
    """Read a whole config.json.

    Returns:
        The configuration of its family, such as
        :class:`tailrace.formats.model.families.llama.LlamaConfig`.

    Raises:
        ValueError: No run can use the model; the message lists every problem.
    """
    problem = family_problem(config)
    if problem:
        raise ValueError(problem)
    reader = ConfigReader(config)
    values = FAMILIES[config["model_type"]].read(reader)
    if reader.problems:
        raise ValueError("; ".join(reader.problems))
    return values


def family_problem(config: Mapping[str, Any]) -> str:
    """Return the reason that no family reads a configuration; empty when one does."""
    name = config.get("model_type")
    if not isinstance(name, str) or name not in FAMILIES:
        supported = ", ".join(FAMILIES)
        subject = "a missing model_type" if name is None else f"model_type {shorten(name)}"
        nested = "; its language model is in text_config: save that one on its own"
        inside = nested if isinstance(config.get("text_config"), Mapping) else ""
        code = "; a model's own code (auto_map) is never run" if "auto_map" in config else ""
        quantization = config_quantization(config)
        also = f"; {quantization}" if quantization else ""
        return f"{subject} is not supported{code}{inside}; known: {supported}{also}"
    return config_quantization(config)


def end_token_ids(value: object) -> list[int]:
    """Return the tokens that ``eos_token_id`` of a configuration names: one, several or none.

    Raises:
        ValueError: It is neither a token id nor a list of them.
    """
    ids: list[Any] = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(index) is int for index in ids):
        raise ValueError(f"eos_token_id {shorten(value)} is neither a token id nor a list of them")
    # Some files name -1 for no token.
    if not all(-1 <= index <= MAX_SIZE for index in ids):
        raise ValueError(f"eos_token_id {shorten(value)} names a token beyond {MAX_SIZE}")
    return ids
