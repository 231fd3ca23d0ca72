"""Tokenizer files of a model folder, reduced to an allow-list of keys.

Nothing in them chooses code or another file: a tokenizer is built from ``tokenizer.json``, or from
``vocab.json`` with ``merges.txt``, and from the settings that :func:`read_tokenizer` returns. All
other keys are dropped, including keys of transformers' own saves that name paths.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tailrace.formats.model.chat_template import chat_templates, default_template, is_template_file
from tailrace.formats.model.families import FAMILIES
from tailrace.formats.model.families.family import TokenizerRule
from tailrace.formats.outside_json import is_deep, read_json, read_object
from tailrace.formats.wording import describe

TOKENIZER_FILE = "tokenizer.json"
"""Complete tokenizer in one file."""

SETTINGS_FILE = "tokenizer_config.json"
"""Settings of the tokenizer."""

VOCABULARY_FILE, MERGES_FILE = "vocab.json", "merges.txt"
"""GPT-2's pair of files, for byte-level tokenizers only."""

SPECIAL_FILE, ADDED_FILE = "special_tokens_map.json", "added_tokens.json"
"""Files of older saves, read where the settings lack an entry."""

FILES = (
    *(TOKENIZER_FILE, SETTINGS_FILE, VOCABULARY_FILE, MERGES_FILE),
    *(SPECIAL_FILE, ADDED_FILE),
)
"""Every file that is read, except chat templates."""

MAX_TOKENS = 2**21
"""Largest vocabulary."""

MAX_TOKEN_CHARACTERS = 4096
"""Longest special token."""

SPECIAL_NAMES = tuple(
    f"{kind}_token" for kind in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
)
"""Settings that name special tokens; custom ones have the same suffix (``image_token``)."""

LISTS = ("additional_special_tokens", "extra_special_tokens")
"""Settings that list further special tokens."""

REBUILT: dict[str, str] = {
    "GPT2Tokenizer": "<|endoftext|>",
    "GemmaTokenizer": "<eos>",
    "LlamaTokenizer": "</s>",
    "Qwen2Tokenizer": "<|endoftext|>",
}
"""Names of ``tokenizer_class`` that change how tokenizer.json is read, with their default
end-of-sequence token. With any other name the file is read unchanged."""

_OWN_NAME = re.compile(r"[a-z][a-z0-9_]{0,60}_token")
_TOKEN_FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")
_FLAGS = (
    *("add_bos_token", "add_eos_token", "add_prefix_space", "clean_up_tokenization_spaces"),
    *("split_special_tokens", "legacy", "fix_mistral_regex"),
)
_LENGTHS = ("model_max_length", "max_len")
_SIDES = ("padding_side", "truncation_side")
_MODELS = ("BPE", "Unigram", "WordLevel", "WordPiece")
_PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation", "padding")


@dataclass(frozen=True)
class TokenizerFiles:
    """Checked content of a folder's tokenizer files."""

    build: str
    """Key of :data:`REBUILT`, or empty where tokenizer.json is read unchanged."""
    documents: dict[str, Any] = field(default_factory=dict)
    """Parsed content by file name; text of ``merges.txt``."""
    templates: dict[str, str] = field(default_factory=dict)
    """Chat templates by name."""
    eos_token: str = ""
    """End-of-sequence token."""
    eos_token_id: int = 0
    """Id of the end-of-sequence token."""

    @property
    def template(self) -> str | None:
        """Template that renders prompts."""
        return default_template(self.templates)


