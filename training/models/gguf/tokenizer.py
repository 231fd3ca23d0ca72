"""The tokenizer of a GGUF file as a Hugging Face tokenizer."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, Split
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from training.errors import ModelConfigError
from training.models.gguf.file import GgufFile
from training.models.gguf.sentencepiece import sentencepiece_tokenizer

_CONTROL, _USER_DEFINED = 3, 4
"""Token types of the specification."""

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Pattern by which Llama 3 and Qwen split text; they differ in the number of digits."""


def _cut(pattern: str) -> Any:
    return pre_tokenizers.Sequence(
        [Split(Regex(pattern), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    )


def _cut_digits() -> Any:
    return pre_tokenizers.Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )


PRE_TOKENIZERS: dict[str, Any] = {
    "gpt-2": ByteLevel(add_prefix_space=False),
    "smollm": _cut_digits(),
    "refact": _cut_digits(),
    "llama-bpe": _cut(_WORDS % r"\p{N}{1,3}"),
    "dbrx": _cut(_WORDS % r"\p{N}{1,3}"),
    "smaug-bpe": _cut(_WORDS % r"\p{N}{1,3}"),
    "qwen2": _cut(_WORDS % r"\p{N}"),
}
"""Pre-tokenizers by ``tokenizer.ggml.pre``, applied before byte pairs are merged."""


def read_tokenizer(file: GgufFile) -> PreTrainedTokenizerFast:
    """Return the tokenizer with its special tokens and chat template.

    Raises:
        ModelConfigError: Its kind cannot be converted, or the file lacks an end-of-sequence token.
    """
    metadata = file.metadata
    kind, cut = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
    tokens = _texts(file, "tokens")
    if kind == "llama" and cut in (None, "default"):
        tokenizer = sentencepiece_tokenizer(file, tokens)
    elif kind == "gpt2" and isinstance(cut, str) and cut in PRE_TOKENIZERS:
        tokenizer = _byte_level(tokens, _merges(file, tokens), cut)
    else:
        raise ModelConfigError(
            f"{file.path}: tokenizer {kind!r} with pre-tokenizer {cut!r} is not converted; known: "
            f"'llama' (SentencePiece), 'gpt2' with {', '.join(PRE_TOKENIZERS)}"
        )
    types = metadata.get("tokenizer.ggml.token_type", [])
    template = metadata.get("tokenizer.chat_template")
    context = file.setting("context_length")
    if not isinstance(types, list) or not isinstance(template, str | None):
        raise ModelConfigError(
            f"{file.path}: tokenizer.ggml.token_type must be a list, tokenizer.chat_template text"
        )
    if type(context) is not int:
        raise ModelConfigError(f"{file.path}: context_length must be a whole number")
    for token, number in zip(tokens, types, strict=False):
        if number in (_CONTROL, _USER_DEFINED):
            special = number == _CONTROL
            tokenizer.add_tokens([AddedToken(token, special=special, normalized=False)])
    names = _special_tokens(file, tokens)
    if metadata.get("tokenizer.ggml.add_bos_token") and names["bos_token"] is not None:
        tokenizer.post_processor = _begin_with(names["bos_token"], file.special("bos"))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        **names,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
        chat_template=template,
    )


def _merges(file: GgufFile, tokens: list[str]) -> list[tuple[str, str]]:
    """Return the pairs of tokens that are merged, the first ones first."""
    vocabulary = set(tokens)
    pairs = [(left, right) for left, _, right in (m.partition(" ") for m in _texts(file, "merges"))]
    for left, right in pairs:
        if not vocabulary.issuperset((left, right, left + right)):
            raise ModelConfigError(
                f"{file.path}: tokenizer.ggml.merges joins {left!r} and {right!r}: both and the "
                "joined token must be among the tokens"
            )
    return pairs


def _byte_level(tokens: list[str], merges: list[tuple[str, str]], cut: str) -> Tokenizer:
    """Return a tokenizer of byte pairs whose text is cut by a pre-tokenizer."""
    tokenizer = Tokenizer(
        BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=merges,
            ignore_merges=cut == "llama-bpe",
        )
    )
    if cut == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[cut]
    tokenizer.decoder = ByteLevelDecoder()
    return tokenizer


def _texts(file: GgufFile, name: str) -> list[str]:
    """Return a list of texts from the metadata."""
    values = file.metadata.get(f"tokenizer.ggml.{name}")
    texts = values if isinstance(values, list) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ModelConfigError(f"{file.path}: tokenizer.ggml.{name} must be a list of texts")
    return texts


def _special_tokens(file: GgufFile, tokens: list[str]) -> dict[str, str | None]:
    kinds = {
        "bos_token": "bos",
        "eos_token": "eos",
        "unk_token": "unknown",
        "pad_token": "padding",
    }
    ids = {name: file.special(kind) for name, kind in kinds.items()}
    if ids["eos_token"] is None:
        raise ModelConfigError(f"{file.path} does not name an end-of-sequence token")
    numbers = range(len(tokens))
    wrong = [
        f"{n} {index}" for n, index in ids.items() if index is not None and index not in numbers
    ]
    if wrong:
        raise ModelConfigError(f"{file.path}: {', '.join(wrong)} is not among {len(tokens)} tokens")
    return {name: None if index is None else tokens[index] for name, index in ids.items()}


def _begin_with(token: str, index: int | None) -> Any:
    return TemplateProcessing(
        single=f"{token} $A", pair=f"{token} $A {token} $B", special_tokens=[(token, index)]
    )
