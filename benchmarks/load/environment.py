"""What the benchmark ran on, in a line."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import sqlite3
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.load.rate import rate_of
from benchmarks.load.raw_server import raw_server
from tailrace.channel import connect_aio
from tailrace.v1 import stage_pb2, stage_pb2_grpc
from tests.servers.postgres import binaries

_PACKAGES = ("grpcio", "sqlalchemy", "asyncpg", "aiosqlite", "celery")


def environment() -> str:
    """Processor, cores, load of others, speed, versions."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    postgres = _output(str(binaries() / "postgres"), "--version").split()[-2:]
    return (
        f"{os.cpu_count()} cores of {_processor()}, load {os.getloadavg()[2]:.1f} over the last 15 "
        f"minutes, {asyncio.run(_empty_calls()):,.0f} empty unary calls of grpc.aio a second; "
        f"Python {platform.python_version()}, PostgreSQL {' '.join(postgres)}, "
        f"SQLite {sqlite3.sqlite_version}, {packages}"
    )


async def _empty_calls() -> float:
    """What 64 callers get answered in a second: shared machines are not equally fast every day."""
    with raw_server() as address:
        channel = connect_aio(address)
        stub: Any = stage_pb2_grpc.StageServiceStub(channel)
        request = stage_pb2.ConfirmDispatchRequest()
        rate, _ = await rate_of(lambda: stub.ConfirmDispatch(request, timeout=60), seconds=3.0)
        await channel.close(None)
    return rate


def _processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
