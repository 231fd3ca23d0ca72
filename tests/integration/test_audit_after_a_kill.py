"""A control plane that is killed between a change and its place in the audit log's chain."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import tailrace
from tailrace.formats.service_url import sqlite_path
from tests.servers.control_plane import ServedControlPlane
from tests.servers.node import wait_until
from tests.servers.worker_token import token_file

PLANE = """
import asyncio
from services.server import ControlPlane
from services.settings import Settings

async def main():
    plane = ControlPlane(Settings())
    print(await plane.start(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_kill_loses_no_event(sqlite_url: str, tmp_path: Path) -> None:
    settings = {
        "TAILRACE_DATABASE_URL": f"sqlite:///{sqlite_path(sqlite_url)}",
        "TAILRACE_DATA_DIR": str(tmp_path),
        "TAILRACE_WORKER_TOKEN_FILE": str(token_file()),
        "TAILRACE_LISTEN": "127.0.0.1:0",
        "TAILRACE_BROKER_URL": "redis://127.0.0.1:1/0",
        # Long enough that this process chains nothing.
        "TAILRACE_POLL_SECONDS": "3600",
    }
    command = [sys.executable, "-c", PLANE]
    with subprocess.Popen(
        command,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        address = next(line for line in process.stdout if line.startswith("127.0.0.1:")).strip()
        with tailrace.Client(address) as client:
            client.seed_dataset("golden-v2")
            client.create_token(["read"])
            assert client.get_audit_chain().unchained == 2
        process.kill()
    served = ServedControlPlane(sqlite_url, tmp_path, poll_seconds=0.05)
    try:
        with tailrace.Client(served.address) as client:
            wait_until(lambda: client.get_audit_chain().unchained == 0, 10)
            events = list(client.list_audit_events(order_by="sequence"))
        assert [event.method for event in events] == [
            "DatasetService/SeedDataset",
            "TokenService/CreateToken",
        ]
        assert [event.sequence for event in events] == [1, 2]
    finally:
        served.stop()
