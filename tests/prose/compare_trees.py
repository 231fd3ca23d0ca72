"""Comparison of two versions of a file by what remains without its prose."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import zip_longest

_COMMENTS = re.compile(
    r'("(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\')|//[^\n]*|/\*.*?\*/', re.DOTALL
)
_PROTO_TOKEN = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|[\w.]+|\S')
_KEY = re.compile(r"|\S*[^\s.]")


def compare_words(old: str, new: str) -> str | None:
    """Return the first difference that is not a docstring or a comment."""
    return _first_difference(without_docstrings(old), without_docstrings(new), strings=False)


def compare_strings(old: str, new: str) -> str | None:
    """Return the first difference that is not a docstring, a comment or the text of a message.

    A word without a full stop is a key or a value, and may not become another.
    """
    return _first_difference(without_docstrings(old), without_docstrings(new), strings=True)


def compare_protos(old: str, new: str) -> str | None:
    """Return the first difference of two protos that is not a comment."""
    for before, after in zip_longest(_proto_tokens(old), _proto_tokens(new), fillvalue=(0, "")):
        if before[1] != after[1]:
            return f"line {after[0] or before[0]}: {before[1]!r} became {after[1]!r}"
    return None


def without_docstrings(source: str) -> ast.Module:
    """Parse a module and drop its docstrings, those of attributes included."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            body = getattr(node, field, None)
            if isinstance(body, list) and body:
                statements = [statement for statement in body if not _is_docstring(statement)]
                setattr(node, field, _without_idle_pass(statements))
    return tree


def _without_idle_pass(statements: list[ast.stmt]) -> list[ast.stmt]:
    """Drop ``pass`` next to other statements; a body of a docstring alone gets one."""
    rest = [statement for statement in statements if not isinstance(statement, ast.Pass)]
    return rest or [ast.Pass(lineno=1, col_offset=0)]


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _first_difference(old: ast.AST, new: ast.AST, strings: bool, line: int = 1) -> str | None:
    """Return the first difference of two trees; with ``strings``, texts may differ."""
    line = getattr(new, "lineno", line)
    if strings and _is_text(old) and _is_text(new):
        return _text_difference(old, new, line)
    if type(old) is not type(new):
        return f"line {line}: {_shown(old)} became {_shown(new)}"
    for field in old._fields:
        before, after = getattr(old, field, None), getattr(new, field, None)
        pairs = zip_longest(_listed(before), _listed(after))
        for left, right in pairs:
            if isinstance(left, ast.AST) and isinstance(right, ast.AST):
                difference = _first_difference(left, right, strings, line)
                if difference is not None:
                    return difference
            elif (type(left), repr(left)) != (type(right), repr(right)):
                return f"line {line}: {_shown(left)} became {_shown(right)}"
    return None


def _text_difference(old: ast.AST, new: ast.AST, line: int) -> str | None:
    """Compare two texts: keys must be equal, and the same values must be put into both."""
    before, after = _constant(old), _constant(new)
    if before is not None and after is not None:
        if before != after and _KEY.fullmatch(before) and _KEY.fullmatch(after):
            return f"line {line}: the key {before!r} became {after!r}"
        return None
    left, right = sorted(_values(old)), sorted(_values(new))
    if left != right:
        return f"line {line}: {_shown(old)} became {_shown(new)} with other values in it"
    return None


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or _constant(node) is not None


def _constant(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None


def _values(node: ast.AST) -> Iterator[str]:
    """Yield the code of every value that an f-string formats."""
    if isinstance(node, ast.JoinedStr):
        yield from (ast.dump(part) for part in node.values if isinstance(part, ast.FormattedValue))


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    text = ast.unparse(value) if isinstance(value, ast.AST) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _proto_tokens(source: str) -> Iterator[tuple[int, str]]:
    bare = _COMMENTS.sub(lambda match: match.group(1) or _newlines(match.group()), source)
    for match in _PROTO_TOKEN.finditer(bare):
        yield bare.count("\n", 0, match.start()) + 1, match.group()


def _newlines(text: str) -> str:
    return " " + "\n" * text.count("\n")
