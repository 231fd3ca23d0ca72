"""What the benchmark ran on, in a line."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import subprocess
from importlib.metadata import version
from pathlib import Path

from tests.servers.postgres import binaries

_PACKAGES = ("grpcio", "sqlalchemy", "asyncpg", "aiosqlite", "celery")


def environment() -> str:
    """Processor, cores, load of others, versions."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    postgres = _output(str(binaries() / "postgres"), "--version").split()[-2:]
    return (
        f"{os.cpu_count()} cores of {_processor()}, load {os.getloadavg()[2]:.1f} over the last 15 "
        f"minutes; Python {platform.python_version()}, PostgreSQL {' '.join(postgres)}, "
        f"SQLite {sqlite3.sqlite_version}, {packages}"
    )


def _processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
