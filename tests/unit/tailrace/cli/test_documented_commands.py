"""Every command line that a page shows exists, with its options, and names files that are there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from tailrace.cli.app import app

ROOT = Path(__file__).parents[4]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.yaml")),
]

TREE: Any = typer.main.get_command(app)

# In a block of commands, between backticks, or in a comment.
COMMAND = re.compile(r"(?:^|`|# +)(tailrace +[a-z-][^`\n]*)", re.MULTILINE)
MADE = ("judges.yaml", "mine.jsonl", "models/smollm2-135m-instruct")
"""Files that the page itself makes, or stands for the reader's own."""


def commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for match in COMMAND.finditer(page.read_text()):
            text = re.split(r"\s+#|;|\.$|…", match[1])[0].strip()
            yield str(page.relative_to(ROOT)), text


@pytest.mark.parametrize(("page", "text"), sorted(set(commands())))
def test_a_command_on_a_page_exists(page: str, text: str) -> None:
    command = TREE
    words = shlex.split(text)[1:]
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{page}: {text}"
        command = command.commands[words.pop(0)]
    options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    options.add("--help")
    for word in words:
        if re.match(r"--?[a-z]", word):
            assert word.partition("=")[0] in options, f"{page}: {text}"
        elif "/" in word and re.search(r"\.(yaml|jsonl)$", word) and word not in MADE:
            assert (ROOT / word).is_file(), f"{page}: {text}"


def test_the_gates_on_the_first_page_are_those_of_the_example() -> None:
    block = re.search(r"```yaml\n(gates:.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block
    assert block[1] in (ROOT / "docs/examples/golden_v2_gates.yaml").read_text()
    assert len(list(commands())) > 20
