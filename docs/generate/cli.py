"""The reference page of the ``tailrace`` command, from its tree of commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer.main

from docs.generate import markdown
from tailrace.cli.app import app

_INTRODUCTION = """
Every command and option of `tailrace`. `tailrace COMMAND --help` prints the same.
[Exit codes](errors.md#exit-codes) are those of every command.
"""
_EXTRA = re.compile(r"\s*\[([^][]*)\]$")


def page() -> str:
    """Return the page."""
    # Typer's classes of commands have no public types.
    tree: Any = typer.main.get_command(app)
    sections = [list(_section(name, command)) for name, command in _commands("tailrace", tree)]
    contents = [
        f"- [`{name}`](#{name.replace(' ', '-')}): {_first_line(command)}"
        for name, command in _commands("tailrace", tree)
        if command is not tree
    ]
    return markdown.page("Command line", _INTRODUCTION, contents, *sections)


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Yield a command and all below it, in the order in which the help lists them."""
    yield name, command
    for word, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from _commands(f"{name} {word}", child)


def _section(name: str, command: Any) -> Iterator[str]:
    context = command.context_class(command, info_name=name)
    yield from (f"## {name}", "")
    yield from ("```", " ".join((name, *command.collect_usage_pieces(context))), "```", "")
    yield from (*_paragraphs(command.help), "")
    for title, kind in (("argument", "argument"), ("option", "option")):
        records = [
            parameter.get_help_record(context)
            for parameter in command.params
            if parameter.param_type_name == kind
        ]
        if any(records):
            yield from markdown.table(
                (title, "meaning"), (_row(*record) for record in records if record)
            )
            yield ""


def _row(name: str, text: str) -> tuple[str, str]:
    """Return a parameter's row, with its default and its variable as a sentence."""
    extra = _EXTRA.search(text)
    if extra:
        facts = "; ".join(_fact(fact) for fact in extra[1].split("; "))
        text = " ".join(filter(None, (text[: extra.start()], f"*{facts}*")))
    return f"`{name}`", text


def _fact(fact: str) -> str:
    """Return a fact that Typer puts in brackets behind the help: a default, a variable, a range."""
    key, separator, value = fact.partition(": ")
    return f"{key}{separator}`{value}`" if separator else fact


def _paragraphs(text: str | None) -> list[str]:
    return markdown.from_docstring((text or "").replace("\b\n", "")).splitlines()


def _first_line(command: Any) -> str:
    return markdown.cell((command.help or "").split("\n\n")[0])
