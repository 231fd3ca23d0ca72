"""Check of a model folder, the same for imports and for stages.

It reads the small files and the headers of the weights, never a tensor, and reports every problem
as a predicate ("is not JSON") with its file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tailrace.formats.model import safetensors_header
from tailrace.formats.model.adapter import (
    CONFIG_NAME,
    UNMERGED_CONFIG,
    UNMERGED_FOLDER,
    UNMERGED_WEIGHTS,
    WEIGHTS_NAME,
    adapter_tensor_problems,
    read_adapter_config,
)
from tailrace.formats.model.config import end_token_ids, read_model_config
from tailrace.formats.model.families import FAMILIES
from tailrace.formats.model.files import GENERATION_FILE, is_tokenizer_file, read_documents
from tailrace.formats.model.folder import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    WEIGHTS_INDEX,
    is_weight_file,
    weight_places,
)
from tailrace.formats.model.safetensors_header import PREFIX_BYTES, Entry
from tailrace.formats.model.tensors import (
    FLOATS,
    expected_shapes,
    tensor_problems,
    tied_pair,
)
from tailrace.formats.model.tokenizer_files import (
    TokenizerFiles,
    TokenizerFilesError,
    read_tokenizer,
)
from tailrace.formats.outside_json import read_object
from tailrace.formats.wording import name_text

T = TypeVar("T")

BEGINNING_BYTES = 128
"""Leading bytes by which another kind of file is recognised."""


@dataclass(frozen=True)
class ModelFiles:
    """A model folder without its tensors."""

    sizes: Mapping[str, int]
    """Size of every file in bytes, by path."""
    documents: Mapping[str, bytes]
    """Content of the small files (:func:`tailrace.formats.model.files.document_limit`)."""
    headers: Mapping[str, bytes]
    """Leading bytes of every weight file, up to the end of its header."""


@dataclass(frozen=True)
class TensorPlace:
    """Location of a tensor's bytes."""

    path: str
    """Path of the file."""
    start: int
    """Offset of its first byte in the file."""
    size: int
    """Length in bytes."""


@dataclass
class ModelFindings:
    """Findings of the check."""

    problems: list[tuple[str | None, str]] = field(default_factory=list)
    """Every problem: its file (None: the folder) and a predicate."""
    architecture: str = ""
    """``architectures[0]``, or the family's usual one."""
    equal: tuple[TensorPlace, TensorPlace] | None = None
    """Two tensors whose bytes must be equal; otherwise ``TIED_PROBLEM`` holds."""
    values: dict[str, tuple[str, TensorPlace]] = field(default_factory=dict)
    """Type and location of every loaded tensor; all their values must be finite."""
    tokenizer: TokenizerFiles | None = None
    """The checked tokenizer files."""


def check_model(files: ModelFiles) -> ModelFindings:
    """Check a whole folder: configuration, weights and tokenizer."""
    check = _Check(files)
    check.config()
    check.weights()
    check.adapter()
    check.tokenizer()
    return check.findings


def check_weights(files: ModelFiles) -> ModelFindings:
    """Check the configuration and the weights alone."""
    check = _Check(files)
    check.config()
    check.weights()
    check.adapter()
    return check.findings


def read_folder(folder: Path) -> ModelFiles:
    """Read what the check needs of a folder.

    Raises:
        ValueError: A small file is above its limit.
        OSError: A file cannot be read.
    """
    paths = [path for path in sorted(folder.iterdir()) if path.is_file()]
    sizes = {path.name: path.stat().st_size for path in paths}
    documents = read_documents(folder, lambda _: True)
    headers = {
        path.name: _beginning(path, sizes[path.name]) for path in paths if is_weight_file(path.name)
    }
    adapter = folder / UNMERGED_WEIGHTS
    if adapter.is_file():
        sizes[UNMERGED_WEIGHTS] = adapter.stat().st_size
        headers[UNMERGED_WEIGHTS] = _beginning(adapter, sizes[UNMERGED_WEIGHTS])
    return ModelFiles(sizes, documents, headers)


