"""YAML and JSON files as plain data: no code, no duplicate keys, errors in plain words."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from tailrace.formats.model.chat_template import is_template_text
from tailrace.formats.schema import SpecError, Violation
from tailrace.formats.spec.model_spec import MAX_TEMPLATE_TEXT
from tailrace.formats.wording import describe

MAX_BYTES = 1 << 20
"""Largest file in bytes; YAML is parsed at about 100 kB/s."""

_TEMPLATE = ".jinja"
"""Ending of files with a chat template."""


class SpecFileError(SpecError):
    """Error of a file as a whole rather than of its fields: not text, not YAML, empty."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__([Violation(where, problem)])
        self.where = where
        """Path of the file."""
        self.problem = problem
        """Description of the error, as a predicate: ``is empty``."""


def read_file(path: Path) -> dict[str, Any]:
    """Return the keys and values of a file: JSON (``.json``), else YAML.

    Raises:
        SpecFileError: The file is not a mapping in this format.
        OSError: The file cannot be read.
        ImportError: YAML is not installed.
    """
    where = str(path)
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise SpecFileError(where, f"is larger than {MAX_BYTES:,} bytes: it is not a run file")
    try:
        # utf-8-sig: editors on Windows put a byte order mark in front.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecFileError(where, f"is not UTF-8 text (byte {error.start + 1})") from error
    try:
        data = _json(text) if path.suffix == ".json" and text.strip() else parse_yaml(text)
    except ValueError as error:
        raise SpecFileError(where, str(error)) from error
    if data is None:
        raise SpecFileError(where, "is empty: it needs keys such as model, dataset and train")
    if not isinstance(data, dict):
        raise SpecFileError(where, f"holds {describe(data)}, not keys such as model and train")
    return data


def read_template(content: dict[str, Any], folder: Path) -> None:
    """Replace the path of a template in ``model.chat_template`` with the file's text.

    Args:
        content: Content of a run file or a training configuration.
        folder: Folder of that file, which relative paths begin at.

    Raises:
        SpecError: The file cannot be read, or is not a template.
    """
    model = content.get("model")
    name = model.get("chat_template") if isinstance(model, dict) else None
    if not isinstance(name, str) or not name.endswith(_TEMPLATE) or is_template_text(name):
        return
    path = folder / name
    try:
        with path.open("rb") as file:
            # A character has at most four bytes.
            text = file.read(4 * MAX_TEMPLATE_TEXT + 1).decode("utf-8-sig")
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}; relative paths begin at {folder}"
    except UnicodeDecodeError as error:
        problem = f"{path} is not UTF-8 text (byte {error.start + 1})"
    else:
        if len(text) > MAX_TEMPLATE_TEXT:
            problem = f"{path} is longer than {MAX_TEMPLATE_TEXT:,} characters"
        elif not is_template_text(text):
            problem = f"{path} is not a template: it has neither {{{{ nor {{%"
        else:
            content["model"] = {**content["model"], "chat_template": text}
            return
    raise SpecError([Violation("model.chat_template", problem)])


def parse_yaml(text: str) -> Any:
    """Return the plain data of YAML text.

    Raises:
        ValueError: It is not YAML; the message names the error and its line.
        ImportError: YAML is not installed.
    """
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise ImportError('YAML run files need PyYAML: pip install "tailrace[cli]"') from error
    from tailrace.yaml_loader import load

    try:
        return load(text)
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"is not YAML: {_marked(error)}") from error
    except yaml.reader.ReaderError as error:
        place = f"character {error.position + 1}"
        raise ValueError(f"is not YAML: {place} is a control character") from error
    except RecursionError as error:
        raise ValueError("is not YAML: it is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"is not YAML: {_number(error)}") from error


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"is not JSON: {error.msg} ({place})") from error
    except RecursionError as error:
        raise ValueError("is not JSON: it is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"is not JSON: {_number(error)}") from error


def _marked(error: Any) -> str:
    """Return a YAML error and its position on one line."""
    problem = str(error.problem or error.context or "it is damaged")
    tag = re.search(r"constructor for the tag '([^']*)'", problem)
    if tag:
        problem = f"the tag {tag[1]} is not allowed, plain values are"
    mark = error.problem_mark or error.context_mark
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark else problem


def _number(error: ValueError) -> str:
    """Return the message of a value's parser; Python's limit on digits is put into words."""
    return "it holds a number with thousands of digits" if "digits" in str(error) else str(error)


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        (duplicate, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the key {describe(duplicate)} occurs twice")
    return mapping
