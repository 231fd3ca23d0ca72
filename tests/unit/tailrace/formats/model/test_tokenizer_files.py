from __future__ import annotations

import json
from typing import Any

import pytest

from tailrace.formats.model.tokenizer_files import TokenizerFilesError, read_tokenizer

MODEL = {"type": "BPE", "vocab": {"a": 0, "</s>": 1}, "merges": []}
WHOLE: dict[str, Any] = {"added_tokens": [], "model": MODEL}
SETTINGS = {"eos_token": "</s>"}


def read(tokenizer: Any = WHOLE, settings: Any = SETTINGS, **others: Any) -> Any:
    files = {"tokenizer.json": tokenizer, "tokenizer_config.json": settings}
    files |= {name.replace("__", "."): content for name, content in others.items()}
    contents = {
        name: content if isinstance(content, bytes) else json.dumps(content).encode()
        for name, content in files.items()
        if content is not None
    }
    return read_tokenizer(contents, "llama")


def test_what_is_allowed_is_kept_and_nothing_else() -> None:
    settings = {
        **SETTINGS,
        "tokenizer_class": "LlamaTokenizerFast",
        "vocab_file": "/etc/passwd",
        "auto_map": {"AutoTokenizer": ["x.Y", None]},
        "model_max_length": 1e30,
        "bos_token": {"content": "a", "lstrip": True, "vocab_file": "/etc/passwd"},
        "padding_side": "left",
    }
    files = read(settings=settings, special_tokens_map__json={"vocab": "/etc/passwd"})
    assert "passwd" not in json.dumps(files.documents)
    assert files.documents["tokenizer_config.json"] == {
        **SETTINGS,
        "bos_token": {"content": "a", "lstrip": True, "__type": "AddedToken"},
        "model_max_length": 1e30,
        "padding_side": "left",
        "tokenizer_class": "LlamaTokenizerFast",
    }
    assert (files.build, files.eos_token, files.eos_token_id) == ("LlamaTokenizer", "</s>", 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"eos_token": None}, "names no end-of-sequence token"),
        ({"eos_token": "</t>"}, "'</t>', which is not in the vocabulary"),
        ({"eos_token": 3}, "eos_token that must be text or an added token, not 3"),
        ({"eos_token": {"id": 1}}, "an added token without content"),
        ({"eos_token": {"content": "a", "lstrip": 1}}, "flag that is not true or false"),
        ({"pad_token": "x" * 5000}, "pad_token of 5000 characters"),
        ({"additional_special_tokens": "x"}, "additional_special_tokens that must be a list"),
        ({"additional_special_tokens": [3]}, "must be text or an added token, not 3"),
        ({"added_tokens_decoder": []}, "added_tokens_decoder that is not an object"),
        ({"added_tokens_decoder": {"x": {}}}, "with the id 'x'"),
        ({"add_bos_token": "yes"}, "add_bos_token 'yes', which must be true or false"),
        ({"model_max_length": "9"}, "model_max_length '9', which must be a number"),
        ({"model_max_length": 10**35}, "must be a number from 1"),
        ({"split_special_tokens": True}, "split_special_tokens true, .*: remove it"),
        ({"padding_side": "up"}, "must be 'left' or 'right'"),
        ({"tokenizer_class": ["x"]}, "tokenizer_class a list, which must be text"),
        ({"chat_template": 3}, "chat_template must be text, or a list"),
        ({"chat_template": " "}, "has an empty chat template"),
        ({"chat_template": [{"name": "rag", "template": "x"}]}, "none of them named 'default'"),
    ],
)
def test_settings_that_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(TokenizerFilesError, match=says) as caught:
        read(settings={**SETTINGS, **change})
    assert [name for name, _ in caught.value.problems] == ["tokenizer_config.json"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": None}, "is not a tokenizer: it has no model"),
        ({"model": {**MODEL, "type": "Unheard"}}, "type 'Unheard'; known: BPE"),
        ({"model": {**MODEL, "vocab": "/etc/passwd"}}, "must be an object of tokens"),
        ({"model": {**MODEL, "vocab": []}}, "must be an object of tokens"),
        ({"model": {**MODEL, "vocab": {"a": "1"}}}, "a token whose id is '1'"),
        ({"model": {**MODEL, "vocab": {"a": -1}}}, "a token whose id is -1"),
        ({"model": {**MODEL, "merges": "/etc/passwd"}}, "merges that are not a list"),
        ({"model": {**MODEL, "merges": [["a"]]}}, "a merge that is not a pair"),
        ({"model": {**MODEL, "dropout": 0.1}}, "model.dropout 0.1, .*: set it to null"),
        ({"model": {"type": "Unigram", "vocab": [["a"]]}}, "not a token and its score"),
        ({"normalizer": "x"}, "a normalizer that is not an object"),
        ({"added_tokens": {}}, "added_tokens that are not a list"),
        ({"added_tokens": [{"content": "a"}]}, "a token whose id is nothing"),
    ],
)
def test_tokenizers_that_are_refused(change: dict[str, Any], says: str) -> None:
    if change.get("added_tokens") == {}:
        change = {"added_tokens": {"a": 1}}
    with pytest.raises(TokenizerFilesError, match=says):
        read({**WHOLE, **change})


def test_a_deep_tokenizer_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"pretokenizers": [deep]}
    with pytest.raises(TokenizerFilesError, match="nested too deeply"):
        read({**WHOLE, "pre_tokenizer": deep})


def test_all_files_are_judged_at_once() -> None:
    with pytest.raises(TokenizerFilesError) as caught:
        read([], b"{", added_tokens__json={"a": "b"})
    names = [name for name, _ in caught.value.problems]
    assert names == ["tokenizer.json", "tokenizer_config.json", "added_tokens.json"]


def test_a_tokenizer_is_missing() -> None:
    for files in ({}, {"vocab__json": {"a": 0}}, {"tokenizer__model": b"x"}):
        with pytest.raises(TokenizerFilesError, match=r"save_pretrained"):
            read(None, **files)
    both = {"vocab__json": {"a": 0}, "merges__txt": b"#version: 0.2\n"}
    with pytest.raises(TokenizerFilesError, match=r"vocab.json is not a tokenizer of a llama"):
        read(None, **both)
