"""The check of an uploaded model folder, away from the loop that answers calls.

Small folders are checked in a thread. Parsing megabytes of JSON holds the interpreter's lock, so
that larger ones go to a process of their own: it has limits of memory and time, knows no secrets,
and ends with the call it works for.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from services.domain.content.chat_template import template_problem
from tailrace.formats.model.chat_template import TEMPLATE_FILE
from tailrace.formats.model.check import ModelFiles, TensorPlace, check_model
from tailrace.formats.model.tokenizer_files import SETTINGS_FILE

THREAD_BYTES = 1 << 20
"""Most bytes that are checked in a thread."""

MAX_SECONDS = 60
"""Longest that a check may take, in seconds of processor time; twice that by the clock."""

MAX_MEMORY_BYTES = 4 << 30
"""Most address space of a check."""


@dataclass(frozen=True)
class Findings:
    """What a check found."""

    problems: list[tuple[str | None, str]] = field(default_factory=list)
    """Everything wrong: the file, or nothing for the folder, and a predicate."""
    architecture: str = ""
    """``architectures[0]``, or the family's usual one."""
    equal: tuple[TensorPlace, TensorPlace] | None = None
    """Two tensors whose bytes must be the same."""
    values: dict[str, tuple[str, TensorPlace]] = field(default_factory=dict)
    """Type and place of every tensor all of whose values must be finite."""


async def check(files: ModelFiles) -> Findings:
    """Check a folder; a cancelled call ends the work."""
    contents = (*files.documents.values(), *files.headers.values())
    if sum(map(len, contents)) <= THREAD_BYTES:
        return await asyncio.to_thread(check_here, files)
    return await _check_in_process(files)


def check_here(files: ModelFiles) -> Findings:
    """Check a folder in this thread."""
    found = check_model(files)
    problems = list(found.problems)
    template = None if found.tokenizer is None else found.tokenizer.template
    if template is not None:
        problem = template_problem(template)
        if problem:
            name = TEMPLATE_FILE if TEMPLATE_FILE in files.documents else SETTINGS_FILE
            problems.append((name, problem))
    return Findings(problems, found.architecture, found.equal, found.values)


async def _check_in_process(files: ModelFiles) -> Findings:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        async with asyncio.timeout(2 * MAX_SECONDS):
            output, _ = await process.communicate(_pack(files))
    except TimeoutError:
        output = b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0 or not output:
        return Findings([(None, "the folder takes too much time or memory to be checked")])
    return _findings(json.loads(output))


def _pack(files: ModelFiles) -> bytes:
    """Return a line with the sizes of all parts, followed by these."""
    lengths = [_lengths(part) for part in (files.documents, files.headers)]
    line = json.dumps([dict(files.sizes), *lengths]).encode() + b"\n"
    return b"".join((line, *files.documents.values(), *files.headers.values()))


def _lengths(contents: Mapping[str, bytes]) -> dict[str, int]:
    return {path: len(content) for path, content in contents.items()}


def _findings(data: dict[str, Any]) -> Findings:
    pair = [TensorPlace(**place) for place in data["equal"] or ()]
    return Findings(
        [(path, problem) for path, problem in data["problems"]],
        data["architecture"],
        (pair[0], pair[1]) if pair else None,
        {name: (dtype, TensorPlace(**place)) for name, (dtype, place) in data["values"].items()},
    )


def main() -> None:
    """Check the folder that comes in on the standard input."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    source = sys.stdin.buffer
    sizes, *lengths = json.loads(source.readline())
    parts = [{path: source.read(size) for path, size in part.items()} for part in lengths]
    found = check_here(ModelFiles(sizes, *parts))
    sys.stdout.write(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
