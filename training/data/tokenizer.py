"""Tokenizers: trained from the data for presets, loaded with the model otherwise."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import (
    GemmaTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
)

from tailrace.formats.model.chat_template import DEFAULT, is_template_text
from tailrace.formats.model.check import unembedded_end
from tailrace.formats.model.files import is_tokenizer_file, read_documents
from tailrace.formats.model.folder import CONFIG_FILE
from tailrace.formats.model.tokenizer_files import (
    TOKENIZER_FILE,
    VOCABULARY_FILE,
    TokenizerFiles,
    TokenizerFilesError,
    read_tokenizer,
)
from tailrace.formats.outside_json import read_object
from training.chat_templates import shipped_template
from training.data.rendering import CHAT_TEMPLATE
from training.errors import ModelConfigError, ModelNotFoundError

END_OF_TEXT = "<|endoftext|>"
"""The end-of-sequence token of trained tokenizers."""

_CLASSES: dict[str, Any] = {
    "": PreTrainedTokenizerFast,
    "GPT2Tokenizer": GPT2Tokenizer,
    "GemmaTokenizer": GemmaTokenizer,
    "LlamaTokenizer": LlamaTokenizer,
    "Qwen2Tokenizer": Qwen2Tokenizer,
}
"""By :attr:`tailrace.formats.model.tokenizer_files.TokenizerFiles.build`."""


def train_tokenizer(texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer (Sennrich et al. 2016) of at most ``vocabulary`` tokens.

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
    """Read the tokenizer of GPT-2's two files, ``encoder.json`` and ``vocab.bpe``.

    ``context`` is as in :func:`train_tokenizer`.

    Raises:
        ModelNotFoundError: A file is missing.
        ModelConfigError: A file cannot be read, or the two do not fit each other.
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


def load_tokenizer(folder: Path, template: str | None = None) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model folder; one without a chat template gets ours.

    ``template`` is the text of a chat template in place of the folder's.

    The token ids are those of transformers' AutoTokenizer, but the folder cannot choose classes or
    files: see :mod:`tailrace.formats.model.tokenizer_files`. Truncation and padding in
    tokenizer.json are switched off, so that no text is cut.

    Raises:
        ModelNotFoundError: The folder has no tokenizer files.
        ModelConfigError: The files cannot be read, or define no end-of-sequence token.
    """
    files = _read_files(folder)
    tokenizer = _build(folder, files)
    if tokenizer.eos_token_id is None:
        raise ModelConfigError(f"the tokenizer in {folder} has no end-of-sequence token")
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.name_or_path = str(folder)
    if template is not None:
        tokenizer.chat_template = template
    elif tokenizer.chat_template is None:
        tokenizer.chat_template = template_for(tokenizer)
    return tokenizer


def template_text(choice: str | None) -> str | None:
    """Return the text of a chat template that a spec names or holds; None without one.

    Raises:
        ModelConfigError: No shipped template has this name.
    """
    if choice is None or is_template_text(choice):
        return choice
    return shipped_template(choice)


def _read_files(folder: Path) -> TokenizerFiles:
    config: dict[str, Any] = {}
    try:
        contents = read_documents(folder, is_tokenizer_file)
        if (folder / CONFIG_FILE).is_file():
            config = read_object(read_documents(folder, {CONFIG_FILE}.__contains__)[CONFIG_FILE])
        files = read_tokenizer(contents, config.get("model_type"), config.get("tokenizer_class"))
    except TokenizerFilesError as error:
        problems = "; ".join(f"{name} {problem}" for name, problem in error.problems)
        if not any((folder / name).is_file() for name in (TOKENIZER_FILE, VOCABULARY_FILE)):
            raise ModelNotFoundError(f"{folder} has no tokenizer: {problems}") from error
        raise ModelConfigError(f"the tokenizer in {folder} cannot be loaded: {problems}") from error
    except ValueError as error:
        raise ModelConfigError(f"the tokenizer in {folder} cannot be loaded: {error}") from error
    vocabulary = config.get("vocab_size")
    problem = unembedded_end(files, vocabulary) if isinstance(vocabulary, int) else ""
    if problem:
        raise ModelConfigError(f"{folder}: {problem}")
    return files


def _build(folder: Path, files: TokenizerFiles) -> PreTrainedTokenizerBase:
    """Build a tokenizer in a temporary folder that has the allowed content only."""
    with tempfile.TemporaryDirectory(prefix="tailrace-tokenizer-") as name:
        place = Path(name)
        for file, content in files.documents.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (place / file).write_text(text, encoding="utf-8")
        try:
            tokenizer: PreTrainedTokenizerBase = _CLASSES[files.build].from_pretrained(
                place, local_files_only=True, chat_template=_template(files)
            )
        except Exception as error:  # The class that tokenizers raises is Exception itself.
            raise ModelConfigError(
                f"the tokenizer in {folder} cannot be loaded: {error}"
            ) from error
    return tokenizer


def _template(files: TokenizerFiles) -> str | dict[str, str] | None:
    """Return the chat templates in the form of transformers."""
    if set(files.templates) == {DEFAULT}:
        return files.templates[DEFAULT]
    return files.templates or None


def template_for(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the chat template for a model that has none.

    It begins with the tokens that the tokenizer puts before every text (`<s>`), because a base
    model has seen them at the beginning of all its training data.
    """
    begin = "".join(tokenizer.convert_ids_to_tokens(beginning(tokenizer)))
    return f"{{{{ {json.dumps(begin)} }}}}{CHAT_TEMPLATE}" if begin else CHAT_TEMPLATE


def beginning(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens that a tokenizer puts before every text."""
    plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    ids = list(tokenizer("a")["input_ids"])
    for start in range(len(ids) - len(plain) + 1):
        if ids[start : start + len(plain)] == plain:
            return ids[:start]
    return []


def require_embedded(
    sequences: Iterable[Sequence[int] | NDArray[np.int32]],
    vocabulary: int,
    model: str = "the model",
) -> None:
    """Raise :class:`training.errors.ModelConfigError` for token ids that a model does not embed.

    ``model`` names it in the message.
    """
    largest = max((int(np.max(tokens, initial=0)) for tokens in sequences), default=0)
    if largest >= vocabulary:
        raise ModelConfigError(
            f"the tokenizer has token {largest}, but {model} embeds {vocabulary} tokens only: "
            "use the model's own tokenizer, or resize its embedding"
        )


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the token ids of ``text``; no special tokens are added, as rendering writes them."""
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
