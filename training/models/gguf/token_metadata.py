"""Tokenizers as metadata of GGUF files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerBase

from training.data.tokenizer import beginning
from training.errors import ModelConfigError
from training.models.gguf.file import GgufFile
from training.models.gguf.tokenizer import PRE_TOKENIZERS, read_tokenizer

if TYPE_CHECKING:
    from gguf import GGUFWriter

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
"""Token types of the specification."""

_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")

_PROBES = (
    "What is 82 + 15? It's 2024 ALREADY, we'll see.",
    " naïve\n\n  café\t漢字  e\u0301 ﬁ 🙂\r\n\r\n",
    "def f(x_1):\n    return {'a': [1, 22, 333, 4444]}  # __init__",
    "a" * 40 + " " * 9 + "0" * 12 + "!!!...???",
)
"""Texts whose tokens must stay the same."""


def add_tokenizer(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, size: int) -> None:
    """Add a tokenizer for a model that embeds ``size`` tokens; numbers without one are unused.

    Raises :class:`ModelConfigError` for a tokenizer of another kind.
    """
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    if content["model"]["type"] != "BPE":
        raise _refusal(f"a tokenizer of the kind {content['model']['type']}")
    tokens = _tokens(tokenizer, size)
    types = [_type(content, token, index) for index, token in enumerate(tokens)]
    merges = [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m)
              for m in content["model"]["merges"]]  # fmt: skip
    if content["model"]["byte_fallback"]:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        ranks = {left + right: rank for rank, (left, right) in reversed([*enumerate(merges)])}
        lowest = float(len(merges))
        writer.add_token_scores([-float(ranks.get(token, lowest)) for token in tokens])
        writer.add_add_space_prefix(_begins_with_space(tokenizer))
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_cut(tokenizer, content))
        writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    _add_special(writer, tokenizer)


def require_same_tokens(file: GgufFile, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise :class:`ModelConfigError` unless a file's tokenizer gives the same tokens."""
    written = read_tokenizer(file)
    special = map(str, tokenizer.added_tokens_decoder.values())
    texts = [*_PROBES, *(f"a {token} b{token}c" for token in special)]
    for text in texts:
        tokens = tokenizer(text)["input_ids"]
        if written(text)["input_ids"] != tokens or written.decode(tokens) != tokenizer.decode(
            tokens
        ):
            raise _refusal(f"the tokenizer, whose tokens of {text[:40]!r} would differ,")


def _tokens(tokenizer: PreTrainedTokenizerBase, size: int) -> list[str]:
    by_id: Mapping[int, str] = {index: token for token, index in tokenizer.get_vocab().items()}
    if max(by_id) >= size:
        raise _refusal(f"a tokenizer with token {max(by_id)} for {size} embeddings")
    return [by_id.get(index, f"[UNUSED{index}]") for index in range(size)]


def _type(content: Mapping[str, Any], token: str, index: int) -> int:
    added = {entry["id"]: entry["special"] for entry in content["added_tokens"]}
    vocabulary = content["model"]["vocab"]
    if token == content["model"]["unk_token"]:
        return _UNKNOWN
    if index in added:
        return _CONTROL if added[index] else _USER_DEFINED
    if token not in vocabulary:
        return _UNUSED
    is_byte = content["model"]["byte_fallback"] and _BYTE_TOKEN.fullmatch(token)
    return _BYTE if is_byte else _NORMAL


def _cut(tokenizer: PreTrainedTokenizerBase, content: Mapping[str, Any]) -> str:
    """Return the ``tokenizer.ggml.pre`` that cuts texts as a tokenizer does."""
    cutter = tokenizer.backend_tokenizer.pre_tokenizer
    for name, known in PRE_TOKENIZERS.items():
        is_same = cutter is not None and all(
            known.pre_tokenize_str(text) == cutter.pre_tokenize_str(text) for text in _PROBES
        )
        has_normalizer = content["normalizer"] is not None
        ignores = bool(content["model"]["ignore_merges"])
        if is_same and has_normalizer == (name == "qwen2") and ignores == (name == "llama-bpe"):
            return name
    raise _refusal("the way in which the tokenizer cuts texts")


def _begins_with_space(tokenizer: PreTrainedTokenizerBase) -> bool:
    tokens = tokenizer("a", add_special_tokens=False)["input_ids"]
    return str(tokenizer.convert_ids_to_tokens(tokens)[0]).startswith("\u2581")


def _add_special(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase) -> None:
    first = beginning(tokenizer)
    if first not in ([], [tokenizer.bos_token_id]):
        raise _refusal("a tokenizer that begins texts with other tokens than bos_token")
    writer.add_add_bos_token(bool(first))
    writer.add_eos_token_id(tokenizer.eos_token_id)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    if tokenizer.unk_token_id is not None:
        writer.add_unk_token_id(tokenizer.unk_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    if not isinstance(tokenizer.chat_template, str):
        raise _refusal("several chat templates")
    writer.add_chat_template(tokenizer.chat_template)


def _refusal(problem: str) -> ModelConfigError:
    return ModelConfigError(f"{problem} cannot be exported to GGUF: export a folder instead")
