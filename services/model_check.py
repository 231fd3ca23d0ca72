"""Check of an uploaded model folder, off the event loop.

Small folders are checked in a thread. Parsing megabytes of JSON holds the interpreter's lock, so
larger folders are checked in a separate process, which has limits of memory and time, gets no
secrets and ends with its call.
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
"""Maximum size of documents and headers that are checked in a thread."""

MAX_SECONDS = 60
"""Limit of a check in seconds of processor time; twice that by the clock."""

MAX_MEMORY_BYTES = 4 << 30
"""Limit of a check's address space."""


@dataclass(frozen=True)
class Findings:
    """Findings of a check."""

    problems: list[tuple[str | None, str]] = field(default_factory=list)
    """Problems, each with its file, or ``None`` for the folder, and a predicate."""
    architecture: str = ""
    """``architectures[0]``, or the default of the family."""
    equal: tuple[TensorPlace, TensorPlace] | None = None
    """Two tensors whose bytes must be equal."""
    values: dict[str, tuple[str, TensorPlace]] = field(default_factory=dict)
    """Type and place of each tensor whose values must all be finite."""


async def check(files: ModelFiles) -> Findings:
    """Check a folder; cancelling the call ends the check."""
    contents = (*files.documents.values(), *files.headers.values())
    if sum(map(len, contents)) <= THREAD_BYTES:
        return await asyncio.to_thread(check_here, files)
    return await _check_in_process(files)


def check_here(files: ModelFiles) -> Findings:
    """Check a folder in this thread."""
    checked_model = check_model(files)
    problems = list(checked_model.problems)
    template = None if checked_model.tokenizer is None else checked_model.tokenizer.template
    if template is not None:
        problem = template_problem(template)
        if problem:
            name = TEMPLATE_FILE if TEMPLATE_FILE in files.documents else SETTINGS_FILE
            problems.append((name, f"has a chat template that {problem}"))
    return Findings(problems, checked_model.architecture, checked_model.equal, checked_model.values)


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
    """Return a line with the sizes of all parts, followed by the parts."""
    lengths = [_lengths(part) for part in (files.documents, files.headers)]
    line = json.dumps([dict(files.sizes), *lengths]).encode() + b"\n"
    return b"".join((line, *files.documents.values(), *files.headers.values()))


def _lengths(contents: Mapping[str, bytes]) -> dict[str, int]:
    return {path: len(content) for path, content in contents.items()}


def _findings(report: dict[str, Any]) -> Findings:
    pair = [TensorPlace(**place) for place in report["equal"] or ()]
    return Findings(
        [(path, problem) for path, problem in report["problems"]],
        report["architecture"],
        (pair[0], pair[1]) if pair else None,
        {name: (dtype, TensorPlace(**place)) for name, (dtype, place) in report["values"].items()},
    )


def main() -> None:
    """Check the folder on standard input."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    source = sys.stdin.buffer
    sizes, *lengths = json.loads(source.readline())
    parts = [{path: source.read(size) for path, size in part.items()} for part in lengths]
    findings = check_here(ModelFiles(sizes, *parts))
    sys.stdout.write(json.dumps(asdict(findings)))


if __name__ == "__main__":
    main()
