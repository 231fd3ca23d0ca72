"""JSON documents from outside, read with limits; errors name the way out."""

from __future__ import annotations

import json
from collections.abc import Iterable

MAX_DIGITS = 40
"""Maximum number of digits of a whole number; tokenizers write ``model_max_length`` with 31."""

MAX_FLOAT_CHARACTERS = 400
"""Maximum length of a number with a fraction, in characters."""

MAX_DEPTH = 32
"""Maximum nesting depth of a value that is passed on."""

LFS_POINTER = b"version https://git-lfs"
"""First bytes of a Git LFS pointer, which replaces a file in a clone without Git LFS."""


def read_json(content: bytes) -> object:
    """Parse a document; the last one of repeated keys counts, as in transformers.

    Raises:
        ValueError: The content is not JSON in UTF-8, or a number is too long; the message is a
            predicate such as "is not JSON".
    """
    problem = kind_problem(content)
    if problem:
        raise ValueError(problem)
    try:
        return _DECODER.decode(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError("is not JSON: it is not UTF-8 text") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"is not JSON: {error.msg} ({place})") from error
    except RecursionError as error:
        raise ValueError("is not JSON that can be read: it is nested too deeply") from error


def next_json(text: str, start: int) -> tuple[object, int]:
    """Parse the value that begins at a position of a text; return it and the position after it.

    Raises:
        ValueError: No JSON value begins there, or a number is too long; as :func:`read_json`.
    """
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} (character {error.pos})") from error
    except RecursionError as error:
        raise ValueError("is not JSON that can be read: it is nested too deeply") from error


def read_object(content: bytes) -> dict[str, object]:
    """Parse a document that must be an object.

    Raises:
        ValueError: See :func:`read_json`, or the document is not an object.
    """
    document = read_json(content)
    if not isinstance(document, dict):
        raise ValueError("must hold a JSON object")
    return document


def kind_problem(content: bytes) -> str:
    """Return a predicate for content that is evidently something else; empty for other content."""
    if not content.strip():
        return "is empty"
    if content.startswith(LFS_POINTER):
        return "is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"
    if content.startswith(b"\xef\xbb\xbf"):
        return "begins with a byte order mark: save it as UTF-8 without one"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "is UTF-16 text: save it as UTF-8"
    if content.startswith(b"\x1f\x8b"):
        return "is compressed with gzip: unpack it"
    return ""


def is_deep(data: object) -> bool:
    """Return True for a parsed value that is nested more than :data:`MAX_DEPTH` levels deep."""
    level: list[object] = [data]
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _inner(value)]
        if not level:
            return False
    return True


def _inner(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(
            f"has a whole number of {len(digits)} digits, at most {MAX_DIGITS} allowed"
        )
    return int(digits)


def _fraction(text: str) -> float:
    if len(text) > MAX_FLOAT_CHARACTERS:
        raise ValueError(f"has a number of {len(text)} characters")
    return float(text)


def _no_constant(name: str) -> float:
    raise ValueError(f"is not JSON: {name} is not a JSON number")


_DECODER = json.JSONDecoder(parse_int=_whole, parse_float=_fraction, parse_constant=_no_constant)
