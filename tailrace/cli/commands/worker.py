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
        str | None, typer.Option("--pools", help="Pools to serve, separated by commas: cpu,gpu.")
    ] = None,
    slots: Annotated[
        int | None, typer.Option("--slots", min=1, help="Number of slots; else one per device.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Unique name; else made from the host's name.")
    ] = None,
) -> None:
    """Serve pools from this machine until interrupted.

    Without --server and --broker-url it joins the stack that `tailrace up` runs in --data-dir.
    Every other setting comes from the environment (TAILRACE_…). The worker token is the one that
    the stack keeps in --data-dir; for another control plane, TAILRACE_WORKER_TOKEN_FILE names the
    file.
    """
    require_extras({"celery"})
    running = StackInfo.read(data_dir)
    options = {
        SERVER_VARIABLE: server or running.server,
        "TAILRACE_BROKER_URL": broker_url or running.broker_url,
        "TAILRACE_POOLS": pools,
        "TAILRACE_SLOTS": None if slots is None else str(slots),
        "TAILRACE_WORKER_NAME": name,
    }
    given = {key: value for key, value in options.items() if value is not None}
    defaults = {
        VARIABLE: str(data_dir / FILE_NAME),
        "TAILRACE_WORK_DIR": str(data_dir / "work"),
        "TAILRACE_CACHE_DIR": str(data_dir / "cache"),
    }
    # The worker takes this process's place: signals and exit status are its own.
    arguments = [sys.executable, "-m", "workers"]
    os.execve(sys.executable, arguments, {**defaults, **os.environ, **given})  # noqa: S606
