"""Docstrings below attributes, which Python does not keep at run time."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap


def attribute_texts(kind: type) -> dict[str, str]:
    """Return the docstring of each attribute of a class, unchanged, by the attribute's name."""
    source = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    return docs_of(
        [line for node in source.body if isinstance(node, ast.ClassDef) for line in node.body]
    )


def docs_of(body: list[ast.stmt]) -> dict[str, str]:
    """Return the docstring below each assignment of a body, by the name assigned."""
    docs = {}
    for statement, successor in itertools.pairwise(body):
        match statement, successor:
            case (
                ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                docs[name] = inspect.cleandoc(text)
    return docs
