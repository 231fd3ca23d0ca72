"""The reasons that errors carry for programs, read from the source.

They are literals where errors are raised, so the source is what lists all of them. The place of a
literal does not matter.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.rpc import code_pb2

from services.domain import errors as server_errors
from tailrace.errors import HTTP_STATUS
from training import errors as training_errors

ROOT = Path(__file__).parents[2]
REASON = re.compile(r"[A-Z][A-Z0-9]+(_[A-Z0-9]+)*")
FOREIGN = ("F8_", "HF_", "PYTHON", "SO_", "TAILRACE_")
"""Beginnings of names from elsewhere: number formats, variables of the environment."""

LOOKUPS = ("get", "setdefault", "pop", "getenv")
"""Methods whose arguments in capitals are variables of the environment."""


def text() -> str:
    """Return the reasons of calls with their codes, those of stages, and other words."""
    codes = _codes()
    of_calls: set[str] = set()
    of_stages = {f"{kind.reason} retryable {kind.retryable}" for kind in _stage_errors()}
    words: set[str] = set()
    for node in _nodes():
        for reason in _literals(node):
            code = codes.get(_called(node))
            if code is None:
                words.add(reason)
            else:
                of_calls.add(f"{reason} {code}")
    of_calls |= {f"{reason} {code}" for reason, code in _defaults()}
    words.add(HTTP_STATUS)
    words = {word for word in words if "_" in word and not word.startswith(FOREIGN)}
    words -= {line.split()[0] for line in of_calls | of_stages}
    sections = {
        "reasons of failed calls": of_calls,
        "reasons of failed stages": of_stages,
        "further reasons of calls and stages": words,
    }
    return "\n".join(
        line for title, entries in sections.items() for line in (title, *_indented(entries), "")
    )


def _indented(entries: set[str]) -> list[str]:
    return [f"  {entry}" for entry in sorted(entries)]


def _classes() -> Iterator[Any]:
    for kind in vars(server_errors).values():
        if isinstance(kind, type) and issubclass(kind, Exception) and hasattr(kind, "code"):
            yield kind


def _codes() -> dict[str, str]:
    """Return the gRPC code of each class of the control plane's errors, by the class's name."""
    return {kind.__name__: code_pb2.Code.Name(int(kind.code)) for kind in _classes()}


def _defaults() -> Iterator[tuple[str, str]]:
    """Yield the reasons that classes bring along."""
    for kind in _classes():
        default = inspect.signature(kind).parameters.get("reason")
        if default is not None and isinstance(default.default, str):
            yield default.default, code_pb2.Code.Name(int(kind.code))


def _stage_errors() -> Iterator[type[training_errors.TrainingError]]:
    pending = [training_errors.TrainingError]
    while pending:
        kind = pending.pop()
        yield kind
        pending += kind.__subclasses__()


def _nodes() -> Iterator[ast.AST]:
    for package in ("services", "workers", "training", "tailrace"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if "v1" not in path.parts and "migrations" not in path.parts:
                yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def _called(node: ast.AST) -> str:
    function = getattr(node, "func", None)
    return str(getattr(function, "attr", getattr(function, "id", "")))


def _literals(node: ast.AST) -> Iterator[str]:
    """Yield reasons among the arguments of a call, or the keys of a dictionary of calls."""
    values: list[ast.expr] = []
    if isinstance(node, ast.Call) and _called(node) not in LOOKUPS:
        values = [*node.args, *(argument.value for argument in node.keywords)]
        values += [part for value in values if isinstance(value, ast.Tuple) for part in value.elts]
    elif isinstance(node, ast.Dict) and all(isinstance(value, ast.Call) for value in node.values):
        values = [key for key in node.keys if key is not None]
    for value in values:
        word = value.value if isinstance(value, ast.Constant) else None
        if isinstance(word, str) and REASON.fullmatch(word):
            yield word
