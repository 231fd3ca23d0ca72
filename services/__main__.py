"""``python -m services``: run a control plane until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import gc
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any

import structlog
from pydantic import ValidationError
from pydantic_settings import SettingsError

from services import logs
from services.domain.errors import DomainError
from services.server import ControlPlane
from services.settings import Settings
from tailrace.formats.service_url import unchecked_options
from tailrace.undumpable import forbid_reading

_log = structlog.get_logger(__name__)

EXIT_CONFIGURATION = 78
"""A setting is invalid (EX_CONFIG of sysexits.h)."""

EXIT_UNAVAILABLE = 69
"""The database or the address is unavailable (EX_UNAVAILABLE)."""

EXIT_BROKEN = 70
"""A loop of the control plane failed (EX_SOFTWARE)."""

SWITCH_SECONDS = 0.0002
"""Switch interval of the interpreter. SQLite's statements run in a thread; with Python's 5 ms, each
of them waits that long for a busy event loop.
"""

COLLECT_AFTER = 50_000
"""New objects until a garbage collection of the youngest generation. A batch of log lines creates
thousands that live no longer than the batch; at Python's 700, collections took an eighth of the
time.
"""


def main(arguments: Sequence[str] = ()) -> int:
    """Run until a signal ends the process, and return the exit status."""
    options = _options(arguments)
    # A worker of the same user may run on this host, and its stages process untrusted content.
    forbid_reading()
    try:
        settings = Settings(**options)
    except ValidationError as error:
        for violation in error.errors():
            # A check of several settings names them in its message.
            names = [f"TAILRACE_{str(part).upper()}: " for part in violation["loc"]]
            problem = violation.get("ctx", {}).get("error") or violation["msg"]
            sys.stderr.write(f"{''.join(names)}{problem}\n")
        return EXIT_CONFIGURATION
    except SettingsError as error:
        field = re.search(r'field "(\w+)"', str(error))
        name = f"TAILRACE_{field[1].upper()}" if field else str(error)
        sys.stderr.write(f"{name}: is not JSON: {error.__cause__}\n")
        return EXIT_CONFIGURATION
    logs.configure(settings.log_level)
    for option in unchecked_options(settings.database_url):
        _log.warning("the database driver cannot enforce this option", option=f"{option}=require")
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(COLLECT_AFTER)
    try:
        return asyncio.run(_serve(settings))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIGURATION
    except (OSError, DomainError) as error:
        _log.error("cannot start", error=str(error))
        return EXIT_UNAVAILABLE


def _options(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the settings on the command line, which take precedence over the environment."""
    parser = argparse.ArgumentParser(
        prog="python -m services",
        description="Run a control plane until SIGTERM or SIGINT. All settings are variables of "
        "the environment; those below may be given here, too.",
    )
    parser.add_argument(
        "--worker-bind",
        metavar="HOST:PORT",
        help="address for workers alone, which requires a client certificate",
    )
    parser.add_argument(
        "--plaintext-behind-proxy",
        action="store_const",
        const=True,
        help="listen without TLS beyond loopback, behind a proxy with TLS",
    )
    parser.add_argument(
        "--insecure",
        action="store_const",
        const=True,
        help="listen beyond loopback with neither TLS nor tokens",
    )
    options = vars(parser.parse_args(arguments))
    return {name: value for name, value in options.items() if value is not None}


async def _serve(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    control_plane = ControlPlane(settings)
    try:
        if not await _started(control_plane, stop):
            return 0
        _log.info("listening", address=control_plane.address)
        # Objects that exist by now stay: collecting among them took 40 ms each time.
        gc.collect()
        gc.freeze()
        stopped = asyncio.ensure_future(stop.wait())
        ends: list[asyncio.Future[Any]] = [stopped, control_plane.failed]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        _log.info("draining")
    finally:
        await control_plane.stop()
    _log.info("stopped")
    broken = control_plane.failed.done() and control_plane.failed.exception() is not None
    return EXIT_BROKEN if broken else 0


async def _started(control_plane: ControlPlane, stop: asyncio.Event) -> bool:
    """Start, waiting for the database and the broker; return False when a signal comes first."""
    start = asyncio.ensure_future(control_plane.start(require_broker=True))
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait([start, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not start.done():
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)
        return False
    await start
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
