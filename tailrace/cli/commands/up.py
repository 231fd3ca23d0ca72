"""``tailrace up`` and ``tailrace console``: the embedded stack, and a console alone."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from tailrace.access import is_loopback
from tailrace.channel import DEFAULT_SERVER, SERVER_VARIABLE
from tailrace.cli import errors
from tailrace.cli.embedded.listen import parse_address
from tailrace.cli.embedded.local_console import DEFAULT_CONSOLE
from tailrace.cli.embedded.stack import (
    CONSOLE_MODULES,
    DEFAULT_DATA_DIR,
    TEND_SECONDS,
    Stack,
    missing_extras,
    require_extras,
    stopping_signals,
)
from tailrace.cli.errors import CommandError
from tailrace.cli.options import BrokerUrl, DatabaseUrl, DataDir, Server
from tailrace.cli.show import output
from tailrace.formats.endpoint_access import read_place


def _places(endpoints: list[str]) -> list[str]:
    try:
        return [read_place(endpoint) for endpoint in endpoints]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--allow-endpoint") from error


def _console_listen(address: str) -> str | None:
    """Return the address if the console is installed, else say what it needs."""
    missing = missing_extras(set(CONSOLE_MODULES))
    if missing:
        output.console().print(f'no console: pip install "tailrace[{missing}]"')
        return None
    parse_address(address, "--console")
    return address


def up(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    listen: Annotated[
        str,
        typer.Option(
            "--listen",
            metavar="HOST:PORT",
            help="Address of the control plane; port 0 takes a free one.",
        ),
    ] = DEFAULT_SERVER,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            help="Number of workers; they share the CPU cores equally.",
        ),
    ] = 1,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Start no worker.")] = False,
    console_address: Annotated[
        str, typer.Option("--console", metavar="HOST:PORT", help="Address of the console.")
    ] = DEFAULT_CONSOLE,
    no_console: Annotated[bool, typer.Option("--no-console", help="Start no console.")] = False,
    database_url: DatabaseUrl = None,
    broker_url: BrokerUrl = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            help="Let other machines reach --listen, without TLS and without tokens.",
        ),
    ] = False,
    allow_endpoint: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-endpoint",
            metavar="HOST:PORT",
            help="Private server that judges may ask, also over http; repeatable.",
        ),
    ] = None,
) -> None:
    """Run broker, control plane, workers and console on this machine until interrupted.

    Uses SQLite and an embedded Valkey unless other URLs are given. Workers read their other
    settings, such as TAILRACE_POOLS and TAILRACE_SLOTS, from the environment. A worker or console
    that ends is started again, a drained worker drained; when broker or control plane ends,
    everything stops.
    """
    out = output.console()
    stack = Stack(
        data_dir,
        listen=listen,
        workers=0 if no_worker else workers,
        database_url=database_url,
        broker_url=broker_url,
        insecure=insecure,
        allowed_endpoints=_places(allow_endpoint or []),
        console=None if no_console else _console_listen(console_address),
    )
    with stopping_signals(), stack:
        try:
            out.print(f"control plane on {stack.server}; logs in {stack.data_dir / 'logs'}")
            if stack.server != DEFAULT_SERVER:
                out.print(f"in other terminals: export {SERVER_VARIABLE}={stack.server}")
            if not is_loopback(stack.server):
                out.print(
                    f"every client that reaches {stack.server} has full access: no token is needed",
                    style="yellow",
                )
            for name in stack.drained:
                out.print(
                    f"{name} is drained and takes no stage until: tailrace workers undrain {name}"
                )
            out.print("Ctrl-C or SIGTERM stops everything")
            while True:
                for message in stack.tend():
                    out.print(output.printable(message), soft_wrap=True)
                time.sleep(TEND_SECONDS)
        except CommandError as error:
            # Reported first: stopping the others may take a while.
            raise typer.Exit(errors.error(error)) from error
        finally:
            out.print(stack.farewell)


def console(
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="HOST:PORT",
            help="Address of the console; port 0 takes a free one (default: 127.0.0.1:7480).",
            show_default=False,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="Further host name under which browsers may call the console; repeatable.",
        ),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            metavar="FILE",
            help="File with the key that encrypts logins, created if missing; consoles behind one "
            "name share it (default: a key of this process).",
        ),
    ] = None,
    server: Server = None,
) -> None:
    """Serve the console, a web page for runs, until interrupted.

    It calls the control plane in the name of each visitor: where that requires tokens, visitors log
    in with theirs. Beyond loopback, put a proxy with TLS in front of it.
    """
    require_extras(set(CONSOLE_MODULES))
    options = {
        SERVER_VARIABLE: server,
        "TAILRACE_CONSOLE_LISTEN": listen,
        "TAILRACE_CONSOLE_HOSTS": ",".join(allow_host) if allow_host else None,
        "TAILRACE_CONSOLE_KEY_FILE": None if key_file is None else str(key_file),
    }
    variables = {name: value for name, value in options.items() if value is not None}
    sys.stdout.flush()
    # Without -P a folder `tailrace` in the working directory would be taken for this package.
    program = [sys.executable, "-P", "-m", "tailrace.console"]
    # It receives the signals, and its exit status counts.
    os.execve(sys.executable, program, {**os.environ, **variables})  # noqa: S606
