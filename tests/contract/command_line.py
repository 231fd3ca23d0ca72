"""The commands with their help, and the exit codes.

The help is read from the command tree, not rendered: no width, colour or version of a library that
draws it matters.
"""

from __future__ import annotations

import contextlib
import enum
import inspect
import io
import json
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import typer
import typer.main

from tailrace import errors
from tailrace.cli import app, exit_codes
from tailrace.v1 import run_pb2

COMPLETION = ("--install-completion", "--show-completion")
"""Options whose form depends on the shells that are installed."""


@dataclass(frozen=True)
class Result:
    """The end of a command."""

    code: int
    out: str
    err: str


def run_command(*arguments: str) -> Result:
    """Run ``tailrace ARGUMENTS`` in this process."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["tailrace", *arguments]
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            app.run()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = argv
    return Result(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())


def exit_code_text() -> str:
    """Return the exit codes, and those of failed calls and of followed runs."""
    codes = {
        name: code for name, code in vars(exit_codes).items() if name.isupper() and name[0] != "_"
    }
    lines = [f"{code} {name}" for name, code in sorted(codes.items(), key=lambda pair: pair[1])]
    lines += ["", "failed call"]
    for kind in sorted(errors.TailraceError.__subclasses__(), key=lambda kind: kind.code.name):
        lines.append(f"  {kind.code.name}: {exit_codes.of_error(kind('failed'))}")
    lines += ["", "followed run"]
    lines += [
        f"  {name}: {exit_codes.of_run(run_pb2.Run(state=number))}"
        for name, number in run_pb2.RunState.items()
    ]
    return "\n".join(lines) + "\n"


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command and group with its words."""
    yield from _walk(typer.main.get_command(app.app), "tailrace")


def commands_text() -> str:
    """Return usage, help, and parameters of every command."""
    return "\n".join(line for words, command in commands() for line in _command(words, command))


def _walk(command: Any, words: str) -> Iterator[tuple[str, Any]]:
    yield words, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _walk(child, f"{words} {name}")


def _command(words: str, command: Any) -> Iterator[str]:
    yield words + " (hidden)" * command.hidden + " (deprecated)" * bool(command.deprecated)
    yield from _prose(command.help)
    if command.epilog:
        yield from _prose(command.epilog)
    types_by_name = _types(command.callback)
    for parameter in command.params:
        if parameter.opts[0] in COMPLETION:
            yield f"  {parameter.opts[0]}"
            continue
        yield f"  {_signature(parameter)}: {_facts(parameter, types_by_name)}"
        yield from _prose(parameter.help, "      ")
    yield from (f"  command {name}" for name in getattr(command, "commands", {}))
    yield ""


def _prose(text: str | None, indent: str = "    ") -> Iterator[str]:
    # A paragraph is one line: where the source breaks it means nothing.
    for paragraph in inspect.cleandoc(text or "").split("\n\n"):
        if paragraph:
            yield from textwrap.wrap(
                " ".join(paragraph.split()), 100, initial_indent=indent, subsequent_indent=indent
            )


def _signature(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return ", ".join([*parameter.opts, *parameter.secondary_opts])


def _facts(parameter: Any, types_by_name: dict[str, str]) -> str:
    """Return type, metavar, bounds, variable, and default of a parameter."""
    facts = [types_by_name.get(parameter.name, "")]
    if parameter.param_type_name == "option" and parameter.metavar:
        facts.append(f"metavar {parameter.metavar}")
    if parameter.multiple if parameter.param_type_name == "option" else parameter.nargs == -1:
        facts.append("repeatable")
    if parameter.required:
        facts.append("required")
    if parameter.envvar:
        facts.append(f"variable {parameter.envvar}")
    if parameter.hidden:
        facts.append("hidden")
    if parameter.default not in (None, "", False, []) and not callable(parameter.default):
        default = parameter.default
        value = default.value if isinstance(default, enum.Enum) else default
        shown = "shown" if getattr(parameter, "show_default", True) else "not shown"
        facts.append(f"default {json.dumps(value, default=str)} ({shown})")
    return ", ".join(fact for fact in facts if fact)


def _types(callback: Callable[..., Any] | None) -> dict[str, str]:
    if callback is None:
        return {}
    return {
        name: _type(hint)
        for name, hint in typing.get_type_hints(callback, include_extras=True).items()
    }


def _type(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Annotated:
        kind, *extras = typing.get_args(hint)
        bounds = (
            f" {bound} {getattr(extra, bound)}"
            for extra in extras
            for bound in ("min", "max")
            if getattr(extra, bound, None) is not None
        )
        return _type(kind) + "".join(bounds)
    if typing.get_origin(hint) in (types.UnionType, typing.Union, list):
        return " or ".join(_type(each) for each in typing.get_args(hint) if each is not type(None))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return " | ".join(str(member.value) for member in hint)
    return str(getattr(hint, "__name__", hint)).lower()