def _beginning(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        prefix = file.read(PREFIX_BYTES)
        try:
            length = safetensors_header.header_length(prefix, size)
        except ValueError:
            return prefix + file.read(BEGINNING_BYTES)  # The check names its kind.
        return prefix + file.read(length)


class _Check:
    def __init__(self, files: ModelFiles) -> None:
        self._files = files
        self.findings = ModelFindings()
        self._config: dict[str, Any] | None = None
        self._vocabulary = 0

    def config(self) -> None:
        """Check config.json and generation_config.json."""
        config = self._object(CONFIG_FILE)
        if config is None:
            return
        try:
            values = read_model_config(config)
        except ValueError as error:
            self._wrong(CONFIG_FILE, f"cannot be used: {error}")
        else:
            self._vocabulary = FAMILIES[config["model_type"]].dimensions(values).vocabulary
            self._config = config
            self.findings.architecture = architecture(config)
        for name in (CONFIG_FILE, GENERATION_FILE):
            document = self._object(name) if name != CONFIG_FILE else config
            if document is not None:
                self._ends(name, document.get("eos_token_id"))

    def weights(self) -> None:
        """Check every weight file, and compare the tensors with those of the model."""
        unread = set(filter(is_weight_file, self._files.sizes)) - set(self._files.headers)
        if unread:
            self._wrong(None, "the headers of its weight files are too long")
            return
        headers = {p: self._header(p) for p in sorted(self._files.headers) if is_weight_file(p)}
        entries = self._placed(headers)
        if self._config is None or entries is None or None in headers.values():
            return
        tensors = {name: entry.tensor for name, (_, entry) in entries.items()}
        family, shapes = FAMILIES[self._config["model_type"]], expected_shapes(self._config)
        problem = tensor_problems(family, shapes, tensors)
        if problem:
            self._wrong(None, f"the weights do not fit {CONFIG_FILE}: {problem}")
            return
        self.findings.values = {
            name: (entry.tensor.dtype, self._place(path, entry))
            for name, (path, entry) in entries.items()
            if entry.tensor.dtype in FLOATS
        }
        pair = tied_pair(family, shapes, tensors)
        if pair is not None:
            first, second = (self._place(*entries[name]) for name in pair)
            self.findings.equal = (first, second)

    def adapter(self) -> None:
        """Check the adapter in the folder, if it has one."""
        present = [
            UNMERGED_CONFIG in self._files.documents,
            UNMERGED_WEIGHTS in self._files.headers,
        ]
        if not any(present):
            return
        if not all(present):
            self._wrong(None, f"{UNMERGED_FOLDER} needs {CONFIG_NAME} and {WEIGHTS_NAME}")
            return
        content = self._object(UNMERGED_CONFIG)
        entries = self._header(UNMERGED_WEIGHTS)
        if content is None or entries is None:
            return
        settings = self._try(UNMERGED_CONFIG, lambda: read_adapter_config(content))
        if settings is None or self._config is None:
            return
        tensors = {name: entry.tensor for name, entry in entries.items()}
        family, shapes = FAMILIES[self._config["model_type"]], expected_shapes(self._config)
        tables = {name for name in shapes if family.is_table(name)}
        problem = adapter_tensor_problems(
            settings, tensors, shapes, tables, transposed=family.transposed
        )
        if problem:
            self._wrong(UNMERGED_WEIGHTS, f"does not fit the base model: {problem}")
            return
        for name, entry in entries.items():
            place = self._place(UNMERGED_WEIGHTS, entry)
            self.findings.values[name] = (entry.tensor.dtype, place)

    def tokenizer(self) -> None:
        """Check the tokenizer files and that the model embeds the end of a sequence."""
        contents = {
            path: content
            for path, content in self._files.documents.items()
            if is_tokenizer_file(path)
        }
        config = self._config or {}
        try:
            tokenizer = read_tokenizer(
                contents, config.get("model_type"), config.get("tokenizer_class")
            )
        except TokenizerFilesError as error:
            for name, problem in error.problems:
                self._wrong(name, problem)
            return
        self.findings.tokenizer = tokenizer
        problem = unembedded_end(tokenizer, self._vocabulary) if self._config else ""
        if problem:
            self._wrong(None, problem)

    def _object(self, name: str) -> dict[str, Any] | None:
        content = self._files.documents.get(name)
        return None if content is None else self._try(name, lambda: read_object(content))

    def _header(self, path: str) -> dict[str, Entry] | None:
        content, size = self._files.headers[path], self._files.sizes[path]

        def read() -> dict[str, Entry]:
            length = safetensors_header.header_length(content, size)
            header = content[PREFIX_BYTES : PREFIX_BYTES + length]
            return safetensors_header.read_header(header, size)

        return self._try(path, read)

    def _placed(
        self, headers: Mapping[str, dict[str, Entry] | None]
    ) -> dict[str, tuple[str, Entry]] | None:
        """Return the loaded tensors by name, each with its file as the index names it."""
        if WEIGHTS_FILE in headers:
            entries = headers[WEIGHTS_FILE] or {}
            return {name: (WEIGHTS_FILE, entry) for name, entry in entries.items()}
        content = self._files.documents.get(WEIGHTS_INDEX)
        if content is None:
            return None
        places = self._try(WEIGHTS_INDEX, lambda: weight_places(read_object(content)))
        if places is None:
            return None
        missing = sorted(set(places.values()) - set(headers))
        if missing:
            self._wrong(WEIGHTS_INDEX, f"names files that do not exist: {_some(missing)}")
            return None
        sound = {path: entries for path, entries in headers.items() if entries is not None}
        wrong = [
            f"{name_text(name)} in {path}"
            for name, path in places.items()
            if path in sound and name not in sound[path]
        ]
        if wrong:
            problem = f"places tensors in files without them: {_some(wrong)}: write the index again"
            self._wrong(WEIGHTS_INDEX, problem)
            return None
        return {name: (path, sound[path][name]) for name, path in places.items() if path in sound}

    def _place(self, path: str, entry: Entry) -> TensorPlace:
        length = int.from_bytes(self._files.headers[path][:PREFIX_BYTES], "little")
        start = PREFIX_BYTES + length + entry.start
        return TensorPlace(path, start, entry.end - entry.start)

    def _ends(self, name: str, value: object) -> None:
        self._try(name, lambda: end_token_ids(value), "cannot be used: ")

    def _try(self, name: str, read: Callable[[], T], prefix: str = "") -> T | None:
        try:
            return read()
        except ValueError as error:
            self._wrong(name, f"{prefix}{error}")
            return None

    def _wrong(self, name: str | None, problem: str) -> None:
        self.findings.problems.append((name, problem))


def unembedded_end(tokenizer: TokenizerFiles, vocabulary: int) -> str:
    """Return the problem of an end-of-sequence token outside the vocabulary; empty otherwise."""
    if tokenizer.eos_token_id < vocabulary:
        return ""
    return (
        f"the end-of-sequence token {tokenizer.eos_token!r} is token {tokenizer.eos_token_id}, but "
        f"the model embeds {vocabulary} tokens only: take the tokenizer that belongs to the model, "
        "or resize its embedding"
    )


def architecture(config: Mapping[str, Any]) -> str:
    """Return ``architectures[0]`` of a checked config.json, or the family's usual class."""
    names = config.get("architectures")
    first = names[0] if isinstance(names, list) and names else None
    valid = isinstance(first, str) and first.isidentifier() and first.isascii()
    default = FAMILIES[config["model_type"]].class_name
    return str(first) if valid and len(str(first)) <= 128 else default


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
