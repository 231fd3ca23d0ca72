"""``python -m tailrace.console``: serve the console until SIGTERM or SIGINT."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys

import uvicorn
from pydantic import ValidationError
from starlette.types import ASGIApp

from tailrace.access import AccessError
from tailrace.cli import exit_codes
from tailrace.console.app import create_app
from tailrace.console.guard import is_local
from tailrace.console.settings import Settings
from tailrace.environment import resolve
from tailrace.profiles import ProfileError
from tailrace.tls_files import TlsFilesError

_LAST_SECONDS = 3
"""Time for requests in progress after SIGTERM; streams never end by themselves."""

READY = "console on "
"""Beginning of the line that names the console's URL once it listens."""


def main() -> int:
    """Serve until a signal ends the process, and return the exit status."""
    # gRPC's C core reports lost connections on stderr, which pages report.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings()
        server, access = resolve()
        app = create_app(settings, server, access)
    except ValidationError as error:
        for violation in error.errors():
            names = "".join(f"TAILRACE_CONSOLE_{str(p).upper()}: " for p in violation["loc"])
            sys.stderr.write(f"{names}{violation['msg']}\n")
        return exit_codes.BAD_INPUT
    except (AccessError, ProfileError, TlsFilesError, ValueError, OSError) as error:
        sys.stderr.write(f"tailrace: {error}\n")
        return exit_codes.BAD_INPUT
    try:
        bound = _bind(settings.listen)
    except OSError as error:
        hint = ": give another address with --listen" if error.errno == errno.EADDRINUSE else ""
        sys.stderr.write(f"tailrace: cannot listen on {settings.listen}: {error.strerror}{hint}\n")
        return exit_codes.CONFLICT
    _serve(app, bound, settings)
    return 0


def _serve(app: ASGIApp, bound: socket.socket, settings: Settings) -> None:
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )
    # uvicorn repeats the signal when it has ended: SIGTERM is a normal end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    bound.listen()
    sys.stdout.write(f"{READY}{_url(settings.listen, bound)}\n")
    sys.stdout.flush()
    uvicorn.Server(config).run(sockets=[bound])


def _bind(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family, kind, protocol, _, place = socket.getaddrinfo(
        host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(place)
    except OSError:
        bound.close()
        raise
    return bound


def _url(listen: str, bound: socket.socket) -> str:
    host = listen.rpartition(":")[0]
    if not is_local(host) and host in ("0.0.0.0", "[::]"):  # noqa: S104 - compared, not bound
        host = socket.gethostname()
    return f"http://{host}:{bound.getsockname()[1]}/"


if __name__ == "__main__":
    sys.exit(main())