class TokenizerFilesError(ValueError):
    """Tokenizer files that cannot be used: (file name, predicate) of each problem."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{name} {problem}" for name, problem in problems))
        self.problems = problems


def read_tokenizer(
    contents: Mapping[str, bytes], model_type: object, tokenizer_class: object = None
) -> TokenizerFiles:
    """Check tokenizer files and keep the parts that a tokenizer is built from.

    Args:
        contents: Files by path: those of :data:`FILES` and the chat templates.
        model_type: ``model_type`` of config.json.
        tokenizer_class: ``tokenizer_class`` of config.json, for settings without one.

    Raises:
        TokenizerFilesError: It lists every problem.
    """
    reading = _Reading(contents)
    reading.read_all(model_type)
    if not reading.problems:
        settings = reading.documents.get(SETTINGS_FILE, {})
        name = settings.get("tokenizer_class") or tokenizer_class
        build = _build(model_type, name, b'"ByteLevel"' in contents.get(TOKENIZER_FILE, b""))
        files = reading.finish(build, isinstance(model_type, str))
    if reading.problems:
        raise TokenizerFilesError(reading.problems)
    return files


def _build(model_type: object, name: object, byte_level: bool) -> str:
    """Return the key of :data:`REBUILT` by which transformers 5 reads tokenizer.json."""
    rule = _rule(model_type)
    if rule.fixed:
        return rule.default
    name = (name if isinstance(name, str) else rule.default).removesuffix("Fast")
    if name == "LlamaTokenizer" and byte_level:
        return ""
    return name if name in REBUILT else ""


def _rule(model_type: object) -> TokenizerRule:
    """Return the rule of a family; the empty one for an unknown family."""
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    return TokenizerRule() if family is None else family.tokenizer


class _Reading:
    """Reader of the files that collects their problems."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = contents
        self.documents: dict[str, Any] = {}
        self.problems: list[tuple[str, str]] = []

    def read_all(self, model_type: object) -> None:
        """Read every existing file into :attr:`documents`."""
        if TOKENIZER_FILE in self._contents:
            self._read(TOKENIZER_FILE, _tokenizer)
        elif {VOCABULARY_FILE, MERGES_FILE} <= set(self._contents):
            if isinstance(model_type, str) and not _rule(model_type).byte_level:
                self.problems.append(
                    (VOCABULARY_FILE, f"is not a tokenizer of a {model_type}: {_WAY_OUT}")
                )
            self._read(VOCABULARY_FILE, _vocabulary)
            self._text(MERGES_FILE)
        else:
            half = VOCABULARY_FILE in self._contents
            problem = f"has no {MERGES_FILE} next to it" if half else "is missing"
            name = VOCABULARY_FILE if half else TOKENIZER_FILE
            self.problems.append((name, f"{problem}: {_WAY_OUT}"))
        self._read(SETTINGS_FILE, _settings)
        self._read(SPECIAL_FILE, _legacy_tokens)
        self._read(ADDED_FILE, _added_tokens)

    def finish(self, build: str, known_family: bool) -> TokenizerFiles:
        """Return the files with their chat templates and end-of-sequence token.

        With ``known_family``, a missing end-of-sequence token is a problem.
        """
        settings = self.documents.get(SETTINGS_FILE, {})
        eos, index = self._end(settings, build, known_family)
        return TokenizerFiles(build, self.documents, self._templates(settings), eos, index)

    def _read(self, name: str, check: Callable[[Any], Any]) -> None:
        if name not in self._contents:
            return
        try:
            parse = read_json if name == VOCABULARY_FILE else read_object
            self.documents[name] = check(parse(self._contents[name]))
        except ValueError as error:
            self.problems.append((name, str(error)))

    def _text(self, name: str) -> str:
        try:
            self.documents[name] = self._contents[name].decode("utf-8")
        except UnicodeDecodeError:
            self.problems.append((name, "is not UTF-8 text"))
            return ""
        return str(self.documents[name])

    def _templates(self, settings: Mapping[str, Any]) -> dict[str, str]:
        files: dict[str, str] = {}
        for path in filter(is_template_file, self._contents):
            files[path] = self._text(path)
            self.documents.pop(path, None)
        templates: dict[str, str] = {}
        try:
            templates = chat_templates(settings.get("chat_template"), files)
            text = default_template(templates)
            if text is not None and not text.strip():
                raise ValueError("has an empty chat template: remove it, or write one")
        except ValueError as error:
            self.problems.append((next(iter(files), SETTINGS_FILE), str(error)))
        return templates

    def _end(self, settings: Mapping[str, Any], build: str, needed: bool) -> tuple[str, int]:
        """Return the end-of-sequence token and its id."""
        legacy = {} if "added_tokens_decoder" in settings else self.documents.get(SPECIAL_FILE, {})
        named = {**settings, **legacy}
        token = named.get("eos_token", REBUILT.get(build))
        if token is None:
            problem = "names no end-of-sequence token: add eos_token, such as '</s>'"
            self.problems += [(SETTINGS_FILE, problem)] if needed else []
            return "", 0
        text = _content(token)
        index = self._index(text, settings)
        if index is None:
            problem = (
                f"names the end-of-sequence token {describe(text)}, which is not in the vocabulary"
            )
            self.problems.append((SETTINGS_FILE, problem))
        return text, index or 0

    def _index(self, token: str, settings: Mapping[str, Any]) -> int | None:
        for index, added in settings.get("added_tokens_decoder", {}).items():
            if added["content"] == token:
                return int(index)
        tokenizer = self.documents.get(TOKENIZER_FILE)
        if tokenizer is None:
            ids = {**self.documents[VOCABULARY_FILE], **self.documents.get(ADDED_FILE, {})}
            return ids.get(token)
        for added in tokenizer["added_tokens"]:
            if added["content"] == token:
                return int(added["id"])
        vocabulary = tokenizer["model"]["vocab"]
        if isinstance(vocabulary, dict):
            return vocabulary.get(token)
        return next((i for i, piece in enumerate(vocabulary) if piece[0] == token), None)


