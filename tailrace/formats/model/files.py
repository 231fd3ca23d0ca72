"""Small files of a model folder, read before its weights, with their limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from tailrace.formats.model.adapter import UNMERGED_CONFIG
from tailrace.formats.model.chat_template import TEMPLATE_FILE, TEMPLATE_FOLDER, is_template_file
from tailrace.formats.model.folder import CONFIG_FILE, WEIGHTS_INDEX
from tailrace.formats.model.tokenizer_files import (
    ADDED_FILE,
    FILES,
    MERGES_FILE,
    SETTINGS_FILE,
    SPECIAL_FILE,
    TOKENIZER_FILE,
    VOCABULARY_FILE,
)

GENERATION_FILE = "generation_config.json"
"""File of generation settings, which not every folder has."""

MAX_TEMPLATES = 20
"""Largest number of chat templates."""

_MEGABYTE = 1 << 20
_LIMITS = {
    WEIGHTS_INDEX: 4 * _MEGABYTE,
    TOKENIZER_FILE: 32 * _MEGABYTE,
    VOCABULARY_FILE: 8 * _MEGABYTE,
    MERGES_FILE: 8 * _MEGABYTE,
    **dict.fromkeys((CONFIG_FILE, GENERATION_FILE, SPECIAL_FILE, UNMERGED_CONFIG), _MEGABYTE),
    **dict.fromkeys((ADDED_FILE, SETTINGS_FILE), 4 * _MEGABYTE),
}
_TEMPLATE_BYTES = 256 << 10


def document_limit(path: str) -> int | None:
    """Return the largest size of a file in bytes; None for one that is not read as a whole."""
    return _TEMPLATE_BYTES if is_template_file(path) else _LIMITS.get(path)


def is_tokenizer_file(path: str) -> bool:
    """Return True if a tokenizer is built from a file of this name."""
    return path in FILES or is_template_file(path)


def size_problem(path: str, size: int) -> str:
    """Return the predicate for a file above its limit; empty otherwise."""
    limit = document_limit(path)
    if limit is None or size <= limit:
        return ""
    return f"has {size} bytes, at most {limit} allowed"


def read_documents(folder: Path, select: Callable[[str], bool]) -> dict[str, bytes]:
    """Return the selected small files of a folder, by path.

    Raises:
        ValueError: One is above its limit, or there are too many chat templates.
        OSError: One cannot be read.
    """
    contents: dict[str, bytes] = {}
    for path in _present(folder):
        if not select(path):
            continue
        problem = size_problem(path, (folder / path).stat().st_size)
        if problem:
            raise ValueError(f"{path} {problem}")
        contents[path] = (folder / path).read_bytes()
    if sum(map(is_template_file, contents)) > MAX_TEMPLATES:
        raise ValueError(f"there are more than {MAX_TEMPLATES} chat templates")
    return contents


def _present(folder: Path) -> Iterable[str]:
    for name in (*_LIMITS, TEMPLATE_FILE):
        if (folder / name).is_file():
            yield name
    for place in sorted((folder / TEMPLATE_FOLDER).glob("*.jinja")):
        if place.is_file():
            yield f"{TEMPLATE_FOLDER}/{place.name}"
