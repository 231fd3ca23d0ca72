"""SentencePiece's byte-pair tokenizers in GGUF files, of Llama 2, Mistral, Gemma and Phi-3.

The file has a score for each token (Kudo & Richardson, arXiv:1808.06226): the higher that of the
joined token, the earlier two neighbours are merged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tokenizers import Tokenizer, decoders, normalizers
from tokenizers.models import BPE

from training.errors import ModelConfigError
from training.models.gguf.file import GgufFile

_SPACE = "\u2581"
"""Sign that stands for a space."""

_NORMAL, _BYTE = 1, 6
"""Token types of the specification."""

_LONGEST = 256
"""Largest number of characters of a token that is merged."""


def sentencepiece_tokenizer(file: GgufFile, tokens: list[str]) -> Tokenizer:
    """Return the tokenizer without its special tokens. Raises :class:`ModelConfigError`."""
    scores, types = (_numbers(file, name, len(tokens)) for name in ("scores", "token_type"))
    unknown = file.special("unknown")
    if unknown is not None and not 0 <= unknown < len(tokens):
        raise ModelConfigError(f"{file.path}: token {unknown} is not among {len(tokens)} tokens")
    normal = {token: index for index, token in enumerate(tokens) if types[index] == _NORMAL}
    tokenizer = Tokenizer(
        BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=_merges(normal, scores),
            unk_token=None if unknown is None else tokens[unknown],
            fuse_unk=True,
            byte_fallback=_BYTE in types,
        )
    )
    begins = file.metadata.get("tokenizer.ggml.add_space_prefix", True)
    spaces = normalizers.Replace(" ", _SPACE)
    prefix = [normalizers.Prepend(_SPACE)] if begins else []
    tokenizer.normalizer = normalizers.Sequence([*prefix, spaces])
    steps: list[Any] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if begins else []))
    return tokenizer


def _merges(vocabulary: dict[str, int], scores: list[float]) -> list[tuple[str, str]]:
    """Return every way to join two tokens to a third, the highest score first."""
    ranked = sorted(vocabulary, key=lambda token: (-scores[vocabulary[token]], vocabulary[token]))

    def splits(token: str) -> Iterator[tuple[str, str]]:
        parts = ((token[:at], token[at:]) for at in range(1, len(token)))
        known = (pair for pair in parts if pair[0] in vocabulary and pair[1] in vocabulary)
        yield from sorted(known, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))

    return [pair for token in ranked if len(token) <= _LONGEST for pair in splits(token)]


def _numbers(file: GgufFile, name: str, count: int) -> list[float]:
    """Return a list of numbers from the metadata, one for each token."""
    numbers = file.metadata.get(f"tokenizer.ggml.{name}")
    valid = isinstance(numbers, list) and len(numbers) == count
    if not valid or not all(isinstance(number, int | float) for number in numbers or ()):
        raise ModelConfigError(
            f"{file.path}: tokenizer.ggml.{name} must be a list of {count} numbers"
        )
    return list(numbers or ())
