"""The programs of ``training/`` with their arguments."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from unittest import mock

from training import (
    eval_generate,
    export_model,
    import_gguf,
    judge,
    preview,
    random_gpt2,
    train_jax,
)

PROGRAMS = (train_jax, eval_generate, judge, preview, import_gguf, export_model, random_gpt2)


def text() -> str:
    """Return the arguments of every program with their help."""
    return "\n".join(line for program in PROGRAMS for line in _program(program))


def _program(program: ModuleType) -> Iterator[str]:
    parser = _parser(program)
    yield parser.prog
    exclusive = {
        id(action): number
        for number, group in enumerate(parser._mutually_exclusive_groups, start=1)
        for action in group._group_actions
    }
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction):
            words = ", ".join(action.option_strings) or action.dest
            choice = f", one of group {exclusive[id(action)]}" if id(action) in exclusive else ""
            yield f"  {words}: {_facts(action)}{choice}"
            if action.help:
                yield f"      {' '.join(action.help.split())}"
    yield ""


def _parser(program: ModuleType) -> argparse.ArgumentParser:
    """Return the parser of a program, which shows it when it is asked for help.

    The text that it would print differs with the version of Python and the terminal.
    """
    with mock.patch.object(argparse.ArgumentParser, "print_help", autospec=True) as printed:
        try:
            program.main(["--help"])
        except SystemExit:
            parser: argparse.ArgumentParser = printed.call_args.args[0]
            return parser
    raise RuntimeError(f"{program.__name__} has no --help")


def _facts(action: Any) -> str:
    """Return metavar, number of values, choices, and default of an argument."""
    facts = ["flag"] if action.nargs == 0 else [action.metavar or action.dest.upper()]
    if action.nargs not in (None, 0):
        facts.append(f"values {action.nargs}")
    if action.choices:
        facts.append(f"choices {' | '.join(map(str, action.choices))}")
    if action.required:
        facts.append("required")
    if action.default not in (None, False, argparse.SUPPRESS):
        facts.append(f"default {json.dumps(action.default, default=str)}")
    return ", ".join(facts)
