from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tailrace.cli.embedded.stack import StackInfo

SHOW = """
import json, os
print(json.dumps({k: v for k, v in os.environ.items() if k.startswith("TAILRACE_")}))
"""


def _worker(folder: Path, *arguments: str, **environment: str) -> dict[str, str]:
    """The settings with which the command starts ``python -m workers``."""
    (folder / "workers").mkdir()
    # A folder without it would stand behind the installed package.
    (folder / "workers/__init__.py").touch()
    (folder / "workers/__main__.py").write_text(SHOW)
    clean = {name: v for name, v in os.environ.items() if not name.startswith("TAILRACE_")}
    done = subprocess.run(
        [sys.executable, "-m", "tailrace.cli.main", "worker", *arguments],
        cwd=folder,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    settings: dict[str, str] = json.loads(done.stdout)
    return settings


def test_it_joins_the_stack_of_the_data_directory(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    StackInfo("127.0.0.1:1", "redis://:secret@127.0.0.1:2/0").write(data_dir)
    settings = _worker(tmp_path, "--data-dir", "data", "--pools", "cpu,gpu", "--slots", "2")
    assert settings == {
        "TAILRACE_SERVER": "127.0.0.1:1",
        "TAILRACE_BROKER_URL": "redis://:secret@127.0.0.1:2/0",
        "TAILRACE_POOLS": "cpu,gpu",
        "TAILRACE_SLOTS": "2",
        "TAILRACE_WORK_DIR": "data/work",
        "TAILRACE_CACHE_DIR": "data/cache",
        "TAILRACE_WORKER_TOKEN_FILE": "data/worker-token",
    }


def test_arguments_then_environment_then_the_stack(tmp_path: Path) -> None:
    (tmp_path / ".tailrace").mkdir()
    StackInfo("stack:1", "redis://stack").write(tmp_path / ".tailrace")
    settings = _worker(
        tmp_path,
        "--server",
        "argument:1",
        "--name",
        "w1",
        TAILRACE_BROKER_URL="amqp://environment",
        TAILRACE_WORK_DIR="/elsewhere",
        TAILRACE_WORKER_TOKEN_FILE="/secret/token",
    )
    assert settings["TAILRACE_SERVER"] == "argument:1"
    assert settings["TAILRACE_BROKER_URL"] == "amqp://environment"
    assert settings["TAILRACE_WORK_DIR"] == "/elsewhere"
    assert settings["TAILRACE_WORKER_NAME"] == "w1"
    assert settings["TAILRACE_WORKER_TOKEN_FILE"] == "/secret/token"