_WAY_OUT = (
    "save the tokenizer in the one-file form where transformers opens it "
    "(AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes tokenizer.json)"
)


def _tokenizer(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the known parts of tokenizer.json after checking their types."""
    model = document.get("model")
    if not isinstance(model, dict):
        raise ValueError("is not a tokenizer: it has no model")
    kind = model.get("type")
    if kind is not None and kind not in _MODELS:
        raise ValueError(f"has a model of type {describe(kind)}; known: {', '.join(_MODELS)}")
    if isinstance(model.get("vocab"), dict):
        _vocabulary(model["vocab"])
    elif kind in (None, "Unigram"):
        _pieces(model.get("vocab"))
    else:
        raise ValueError("has no vocabulary: model.vocab must be an object of tokens and their ids")
    _merges(model.get("merges", []))
    if model.get("dropout"):
        dropout = describe(model["dropout"])
        raise ValueError(
            f"has model.dropout {dropout}, with which no text has fixed tokens: set it to null"
        )
    parts = {name: document.get(name) for name in _PARTS}
    rest = {name: value for name, value in model.items() if name not in ("vocab", "merges")}
    if is_deep(parts) or is_deep(rest):
        raise ValueError("is nested too deeply")
    for name, part in parts.items():
        if part is not None and not isinstance(part, dict):
            raise ValueError(f"has a {name} that is not an object")
    added = document.get("added_tokens") or []
    if not isinstance(added, list):
        raise ValueError("has added_tokens that are not a list")
    tokens = [{**_whole_token(token), "id": _id(token.get("id"))} for token in added]
    return {"version": "1.0", **parts, "added_tokens": tokens, "model": model}


def _vocabulary(vocabulary: object) -> dict[str, int]:
    if not isinstance(vocabulary, dict) or not vocabulary:
        raise ValueError("has no vocabulary: it must be an object of tokens and their ids")
    if len(vocabulary) > MAX_TOKENS:
        raise ValueError(f"has {len(vocabulary)} tokens, at most {MAX_TOKENS} allowed")
    for index in vocabulary.values():
        _id(index)
    return vocabulary


def _pieces(pieces: object) -> None:
    """Check a Unigram vocabulary: pairs of a token and its score."""
    if not isinstance(pieces, list) or not pieces or len(pieces) > MAX_TOKENS:
        raise ValueError("has no vocabulary: model.vocab must be a list of tokens and their scores")
    for piece in pieces:
        pair = isinstance(piece, list) and len(piece) == 2 and isinstance(piece[0], str)
        if not pair or type(piece[1]) not in (int, float):
            raise ValueError("has a vocabulary with an entry that is not a token and its score")


def _merges(merges: object) -> None:
    if not isinstance(merges, list) or len(merges) > MAX_TOKENS:
        raise ValueError("has merges that are not a list")
    for merge in merges:
        pair = isinstance(merge, list) and [type(part) for part in merge] == [str, str]
        if not (pair or isinstance(merge, str)):
            raise ValueError("has a merge that is not a pair of tokens")


def _id(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**31:
        raise ValueError(
            f"has a token whose id is {describe(value)}: it must be a whole number from 0"
        )
    return value


def _token(token: object) -> dict[str, Any]:
    """Return an added token with its known keys."""
    content = token.get("content") if isinstance(token, dict) else None
    if not isinstance(token, dict) or not isinstance(content, str) or not content:
        raise ValueError("has an added token without content")
    if len(content) > MAX_TOKEN_CHARACTERS:
        raise ValueError(f"has an added token of {len(content)} characters")
    flags = {name: token[name] for name in _TOKEN_FLAGS if token.get(name) is not None}
    if not all(isinstance(flag, bool) for flag in flags.values()):
        raise ValueError(
            f"has an added token {describe(content)} with a flag that is not true or false"
        )
    return {"content": content, **flags}


def _whole_token(fields: object) -> dict[str, Any]:
    """Return an added token with every flag, as tokenizer.json has it."""
    token = _token(fields)
    defaults = {**dict.fromkeys(_TOKEN_FLAGS, False), "normalized": not token.get("special")}
    return {**defaults, **token}


def _content(token: object) -> str:
    return str(token["content"] if isinstance(token, dict) else token)


def _special(name: str, value: object) -> object:
    """Return a special token: text, or an added token as transformers writes it in settings."""
    if isinstance(value, str):
        if not 0 < len(value) <= MAX_TOKEN_CHARACTERS:
            raise ValueError(f"has a {name} of {len(value)} characters")
        return value
    if isinstance(value, dict):
        return _token(value)
    raise ValueError(f"has a {name} that must be text or an added token, not {describe(value)}")


def _special_tokens(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that name special tokens; a null removes a default."""
    tokens: dict[str, Any] = {}
    for name, value in settings.items():
        own = _OWN_NAME.fullmatch(name) and isinstance(value, str | dict)
        if name in SPECIAL_NAMES and value is None:
            tokens[name] = None
        elif name in LISTS:
            tokens[name] = _special_list(name, value)
        elif name in SPECIAL_NAMES or (own and name not in _FLAGS):
            tokens[name] = _special(name, value)
    return tokens


def _marked(token: object) -> object:
    """Return a token of the settings in the spelling that transformers reads back."""
    return {**token, "__type": "AddedToken"} if isinstance(token, dict) else token


def _special_list(name: str, value: object) -> object:
    if value is None:  # Overrides the list of an older file.
        return None
    if isinstance(value, dict):
        return {
            key: _special(name, token) for key, token in value.items() if _OWN_NAME.fullmatch(key)
        }
    if not isinstance(value, list) or len(value) > MAX_TOKENS:
        raise ValueError(f"has {name} that must be a list, not {describe(value)}")
    return [_special(name, token) for token in value]


def _added_tokens(ids: Mapping[str, Any]) -> dict[str, int]:
    return {token: _id(index) for token, index in ids.items() if token}


def _legacy_tokens(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the special tokens of special_tokens_map.json, in the spelling of settings."""
    tokens = _special_tokens(document)
    further = tokens.get("additional_special_tokens")
    if isinstance(further, list):
        tokens["additional_special_tokens"] = [_marked(token) for token in further]
    listed = tokens.get("extra_special_tokens")
    if isinstance(listed, list):
        tokens["extra_special_tokens"] = [
            {key: flag for key, flag in token.items() if key != "special"}
            if isinstance(token, dict)
            else token
            for token in listed
        ]
    return tokens


def _settings(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the allowed settings after checking their types."""
    settings: dict[str, Any] = {}
    for name, value in _special_tokens(document).items():
        if name in LISTS and isinstance(value, list):
            settings[name] = [_marked(token) for token in value]
        elif name in LISTS and isinstance(value, dict):
            settings[name] = {key: _marked(token) for key, token in value.items()}
        else:
            settings[name] = _marked(value)
    for name in (*_FLAGS, *_LENGTHS, *_SIDES, "tokenizer_class", "chat_template"):
        if document.get(name) is not None:
            settings[name] = _setting(name, document[name])
    if settings.get("split_special_tokens"):
        raise ValueError(
            "has split_special_tokens true, with which chat templates and answers have no special "
            "tokens: remove it (prompts and answers that spell one stay text without it)"
        )
    decoder = document.get("added_tokens_decoder")
    if decoder is not None:
        settings["added_tokens_decoder"] = _decoder(decoder)
    return settings


def _setting(name: str, value: object) -> object:
    if name in _FLAGS:
        fits, form = isinstance(value, bool), "true or false"
    elif name in _LENGTHS:
        fits = type(value) in (int, float) and 1 <= value <= 10**31  # type: ignore[operator]
        form = "a number from 1"
    elif name in _SIDES:
        fits, form = value in ("left", "right"), "'left' or 'right'"
    elif name == "chat_template":
        chat_templates(value, {})
        return value
    else:
        fits, form = isinstance(value, str), "text"
    if not fits:
        raise ValueError(f"has {name} {describe(value)}, which must be {form}")
    return value


def _decoder(decoder: object) -> dict[str, Any]:
    if not isinstance(decoder, dict):
        raise ValueError("has an added_tokens_decoder that is not an object")
    for index in decoder:
        if not re.fullmatch(r"\d{1,10}", index, re.ASCII):
            raise ValueError(f"has an added_tokens_decoder with the id {describe(index)}")
    return {index: _token(token) for index, token in decoder.items()}
