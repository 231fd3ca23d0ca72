from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.training.models.gguf.gguf_file import write_gguf
from training.data.rendering import render_prompt
from training.data.tokenizer import encode
from training.errors import ModelConfigError
from training.models.gguf.tokenizer import PRE_TOKENIZERS, read_tokenizer
from training.models.gguf.weights import GgufFile
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


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"pre": "deepseek-llm"}, "pre-tokenizer 'deepseek-llm' is not converted; known: 'gpt2'"),
        ({"extra": {"tokenizer.ggml.padding_token_id": 9999}}, "pad_token 9999 is not among"),
    ],
)
def test_refused(options: dict[str, Any], complaint: str, tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(ModelConfigError, match=complaint):
        read(tmp_path, tokenizer, **options)
