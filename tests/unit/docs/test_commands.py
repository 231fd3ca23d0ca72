"""Every command line that a page shows exists, with its options and the files that it names."""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from docs.generate.repository import ROOT, pages
from tailrace.cli.app import app

TREE: Any = typer.main.get_command(app)

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
SHELL = ("bash", "sh")

OUTPUTS = ("artifacts/", "run/", "calculator/")
"""Folders that earlier commands of a page write."""


def texts() -> Iterator[tuple[str, str]]:
    """Yield the code of each page, and each comment of a deployment file, with the page's name."""
    for page in pages():
        text = page.read_text()
        name = str(page.relative_to(ROOT))
        yield from ((name, block) for _, block in FENCE.findall(text))
        yield from ((name, span) for span in SPAN.findall(FENCE.sub("", text)))
    for file in sorted((ROOT / "deploy").rglob("*.yaml")):
        for comment in re.findall(r"# +(.*)", file.read_text()):
            yield str(file.relative_to(ROOT)), comment


def commands(program: str) -> list[tuple[str, str]]:
    """Return the lines that call a program, each with its page, without comments."""
    line = re.compile(rf"(?:^|&& |\| |`)({program}(?: +[^`\n]*)?)", re.MULTILINE)
    lines = set()
    for page, text in texts():
        for match in line.finditer(text.replace("\\\n", " ")):
            command = re.split(r"\s+#|;|&&|\.$|…| \| ", match[1])[0].strip()
            lines.add((page, re.sub(r" +", " ", command)))
    return sorted(lines)


@pytest.mark.parametrize(("page", "text"), commands(r"tailrace(?= +[a-z-])"))
def test_a_command_of_tailrace_exists(page: str, text: str) -> None:
    command = TREE
    words = shlex.split(text)[1:]
    while words and hasattr(command, "commands") and words[0][0] != "[":
        # Options of a group come before its command.
        taken = {name: one for one in command.params for name in one.opts}
        if words[0] in taken and len(words) > 1:
            del words[: 1 if taken[words[0]].is_flag else 2]
            continue
        if words[0].startswith("-"):
            break
        assert words[0] in command.commands, f"{page}: {text}"
        command = command.commands[words.pop(0)]
    options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    options.add("--help")
    for word in words:
        if re.match(r"--?[a-z]", word):
            assert word.partition("=")[0] in options, f"{page}: {text}"
        else:
            assert_exists(page, text, word)


@pytest.mark.parametrize(("page", "text"), commands(r"make(?= +[a-z])"))
def test_a_target_of_make_exists(page: str, text: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for word in shlex.split(text)[1:]:
        assert "=" in word or word in targets, f"{page}: {text}"


@functools.cache
def python_help(*program: str) -> str:
    """Return the help of a Python program."""
    process = subprocess.run(
        [sys.executable, *program, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.parametrize(("page", "text"), commands(r"python3?(?= +(?:-m +\w|\w+/))"))
def test_a_python_program_exists_and_takes_its_flags(page: str, text: str) -> None:
    words = shlex.split(text)[1:]
    program = words[:2] if words[0] == "-m" else words[:1]
    name = program[-1].replace(".", "/").removesuffix("/py")
    assert (ROOT / f"{name}.py").is_file() or (ROOT / name / "__main__.py").is_file(), text
    arguments = words[len(program) :]
    flags = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    if flags:
        flags_taken = set(re.findall(r"--[\w-]+", python_help(*program)))
        assert set(flags) <= flags_taken, f"{page}: {text}"
    for word in arguments:
        assert_exists(page, text, word)


def assert_exists(page: str, text: str, word: str) -> None:
    """Fail for an argument that names a file of the repository which does not exist."""
    if re.search(r"/.*\.(yaml|jsonl)$", word) and not word.startswith(OUTPUTS):
        assert (ROOT / word).is_file(), f"{page}: {text}"


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in pages()])
def test_shell_blocks_parse(page: str) -> None:
    blocks = [block for word, block in FENCE.findall((ROOT / page).read_text()) if word in SHELL]
    process = subprocess.run(
        ["bash", "-n"], input="\n".join(blocks), capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0, f"{page}: {process.stderr}"


def test_the_gates_on_the_first_page_are_those_of_the_example() -> None:
    block = re.search(r"```yaml\n(gates:.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block
    assert block[1] in Path(ROOT, "docs/examples/golden_v2_gates.yaml").read_text()


def test_enough_commands_are_read() -> None:
    assert len(commands(r"tailrace(?= +[a-z-])")) > 40
    assert len(commands(r"make(?= +[a-z])")) > 8
    assert len(commands(r"python3?(?= +(?:-m +\w|\w+/))")) > 8
