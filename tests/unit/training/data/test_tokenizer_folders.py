"""Tokenizers of model folders: as transformers reads them, and by nothing that a folder chooses."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import AutoTokenizer
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from tailrace.formats.model.families import FAMILIES
from training.data.tokenizer import load_tokenizer
from training.errors import ModelConfigError, TrainingError

TEXTS = ["Hello  world 123 éß\n\n日本 <|end|> x</s>", "  <s>a", "<unk>b \t  ", ""]
SPECIAL = ["<unk>", "<s>", "</s>", "<|endoftext|>", "<|end|>"]


def byte_level() -> Tokenizer:
    """A tokenizer as GPT-2, Llama 3 and Qwen have it."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["Hello world, hello hello world"], trainer)
    return tokenizer


def with_bos() -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def cutting() -> Tokenizer:
    """A tokenizer that was saved while it cut and padded texts."""
    tokenizer = byte_level()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=8, pad_id=3, pad_token="<|endoftext|>")
    return tokenizer


def byte_fallback() -> Tokenizer:
    """A tokenizer as Llama 2 and Mistral have it."""
    pieces = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *"▁Helowrdab123", "el", "▁w"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    merges = [("e", "l"), ("▁", "w")]
    tokenizer = Tokenizer(
        BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPECIAL]
    )
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def unigram() -> Tokenizer:
    pieces = [*SPECIAL, "▁", *"Helowrdab123", "▁wor", "hel"]
    tokenizer = Tokenizer(Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], 0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte_level": byte_level,
    "with_bos": with_bos,
    "cutting": cutting,
    "byte_fallback": byte_fallback,
    "unigram": unigram,
}
CLASSES = [
    None,
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
    "LlamaTokenizer",
    "LlamaTokenizerFast",
    "GPT2Tokenizer",
    "Qwen2TokenizerFast",
]
TOKEN = {"lstrip": False, "normalized": False, "rstrip": True, "single_word": False}
DECODER = {
    "2": {**TOKEN, "content": "</s>", "special": True},
    "5": {**TOKEN, "content": "<more>", "special": False},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"eos_token": "</s>"},
    "bos": {
        "eos_token": "</s>",
        "bos_token": "<s>",
        "add_bos_token": True,
        "model_max_length": 1000000000000000019884624838656,
    },
    "added": {
        "eos_token": {**TOKEN, "content": "</s>", "__type": "AddedToken"},
        "pad_token": None,
        "unk_token": "<unk>",
        "added_tokens_decoder": DECODER,
        "additional_special_tokens": ["<|end|>"],
        "legacy": True,
        "add_prefix_space": True,
        "image_token": "<image>",
        "clean_up_tokenization_spaces": True,
    },
}
LEGACY = {
    "special_tokens_map.json": {
        "eos_token": {**TOKEN, "content": "</s>"},
        "bos_token": "<s>",
        "additional_special_tokens": ["<|end|>"],
    },
    "added_tokens.json": {"<extra>": 400},
}


def write(folder: Path, model_type: str, **files: Any) -> Path:
    folder.mkdir(exist_ok=True)
    documents = {"config.json": {"model_type": model_type}, **files}
    for name, content in documents.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def facts(tokenizer: Any) -> list[Any]:
    """Everything that a run takes from a tokenizer."""
    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    bare = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    names = [tokenizer.special_tokens_map, sorted(tokenizer.all_special_tokens)]
    decoded = [tokenizer.decode(tokens) for tokens in ids]
    seen = [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in ids]
    return [ids, bare, names, decoded, seen, len(tokenizer), tokenizer.model_max_length]


