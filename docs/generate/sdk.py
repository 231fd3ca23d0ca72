"""The reference page of the Python SDK, from the signatures and docstrings of its public names."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any

import tailrace
from docs.generate import markdown
from docs.generate.attributes import attribute_docs
from tailrace import errors
from tailrace.client.method import Method

_INTRODUCTION = """
Every public name of the package `tailrace`. Messages such as `run_pb2.Run` are those of
[`protos/tailrace/v1`](../../protos/tailrace/v1), generated into `tailrace.v1`.
"""
_TWINS = (("AsyncClient", "Client"), ("AsyncRunHandle", "RunHandle"))
"""Classes whose methods have the documentation of another class's methods."""

_WIDTH = 100
_MODULE = re.compile(r"\b(?:\w+\.)*(?=\w+_pb2\b)|\b(?:(?!\w+_pb2\b)\w+\.)+(?=\w)")
_STARS: dict[Any, str] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}


def page() -> str:
    """Return the page."""
    names = [
        name
        for name in tailrace.__all__
        if not name.startswith("__") and not inspect.ismodule(getattr(tailrace, name))
    ]
    contents = [f"- [`tailrace.{name}`](#tailrace{name.lower()})" for name in names]
    sections = [list(_section(name, getattr(tailrace, name))) for name in names]
    return markdown.page("Python SDK", _INTRODUCTION, contents, *sections, _errors())


def _section(name: str, member: Any) -> Iterator[str]:
    yield from (f"## tailrace.{name}", "")
    if not callable(member):
        yield from (f"`{member!r}`", "")
        return
    yield from _code(_signature(f"tailrace.{name}", member))
    yield from markdown.docstring_lines(member.__doc__)
    if not inspect.isclass(member):
        return
    yield from _attributes(member)
    twin = dict(_TWINS).get(name)
    methods = list(_methods(member))
    if twin:
        yield from (f"The methods are those of [`tailrace.{twin}`](#tailrace{twin.lower()}):", "")
        yield from _code("\n".join(_signature(*method) for method in methods))
        return
    for method, function in methods:
        yield from (f"### {name}.{method}", "")
        if callable(function):
            yield from _code(_signature(method, function))
        yield from markdown.docstring_lines(inspect.getdoc(function))


def _attributes(kind: type) -> Iterator[str]:
    if not dataclasses.is_dataclass(kind):
        return
    docs = attribute_docs(kind)
    rows = [
        (f"`{field.name}`", docs[field.name])
        for field in dataclasses.fields(kind)
        if field.name in docs and not field.name.startswith("_")
    ]
    if rows:
        yield from (*markdown.table(("attribute", "meaning"), rows), "")


def _methods(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield a class's public methods and properties, in the order of the source."""
    bases = [base for base in kind.__mro__ if base.__module__.startswith("tailrace.")]
    declared = [(name, member) for base in bases for name, member in vars(base).items()]
    derived = {name for name, member in declared if isinstance(member, Method)}
    for name, member in declared:
        if isinstance(member, Method):
            member = getattr(kind, name)
        elif name in derived:
            # Derived on an earlier use; its place is that of the declaration.
            continue
        if name.startswith("_") or not inspect.getdoc(member):
            continue
        if callable(member) or hasattr(member, "__get__"):
            if isinstance(member, (classmethod, staticmethod)):
                member = member.__func__
            yield name, member


def _signature(name: str, member: Any) -> str:
    """Return ``name(parameters) -> result``, one parameter a line where it is long."""
    if not callable(member):
        return name
    signature = inspect.signature(member)
    parameters = list(_parameters(signature))
    if inspect.iscoroutinefunction(member):
        name = f"async {name}"
    returns = "" if inspect.isclass(member) else _annotation(" -> ", signature.return_annotation)
    line = f"{name}({', '.join(parameters)}){returns}"
    if len(line) <= _WIDTH:
        return line
    lines = [f"    {parameter}," for parameter in parameters]
    return "\n".join([f"{name}(", *lines, f"){returns}"])


def _parameters(signature: inspect.Signature) -> Iterator[str]:
    """Yield each parameter but ``self``, and the star before keyword-only ones."""
    keyword_only = False
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            yield "*"
        stars = _STARS.get(parameter.kind, "")
        annotation = _annotation(": ", parameter.annotation)
        equals = " = " if annotation else "="
        default = "" if parameter.default is parameter.empty else equals + _value(parameter.default)
        yield f"{stars}{parameter.name}{annotation}{default}"


def _annotation(prefix: str, annotation: Any) -> str:
    """Return an annotation without the modules of its names, messages' modules excepted."""
    if annotation is inspect.Signature.empty:
        return ""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return prefix + _MODULE.sub("", text)


def _value(default: object) -> str:
    """Return a default as code, records and factories in short."""
    if dataclasses.is_dataclass(default):
        return f"{type(default).__name__}(…)"
    text = repr(default)
    return "…" if text.startswith("<") else text


def _code(text: str) -> Iterator[str]:
    yield from ("```python", text, "```", "")


def _errors() -> Iterator[str]:
    """Yield the section of the exceptions."""
    yield from ("## tailrace.errors", "")
    yield from ("One class per gRPC code ([all reasons](errors.md)):", "")
    yield from markdown.table(
        ("exception", "gRPC code"),
        (
            (f"`errors.{kind.__name__}`", f"`{kind.code.name}`")
            for kind in errors.TailraceError.__subclasses__()
        ),
    )
