from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.training.models.gguf.gguf_file import write_gguf
from training.data.rendering import render_prompt
from training.data.tokenizer import encode
from training.errors import ModelConfigError
from training.models.gguf.file import GgufFile
from training.models.gguf.tokenizer import PRE_TOKENIZERS, read_tokenizer
from training.models.registry import model_from_config

TEXTS = ["What is 82 + 15?", "Repeat 'banana' 3 times", " naïve\n\n  café\t漢字 <|endoftext|>"]


def read(folder: Path, tokenizer: Any, **options: Any) -> Any:
    model = model_from_config(
        {
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 48,
        }
    )
    path = folder / "model.gguf"
    write_gguf(path, model, model.init(0), tokenizer, **options)
    return read_tokenizer(GgufFile(path))


@pytest.mark.parametrize("text", TEXTS)
def test_the_same_tokens_as_the_original(text: str, tmp_path: Path, tokenizer: Any) -> None:
    made = read(tmp_path, tokenizer)
    assert encode(made, text) == encode(tokenizer, text)
    assert made.decode(encode(made, text)) == text


def test_special_tokens_template_and_length(tmp_path: Path, tokenizer: Any) -> None:
    made = read(tmp_path, tokenizer, extra={"tokenizer.ggml.padding_token_id": 3})
    assert made.eos_token == made.bos_token == tokenizer.eos_token
    assert made.pad_token == tokenizer.convert_ids_to_tokens(3)
    assert made.model_max_length == 48
    assert render_prompt(made, "Hi?") == render_prompt(tokenizer, "Hi?")


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
@pytest.mark.parametrize("text", TEXTS)
def test_every_way_to_cut_loses_nothing(
    pre: str, text: str, tmp_path: Path, tokenizer: Any
) -> None:
    made = read(tmp_path, tokenizer, pre=pre)
    assert made.decode(encode(made, text)) == text


@pytest.mark.parametrize(
    ("pre", "words"),
    [
        ("gpt-2", ["It", "'s", "Ġ2024", "ĠÄlready"]),
        ("smollm", ["It", "'s", "Ġ", "2", "0", "2", "4", "ĠÄlready"]),
        ("llama-bpe", ["It", "'s", "Ġ", "202", "4", "ĠÄlready"]),
        ("qwen2", ["It", "'s", "Ġ", "2", "0", "2", "4", "ĠÄlready"]),
    ],
)
def test_how_numbers_are_cut(pre: str, words: list[str]) -> None:
    cut = [word for word, _ in PRE_TOKENIZERS[pre].pre_tokenize_str("It's 2024 Already")]
    assert cut == [word.replace("Ä", "A") for word in words]


def test_a_begin_token_is_added_where_the_file_says_so(tmp_path: Path, tokenizer: Any) -> None:
    made = read(tmp_path, tokenizer, extra={"tokenizer.ggml.add_bos_token": True})
    assert made("Hi").input_ids == [tokenizer.bos_token_id, *encode(tokenizer, "Hi")]


SPACE = "\u2581"
SPECIAL = ["<unk>", "<s>", "<|end|>"]
OCTETS = [f"<0x{octet:02X}>" for octet in range(256)]
LETTERS = [SPACE, *"abcdehlorw"]
JOINED = "he ll lo hell hello _h _he _hello _w or ld rl _wor wor _world al".replace("_", SPACE)
VOCABULARY = [*SPECIAL, *OCTETS, *LETTERS, *JOINED.split()]
SCORES = [0.0] * (len(SPECIAL) + 256 + len(LETTERS))
SCORES += np.random.default_rng(0).permutation(len(JOINED.split())).astype(float).tolist()
PIECES = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.pre": "default",
    "tokenizer.ggml.tokens": VOCABULARY,
    "tokenizer.ggml.scores": SCORES,
    "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * len(VOCABULARY[259:]),
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 0,
}


def greedy(text: str) -> list[str]:
    """SentencePiece's pieces: the neighbours whose joined token has the highest score first."""
    symbols, scores = list(text.replace(" ", SPACE)), dict(zip(VOCABULARY, SCORES, strict=True))
    while True:
        pairs = [a + b for a, b in itertools.pairwise(symbols)]
        known = [(scores[pair], -at) for at, pair in enumerate(pairs) if pair in scores]
        if not known:
            return symbols
        at = -max(known)[1]
        symbols[at : at + 2] = [pairs[at]]


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("text", ["hello world", "a  hollow hell", "whole world held", "   her"])
def test_sentencepiece_merges_by_score(
    text: str, prefix: bool, tmp_path: Path, tokenizer: Any
) -> None:
    metadata = {**PIECES, "tokenizer.ggml.add_space_prefix": prefix}
    made = read(tmp_path, tokenizer, extra=metadata)
    assert (made.bos_token, made.eos_token, made.unk_token) == ("<s>", "<|end|>", "<unk>")
    tokens = encode(made, text)
    assert made.convert_ids_to_tokens(tokens) == greedy(" " * prefix + text)
    assert made.decode(tokens) == text


def test_sentencepiece_writes_unknown_letters_as_bytes(tmp_path: Path, tokenizer: Any) -> None:
    made = read(tmp_path, tokenizer, extra=PIECES)
    tokens = made.convert_ids_to_tokens(encode(made, "h\u00e9\n<|end|>"))
    assert tokens == [SPACE + "h", "<0xC3>", "<0xA9>", "<0x0A>", "<|end|>"]


def test_scores_must_be_complete(tmp_path: Path, tokenizer: Any) -> None:
    broken = {**PIECES, "tokenizer.ggml.scores": [0.0, 1.0]}
    with pytest.raises(ModelConfigError, match=r"tokenizer.ggml.scores must be a list of \d+"):
        read(tmp_path, tokenizer, extra=broken)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"pre": "deepseek-llm"}, "pre-tokenizer 'deepseek-llm' is not converted; known: 'llama'"),
        ({"extra": {"tokenizer.ggml.padding_token_id": 9999}}, "pad_token 9999 is not among"),
    ],
)
def test_refused(options: dict[str, Any], complaint: str, tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(ModelConfigError, match=complaint):
        read(tmp_path, tokenizer, **options)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("tokenizer.ggml.pre", ["gpt-2"], r"pre-tokenizer \['gpt-2'\] is not converted"),
        ("tokenizer.ggml.token_type", 3, "token_type must be a list"),
        ("tokenizer.chat_template", 3, "chat_template text"),
        ("tokenizer.ggml.merges", ["q q"], "merges joins 'q' and 'q': both and the joined token"),
        ("tokenizer.ggml.eos_token_id", -1, "eos_token -1 is not among"),
        ("tokenizer.ggml.bos_token_id", "x", "bos_token_id must be a whole number"),
        ("llama.context_length", None, "context_length must be a whole number"),
    ],
)
def test_values_of_another_kind_are_refused(
    key: str, value: Any, complaint: str, tmp_path: Path, tokenizer: Any
) -> None:
    read(tmp_path, tokenizer)
    file = GgufFile(tmp_path / "model.gguf")
    file.metadata[key] = value
    with pytest.raises(ModelConfigError, match=complaint):
        read_tokenizer(file)
