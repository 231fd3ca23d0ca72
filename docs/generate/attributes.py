"""The docstrings below attributes, which Python does not keep at run time."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap

from docs.generate.markdown import from_docstring


def attribute_docs(kind: type) -> dict[str, str]:
    """Return the docstring of each attribute of a class as Markdown, by the attribute's name."""
    source = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    return _docs(
        [line for node in source.body if isinstance(node, ast.ClassDef) for line in node.body]
    )


def module_attribute_docs(source: str) -> dict[str, str]:
    """Return the docstring of each constant of a module as Markdown, by the constant's name."""
    return _docs(ast.parse(source).body)


def _docs(body: list[ast.stmt]) -> dict[str, str]:
    docs = {}
    for statement, successor in itertools.pairwise(body):
        match statement, successor:
            case (
                ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                docs[name] = from_docstring(text)
    return docs
