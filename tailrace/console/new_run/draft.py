"""A run spec while it is edited: the texts of a form's fields, which may be wrong or missing.

A draft has the schema's structure: a block is a mapping, a list of blocks a list, and every other
value the text of its field. It converts to plain data and back without loss; the schema checks the
plain data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tailrace.formats.json_value import is_encodable
from tailrace.formats.schema import SpecError, Violation
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.formats.spec.schema_keys import KeyForm, SchemaKey, schema_keys
from tailrace.formats.wording import describe
from tailrace.spec_file import parse_yaml
from tailrace.yaml_dumper import dump

Draft = dict[str, Any]
"""Texts by key; a block is a draft, a list of blocks a list of drafts."""

LONG_TEXT = 1000
"""Length from which on a text has a field of several lines."""

_INTEGER = re.compile(r"[-+]?[0-9]{1,40}")
_ENTRY = re.compile(r"(.+)\[([0-9]{1,4})\]")
_NUMERIC = (KeyForm.INTEGER, KeyForm.NUMBER, KeyForm.DURATION)


def is_long(key: SchemaKey) -> bool:
    """Return True if a text has a field of several lines."""
    return key.form is KeyForm.TEXT and (key.rule.max_length or 0) > LONG_TEXT


def from_fields(fields: Iterable[tuple[str, str]]) -> Draft:
    """Return the draft of a form's fields, named by path: ``train.epochs``, ``judges[0].name``.

    A block that is present has a field with its path.
    """
    texts = dict(fields)
    return _read_block(RunSpec, "", texts, _indices(texts))


def _indices(texts: Mapping[str, str]) -> dict[str, list[int]]:
    """Return the indices of the blocks of each list that a form has."""
    indices: dict[str, list[int]] = {}
    for path in texts:
        if match := _ENTRY.fullmatch(path):
            indices.setdefault(match[1], []).append(int(match[2]))
    return {path: sorted(numbers) for path, numbers in indices.items()}


def _read_block(
    schema: type[Any], path: str, texts: Mapping[str, str], indices: Mapping[str, list[int]]
) -> Draft:
    draft: Draft = {}
    for key in schema_keys(schema):
        where = f"{path}.{key.name}" if path else key.name
        if key.form is KeyForm.BLOCKS and key.schema is not None:
            places = [f"{where}[{index}]" for index in indices.get(where, [])]
            draft[key.name] = [_read_block(key.schema, place, texts, indices) for place in places]
        elif key.schema is not None:
            if where in texts or not key.is_optional_block:
                draft[key.name] = _read_block(key.schema, where, texts, indices)
        elif texts.get(where):
            # Browsers send line ends of texts as CR LF.
            draft[key.name] = texts[where].replace("\r\n", "\n")
    return draft


def add_block(draft: Draft, path: str) -> None:
    """Add an absent block, or one more block of a list, with no field set.

    Raises:
        KeyError: There is no such block, or the draft lacks the block around it.
    """
    block, key = _place(draft, path)
    if key.form is KeyForm.BLOCKS and key.schema is not None:
        entries = block.setdefault(key.name, [])
        if len(entries) < (key.rule.max_length or 0):
            entries.append(_empty(key.schema))
    elif key.is_optional_block and key.schema is not None:
        block.setdefault(key.name, _empty(key.schema))
    else:
        raise KeyError(path)


def remove_block(draft: Draft, path: str) -> None:
    """Remove a block with all its fields; a missing one stays missing.

    Raises:
        KeyError: There is no such block, or the draft lacks the block around it.
    """
    entry = _ENTRY.fullmatch(path)
    block, key = _place(draft, entry[1] if entry else path)
    if entry is None and key.is_optional_block:
        block.pop(key.name, None)
    elif entry is not None and key.form is KeyForm.BLOCKS:
        entries = block.get(key.name, [])
        del entries[int(entry[2]) : int(entry[2]) + 1]
    else:
        raise KeyError(path)


def _empty(schema: type[Any]) -> Draft:
    """Return the draft of a block without a value: it has the blocks that it cannot be without."""
    return {
        key.name: _empty(key.schema)
        for key in schema_keys(schema)
        if key.form is KeyForm.BLOCK and not key.is_optional_block and key.schema is not None
    }


def _place(draft: Draft, path: str) -> tuple[Draft, SchemaKey]:
    """Return the draft of the block around a key, and the key; ``KeyError`` if there is none."""
    *outer, name = path.split(".")
    schema: type[Any] = RunSpec
    for step in outer:
        entry = _ENTRY.fullmatch(step)
        key = _key(schema, entry[1] if entry else step)
        value = draft[key.name]
        if entry is not None and key.form is KeyForm.BLOCKS and int(entry[2]) < len(value):
            value = value[int(entry[2])]
        if key.schema is None or not isinstance(value, dict):
            raise KeyError(path)
        draft, schema = value, key.schema
    return draft, _key(schema, name)


def _key(schema: type[Any], name: str) -> SchemaKey:
    keys = {key.name: key for key in schema_keys(schema)}
    return keys[name]


def to_plain(draft: Draft) -> tuple[dict[str, Any], list[Violation]]:
    """Return the plain data of a draft, and the violations of fields that hold no value at all."""
    violations: list[Violation] = []
    return _plain_block(RunSpec, "", draft, violations), violations


def _plain_block(
    schema: type[Any], path: str, draft: Draft, out: list[Violation]
) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key in schema_keys(schema):
        where = f"{path}.{key.name}" if path else key.name
        value = draft.get(key.name)
        if key.form is KeyForm.BLOCKS and key.schema is not None:
            blocks = [
                _plain_block(key.schema, f"{where}[{index}]", block, out)
                for index, block in enumerate(value or [])
            ]
            if blocks:
                plain[key.name] = blocks
        elif key.schema is not None:
            block = None if value is None else _plain_block(key.schema, where, value, out)
            if block or (block is not None and key.is_optional_block):
                plain[key.name] = block
        elif value:
            plain[key.name] = _value(key, where, value, out)
    return plain


def _value(key: SchemaKey, path: str, text: str, out: list[Violation]) -> Any:
    if key.form in _NUMERIC:
        return _number(text.strip())
    if key.form is KeyForm.SWITCH:
        return {"true": True, "false": False}.get(text, text)
    if key.form is KeyForm.TEXTS:
        return [_unquoted(line, is_line=True) for line in text.split("\n") if line.strip()]
    if key.form is KeyForm.MAPPING:
        try:
            return parse_yaml(text)
        except ValueError as error:
            out.append(Violation(path, str(error)))
            return text
    return _unquoted(text, is_line=not is_long(key))


def _number(text: str) -> Any:
    if _INTEGER.fullmatch(text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def _needs_quotes(text: str, is_line: bool) -> bool:
    """Return True if a field would not keep a text."""
    if "\r" in text or text.startswith('"') or not is_encodable(text):
        return True
    return is_line and ("\n" in text or text != text.strip())


def _unquoted(text: str, *, is_line: bool) -> str:
    """Return the text of a field; a JSON string stands for a text that a field cannot hold."""
    text = text.strip() if is_line else text
    if text.startswith('"'):
        try:
            value = json.loads(text)
        except ValueError:
            return text
        if isinstance(value, str) and _needs_quotes(value, is_line):
            return value
    return text


def _quoted(text: str, *, is_line: bool) -> str:
    """Return the text of the field that :func:`_unquoted` reads as ``text``."""
    has_form = "\r" not in text and not (is_line and "\n" in text) and is_encodable(text)
    if has_form and _unquoted(text, is_line=is_line) == text:
        return text
    return json.dumps(text, ensure_ascii=not is_encodable(text))


def from_plain(plain: Mapping[str, Any]) -> Draft:
    """Return the draft of plain data, such as that of a run file.

    Raises:
        SpecError: Every key that no field of the form can show: an unknown one, or one whose value
            has another structure.
    """
    violations: list[Violation] = []
    draft = _draft_block(RunSpec, "", plain, violations)
    if violations:
        raise SpecError(violations)
    return draft


def _draft_block(schema: type[Any], path: str, plain: Any, out: list[Violation]) -> Draft:
    if not isinstance(plain, Mapping):
        out.append(Violation(path or "(root)", f"must be a mapping, not {describe(plain)}"))
        return {}
    keys = {key.name: key for key in schema_keys(schema)}
    draft: Draft = {}
    for name, value in plain.items():
        where = f"{path}.{name}" if path else str(name)
        key = keys.get(name)
        if key is None:
            out.append(Violation(where, "is not a known key"))
        elif value is not None:
            draft[name] = _draft_value(key, where, value, out)
    return _empty(schema) | draft


def _draft_value(key: SchemaKey, path: str, value: Any, out: list[Violation]) -> Any:
    if key.form is KeyForm.BLOCK and key.schema is not None:
        return _draft_block(key.schema, path, value, out)
    if key.form in (KeyForm.BLOCKS, KeyForm.TEXTS) and not isinstance(value, list):
        out.append(Violation(path, f"must be a list, not {describe(value)}"))
        return ""
    if key.form is KeyForm.BLOCKS and key.schema is not None:
        return [
            _draft_block(key.schema, f"{path}[{index}]", block, out)
            for index, block in enumerate(value)
        ]
    return _field_text(key, path, value, out)


def _field_text(key: SchemaKey, path: str, value: Any, out: list[Violation]) -> str:
    """Return the text of the field that :func:`_value` reads as ``value``."""
    text: str | None = None
    if key.form is KeyForm.MAPPING:
        text = dump(value)
    elif key.form is KeyForm.TEXTS:
        if all(isinstance(entry, str) and entry for entry in value):
            text = "\n".join(_quoted(entry, is_line=True) for entry in value)
    elif key.form is KeyForm.SWITCH:
        text = {True: "true", False: "false"}.get(value, value) if _is_scalar(value) else None
    elif key.form in _NUMERIC and isinstance(value, (int, float)) and not isinstance(value, bool):
        text = str(value) if isinstance(value, int) else repr(value)
    elif isinstance(value, str):
        text = _quoted(value, is_line=not is_long(key))
    if not isinstance(text, str):
        out.append(Violation(path, f"cannot be {describe(value)}"))
        return ""
    return text


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (str, bool))
