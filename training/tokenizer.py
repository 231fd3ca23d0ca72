"""Tokenizers: trained from the data for presets, loaded with the model otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from training.errors import ModelConfigError, ModelNotFoundError
from training.rendering import CHAT_TEMPLATE

END_OF_TEXT = "<|endoftext|>"
"""The end-of-sequence token of trained tokenizers."""


def train_tokenizer(texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer (Sennrich et al. 2016) of at most ``vocabulary`` tokens.

    Any text can be encoded, because all 256 bytes are tokens. The same texts in the same order
    give the same tokenizer. ``context`` is the model's longest sequence, in tokens.
    """
    tokenizer = _byte_level(BPE())
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _with_end_of_text(tokenizer, context)


def read_gpt2_tokenizer(vocabulary: Path, merges: Path, context: int) -> PreTrainedTokenizerFast:
    """The tokenizer of GPT-2's own two files, ``encoder.json`` and ``vocab.bpe``.

    ``context`` is as in :func:`train_tokenizer`. Raises
    :class:`training.errors.ModelNotFoundError` when one is missing and
    :class:`training.errors.ModelConfigError` when they cannot be read or do not fit each other.
    """
    for path in (vocabulary, merges):
        if not path.is_file():
            raise ModelNotFoundError(f"{path}: there is no such file")
    try:
        pieces = BPE.from_file(str(vocabulary), str(merges))
    except Exception as error:  # The class that tokenizers raises is Exception itself.
        raise ModelConfigError(f"{vocabulary} with {merges}: {error}") from error
    if pieces.token_to_id(END_OF_TEXT) is None:
        raise ModelConfigError(f"{vocabulary} has no token {END_OF_TEXT}")
    return _with_end_of_text(_byte_level(pieces), context)


def _byte_level(pieces: BPE) -> Tokenizer:
    tokenizer = Tokenizer(pieces)
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    return tokenizer


def _with_end_of_text(tokenizer: Tokenizer, context: int) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        bos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder; one without a chat template gets ours.

    Raises :class:`training.errors.ModelNotFoundError` when the folder has no tokenizer files and
    :class:`training.errors.ModelConfigError` when they cannot be read, want code of their own, or
    define no end-of-sequence token.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise ModelNotFoundError(f"{folder} has no tokenizer (tokenizer.json or vocab.json)")
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # The class that tokenizers raises is Exception itself.
        raise ModelConfigError(f"the tokenizer in {folder} cannot be loaded: {error}") from error
    if tokenizer.eos_token_id is None:
        raise ModelConfigError(f"the tokenizer in {folder} has no end-of-sequence token")
    if tokenizer.chat_template is None:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def require_embedded(sequences: Iterable[Sequence[int]], vocabulary: int) -> None:
    """Raise :class:`training.errors.ModelConfigError` for token ids that a model does not embed."""
    largest = max((max(tokens, default=0) for tokens in sequences), default=0)
    if largest >= vocabulary:
        raise ModelConfigError(
            f"the tokenizer makes token {largest}, but the model embeds {vocabulary} tokens only: "
            "take the tokenizer that belongs to the model, or resize its embedding"
        )


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of ``text`` as it stands: special tokens are the rendering's business."""
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
