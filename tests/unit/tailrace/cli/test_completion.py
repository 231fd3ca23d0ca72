"""Completion of the real command in bash, with the variables that bash sets."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent

OFFERS = """
COMP_WORDS=(%s)
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_tailrace_completion tailrace
printf '%%s\\n' "${COMPREPLY[@]}"
"""
"""End of a bash script that prints the words offered for a command line."""

HEAVY = {"jax", "celery", "sqlalchemy", "services", "workers", "training", "jinja2", "numpy"}


def bash(script: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a bash that finds ``tailrace``, with ``home`` as home directory."""
    # Another bash below it, as an interactive one is: a single command would replace the shell.
    environment = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "SHELL": "/bin/bash",
        **variables,
    }
    return subprocess.run(
        ["bash", "--norc", "-c", f"{script}\ntrue"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Home directory in which completion is installed."""
    folder = tmp_path_factory.mktemp("home")
    installation = bash("tailrace --install-completion", folder)
    assert "bash completion installed" in installation.stdout
    return folder


def offers(home: Path, *words: str, **variables: str) -> list[str]:
    """Return the words that bash offers after ``tailrace WORDS``."""
    line = " ".join(shlex.quote(word) for word in ("tailrace", *words))
    return bash(f"source ~/.bashrc\n{OFFERS % line}", home, **variables).stdout.split()


def test_nouns_are_offered_in_the_order_of_use(home: Path) -> None:
    assert offers(home, "") == [
        "demo",
        "up",
        "worker",
        "console",
        "usage",
        "login",
        "datasets",
        "evalsets",
        "models",
        "runs",
        "baselines",
        "pools",
        "workers",
        "quotas",
        "profiles",
        "projects",
        "tokens",
        "audit",
        "certs",
    ]


def test_commands_and_options_are_offered_but_hidden_ones(home: Path) -> None:
    commands = offers(home, "runs", "")
    assert commands[:3] == ["create", "list", "get"]
    assert "follow" not in commands
    assert offers(home, "runs", "wa") == ["watch"]
    options = offers(home, "evalsets", "import", "items.jsonl", "-")
    assert "--id" in options
    assert "--name" not in options
    assert offers(home, "runs", "logs", "r", "--level", "w") == ["warning"]


def test_the_shown_script_is_the_installed_one(home: Path) -> None:
    script = bash("tailrace --show-completion", home).stdout
    (installed,) = (home / ".bash_completions").iterdir()
    assert "_TAILRACE_COMPLETE=complete_bash" in script
    assert script.split() == installed.read_text().split()


def test_completing_asks_no_server(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert offers(home, "runs", "get", "", TAILRACE_SERVER=address) == []
        with pytest.raises(TimeoutError):
            server.accept()


def test_completing_imports_nothing_heavy(home: Path) -> None:
    variables = {
        "_TAILRACE_COMPLETE": "complete_bash",
        "COMP_WORDS": "tailrace runs cr",
        "COMP_CWORD": "2",
    }
    completion = bash(
        f"{shlex.quote(sys.executable)} -X importtime {shlex.quote(str(BIN / 'tailrace'))}",
        home,
        **variables,
    )
    assert completion.stdout.split() == ["create"]
    modules = {line.rpartition("|")[2].strip() for line in completion.stderr.splitlines()}
    assert "tailrace.cli.app" in modules
    assert not {module.partition(".")[0] for module in modules} & HEAVY
