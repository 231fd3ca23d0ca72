"""The docstrings below attributes as Markdown."""

from __future__ import annotations

import ast

from docs.generate.markdown import from_docstring
from tailrace.formats.spec.attribute_docs import attribute_texts, docs_of


def attribute_docs(kind: type) -> dict[str, str]:
    """Return the docstring of each attribute of a class as Markdown, by the attribute's name."""
    return {name: from_docstring(text) for name, text in attribute_texts(kind).items()}


def module_attribute_docs(source: str) -> dict[str, str]:
    """Return the docstring of each constant of a module as Markdown, by the constant's name."""
    docs = docs_of(ast.parse(source).body)
    return {name: from_docstring(text) for name, text in docs.items()}
