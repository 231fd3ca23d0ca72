"""``tailrace worker``: a worker in the foreground."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from tailrace.channel import SERVER_VARIABLE
from tailrace.cli.embedded.stack import DEFAULT_DATA_DIR, StackInfo, require_extras
from tailrace.cli.options import BrokerUrl, DataDir, Server
from tailrace.worker_token import FILE_NAME, VARIABLE


def worker(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    server: Server = None,
    broker_url: BrokerUrl = None,
    pools: Annotated[
        str | None,
        typer.Option(
            "--pools", metavar="POOL,…", help="Pools to serve, separated by commas: cpu,gpu."
        ),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(
            "--slots", metavar="N", min=1, help="Number of slots (default: one per device)."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="WORKER", help="Unique name (default: derived from the host name)."
        ),
    ] = None,
) -> None:
    """Serve pools from this machine until interrupted.

    Without --server and --broker-url it joins the stack that `tailrace up` runs in --data-dir.
    Every other setting comes from the environment (TAILRACE_…). The worker token is read from
    --data-dir; for another control plane, TAILRACE_WORKER_TOKEN_FILE names its file.
    """
    require_extras({"celery"})
    stack = StackInfo.read(data_dir)
    options = {
        SERVER_VARIABLE: server or stack.server,
        "TAILRACE_BROKER_URL": broker_url or stack.broker_url,
        "TAILRACE_POOLS": pools,
        "TAILRACE_SLOTS": None if slots is None else str(slots),
        "TAILRACE_WORKER_NAME": name,
    }
    settings = {key: value for key, value in options.items() if value is not None}
    defaults = {
        VARIABLE: str(data_dir / FILE_NAME),
        "TAILRACE_WORK_DIR": str(data_dir / "work"),
        "TAILRACE_CACHE_DIR": str(data_dir / "cache"),
    }
    # The worker replaces this process: it receives the signals, and its exit status counts.
    arguments = [sys.executable, "-m", "workers"]
    os.execve(sys.executable, arguments, {**defaults, **os.environ, **settings})  # noqa: S606