def assert_like_transformers(folder: Path) -> None:
    expected = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    actual = load_tokenizer(folder)
    assert facts(actual) == facts(expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model_type", FAMILIES)
def test_tokens_are_those_of_transformers(tmp_path: Path, kind: str, model_type: str) -> None:
    tokenizer = KINDS[kind]().to_str()
    cases = [(name, SETTINGS["added"]) for name in CLASSES]
    cases += [(None, settings) for settings in SETTINGS.values()]
    for name, settings in cases:
        named = {} if name is None else {"tokenizer_class": name}
        files = {"tokenizer.json": tokenizer, "tokenizer_config.json": {**settings, **named}}
        assert_like_transformers(write(tmp_path, model_type, **files))


@pytest.mark.parametrize("model_type", FAMILIES)
@pytest.mark.parametrize(
    "settings",
    [
        None,
        {},
        {"tokenizer_class": "LlamaTokenizer"},
        {"additional_special_tokens": None},
        {"extra_special_tokens": None},
    ],
)
def test_files_of_older_saves_are_read_alike(
    tmp_path: Path, model_type: str, settings: dict[str, Any] | None
) -> None:
    files = {"tokenizer.json": byte_level().to_str(), **LEGACY}
    if settings is not None:
        files["tokenizer_config.json"] = settings
    assert_like_transformers(write(tmp_path, model_type, **files))


@pytest.mark.parametrize("model_type", ["gpt2", "qwen2", "qwen3"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_the_two_files_of_gpt2_are_read_alike(
    tmp_path: Path, model_type: str, settings: str
) -> None:
    model = json.loads(byte_level().to_str())["model"]
    merges = "\n".join(["#version: 0.2", *(" ".join(merge) for merge in model["merges"]), ""])
    files = {"vocab.json": model["vocab"], "merges.txt": merges}
    named = {"tokenizer_config.json": SETTINGS[settings]}
    assert_like_transformers(write(tmp_path, model_type, **files, **named))


def test_the_class_may_be_named_in_the_models_configuration(tmp_path: Path) -> None:
    files = {"tokenizer.json": byte_fallback().to_str(), "tokenizer_config.json": {}}
    config = {"model_type": "llama", "tokenizer_class": "LlamaTokenizer"}
    assert_like_transformers(write(tmp_path, "llama", **files, **{"config.json": config}))


def test_an_unknown_class_reads_the_file_as_it_is(tmp_path: Path) -> None:
    tokenizer = byte_fallback().to_str()
    loaded = [
        facts(
            load_tokenizer(
                write(
                    tmp_path,
                    "llama",
                    **{
                        "tokenizer.json": tokenizer,
                        "tokenizer_config.json": {"eos_token": "</s>", "tokenizer_class": name},
                    },
                )
            )
        )
        for name in ("FancyTokenizer", "TokenizersBackend")
    ]
    assert loaded[0] == loaded[1]


def test_no_text_is_cut_or_padded(tmp_path: Path) -> None:
    settings = {"eos_token": "</s>", "model_max_length": 4}
    files = {"tokenizer.json": cutting().to_str(), "tokenizer_config.json": settings}
    tokenizer = load_tokenizer(write(tmp_path, "llama", **files))
    encoding = tokenizer.backend_tokenizer.encode("Hello world, hello")
    assert tokenizer.decode(encoding.ids) == "Hello world, hello"


def test_what_is_saved_is_what_transformers_saves(tmp_path: Path) -> None:
    files = {"tokenizer.json": with_bos().to_str(), "tokenizer_config.json": SETTINGS["added"]}
    folder = write(tmp_path / "model", "llama", **files)
    load_tokenizer(folder).save_pretrained(tmp_path / "ours")
    AutoTokenizer.from_pretrained(folder, local_files_only=True).save_pretrained(
        tmp_path / "theirs"
    )
    ours, theirs = (
        json.loads((tmp_path / name / "tokenizer_config.json").read_text())
        for name in ("ours", "theirs")
    )
    ours.pop("chat_template", None)
    assert ours == theirs
    same = [(tmp_path / name / "tokenizer.json").read_text() for name in ("ours", "theirs")]
    assert same[0] == same[1]


class Watch:
    """A secret file, and the system's record of who opens it; Python's own hooks miss Rust."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text(json.dumps({"TOP_SECRET": 0, "</s>": 1}))
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK)
        opened_or_read = 0x20 | 0x1
        assert self._libc.inotify_add_watch(self._fd, str(path).encode(), opened_or_read) > 0

    def was_opened(self) -> bool:
        try:
            return bool(os.read(self._fd, 4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[Watch]:
    watch = Watch(tmp_path / "secret.json")
    yield watch
    watch.close()


def test_the_watch_works(secret: Watch) -> None:
    assert not secret.was_opened()
    with contextlib.suppress(Exception):
        BPE.from_file(str(secret.path), str(secret.path))
    assert secret.was_opened()


PATH_KEYS = [
    *("vocab", "vocab_file", "merges", "merges_file", "tokenizer_file", "tokenizer_object"),
    *("spm_file", "sp_model", "bpe_codes", "emoji_file", "source_spm", "target_spm"),
    *("special_tokens_map_file", "added_tokens_file", "chat_template_file", "gguf_file"),
    *("monolingual_vocab_file", "phonemizer", "entity_vocab", "word_shape_file", "name_or_path"),
]
TOKENIZER_CLASSES = sorted({name for name in TOKENIZER_MAPPING_NAMES.values() if name})


def paths_to(secret: Watch) -> dict[str, Any]:
    return {**dict.fromkeys(PATH_KEYS, str(secret.path)), "fast_tokenizer_files": ["x"]}


def test_no_class_that_a_folder_names_reads_a_file_that_it_names(
    tmp_path: Path, secret: Watch
) -> None:
    assert len(TOKENIZER_CLASSES) > 60
    for name in TOKENIZER_CLASSES:
        settings = {"tokenizer_class": name, "eos_token": "</s>", **paths_to(secret)}
        files = {"tokenizer_config.json": settings, "special_tokens_map.json": paths_to(secret)}
        folder = write(tmp_path / "bare", "llama", **files)
        with pytest.raises(TrainingError, match=r"tokenizer\.json is missing"):
            load_tokenizer(folder)
    assert not secret.was_opened()


@pytest.mark.parametrize("model_type", FAMILIES)
@pytest.mark.parametrize(
    "name", ["LlamaTokenizer", "GPT2Tokenizer", "Qwen2Tokenizer", "BertTokenizer"]
)
def test_a_whole_folder_reads_none_either(
    tmp_path: Path, secret: Watch, model_type: str, name: str
) -> None:
    settings = {"tokenizer_class": name, "eos_token": "</s>", **paths_to(secret)}
    legacy = {"eos_token": "</s>", **paths_to(secret)}
    files = {"tokenizer_config.json": settings, "special_tokens_map.json": legacy}
    whole = json.loads(byte_level().to_str())
    folder = write(tmp_path / "whole", model_type, **files, **{"tokenizer.json": whole})
    assert "TOP_SECRET" not in load_tokenizer(folder).get_vocab()
    for part in ("vocab", "merges"):
        broken = {**whole, "model": {**whole["model"], part: str(secret.path)}}
        write(folder, model_type, **{"tokenizer.json": broken})
        with pytest.raises(ModelConfigError, match=r"tokenizer\.json has"):
            load_tokenizer(folder)
    assert not secret.was_opened()


def test_two_files_that_are_a_path_are_refused(tmp_path: Path, secret: Watch) -> None:
    files = {"vocab.json": str(secret.path), "merges.txt": str(secret.path)}
    folder = write(
        tmp_path / "two", "gpt2", **{**files, "vocab.json": json.dumps(str(secret.path))}
    )
    with pytest.raises(ModelConfigError, match=r"vocab\.json has no vocabulary"):
        load_tokenizer(folder)
    assert not secret.was_opened()
