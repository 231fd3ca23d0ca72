"""Loader of YAML 1.2 values, bounded in size and without ambiguous spellings.

PyYAML reads YAML 1.1, in which ``010`` is 8, ``1:30`` is 90, ``no`` is false and ``2026-01-01`` is
a date. Here they are read as written, or refused if ambiguous.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.constructor import ConstructorError

MAX_VALUES = 100_000
"""Maximum number of values of a file, with every alias and merge written out."""

MAX_DEPTH = 60
"""Maximum depth of nested lists and mappings."""

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_ALLOWED = frozenset(
    _TAG + name for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")
)
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_PREFIXED = re.compile(r"0(o[0-7]+|x[0-9a-fA-F]+)")


def load(text: str) -> Any:
    """Return the plain data of a document.

    Raises:
        yaml.YAMLError: The text is not YAML, or not plain data.
        ValueError: The document is too large once written out, or ambiguous.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _Bounds().check(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """Loader of plain data with the scalars of YAML 1.2, text as keys and no duplicate keys."""

    # The base class has those of YAML 1.1.
    yaml_implicit_resolvers: dict[str, Any] = {}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._flattened: set[int] = set()
        self._composed = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return the next node, and stop at too many values."""
        self._composed += 1
        if self._composed > MAX_VALUES:
            raise ValueError(f"it has more than {MAX_VALUES:,} values")
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag not in _ALLOWED:
            problem = f"the tag {node.tag} is not allowed, plain values are"
            raise ConstructorError(None, None, problem, node.start_mark)
        return super().construct_object(node, deep=deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse keys that are not text or occur twice, then apply merges."""
        if id(node) in self._flattened:
            # A second pass would take keys that replace merged ones for duplicates.
            return
        self._flattened.add(id(node))
        names = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ValueError(f"a key must be text {_at(key)}")
            if key.tag == _MERGE:
                continue
            if key.value in names:
                raise ValueError(f"the key {key.value[:80]!r} occurs twice {_at(key)}")
            names.add(key.value)
            # A key is a name, even if it looks like a number.
            key.tag = f"{_TAG}str"
        super().flatten_mapping(node)

    def construct_int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        if _PREFIXED.fullmatch(text):
            return int(text, 0)
        if not _DECIMAL.fullmatch(text):
            bare = text.lstrip("+-").replace("_", "").lstrip("0") or "0"
            raise ValueError(
                f"{text[:40]} may be octal or decimal: write {bare[:40]}, 0o{bare[:40]} or "
                f"'{text[:40]}' {_at(node)}"
            )
        return int(text.replace("_", ""))


_Loader.add_constructor(f"{_TAG}int", _Loader.construct_int)
for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", "<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"(?:{_pattern})$"), _first)


RESOLVERS: dict[str, Any] = _Loader.yaml_implicit_resolvers
"""Patterns of plain scalars that are not text, by their first character."""


class _Bounds:
    """Counter of a document's values with aliases written out; it visits each node once."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def check(self, node: yaml.Node) -> None:
        """Raise ``ValueError`` for a document that is too large, too deep or endless."""
        self._size(node, 1)

    def _size(self, node: yaml.Node, depth: int) -> int:
        if id(node) in self._open:
            raise ValueError(f"an alias contains itself {_at(node)}")
        if depth > MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        earlier_size = self._sizes.get(id(node))
        if earlier_size is not None:
            return earlier_size
        self._open.add(id(node))
        size = 1
        for child in _children(node):
            size += self._size(child, depth + 1)
            if size > MAX_VALUES:
                raise ValueError(
                    f"with its aliases written out it has more than {MAX_VALUES:,} values "
                    f"{_at(node)}"
                )
        self._open.discard(id(node))
        self._sizes[id(node)] = size
        return size


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _at(node: yaml.Node) -> str:
    return f"(line {node.start_mark.line + 1}, column {node.start_mark.column + 1})"
