"""``tailrace console``: the web application, in the foreground."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tailrace.channel import SERVER_VARIABLE
from tailrace.cli.embedded.stack import CONSOLE_MODULES, require_extras
from tailrace.cli.options import Server


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
