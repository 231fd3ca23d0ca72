"""Checks of chat templates, which are parsed and never run."""

from __future__ import annotations

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

_OPEN = (nodes.Output, nodes.ExprStmt, nodes.Scope, nodes.With, nodes.CallBlock, nodes.Assign)
"""Statements whose content is always executed."""


class _Generation(Extension):
    """Tag by which templates mark the model's own text."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        """Read the tag and its body, which counts as plain text."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def template_problem(text: str) -> str:
    """Return the problem of a template that cannot render any prompt; empty for other templates.

    It is a predicate: ``has a syntax error in line 2``.

    The stage itself refuses templates that fail for some prompts only, or only when they run.
    """
    # Nothing is rendered, so nothing needs escaping.
    environment = Environment(  # noqa: S701
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    try:
        template = environment.parse(text)
    except TemplateSyntaxError as error:
        return f"has a syntax error in line {error.lineno}: {error.message}"
    except RecursionError:
        return "is nested too deeply"
    if any(map(_always_raises, template.body)):
        return "refuses every prompt: it calls raise_exception"
    return ""


def _always_raises(node: nodes.Node) -> bool:
    if not isinstance(node, _OPEN):
        return False
    for inner in node.iter_child_nodes():
        call = isinstance(inner, nodes.Call) and isinstance(inner.node, nodes.Name)
        if call and inner.node.name == "raise_exception":  # type: ignore[attr-defined]
            return True
        if _always_raises(inner):
            return True
    return False
