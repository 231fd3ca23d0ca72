"""Checks, before anything starts, that the control plane can listen on an address."""

from __future__ import annotations

import errno
import re
import socket

import typer

from tailrace.cli import exit_codes
from tailrace.cli.errors import CommandError

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\s\[\]]+):(\d{1,5})")
_OPTION = "--listen"


def parse_address(text: str, option: str = _OPTION) -> tuple[str, int]:
    """Return host and port of ``host:port``, the value of an option.

    Raises:
        typer.BadParameter: ``text`` is not an address.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise typer.BadParameter(
            f"{text!r} is not host:port, such as 127.0.0.1:7443 or [::1]:7443", param_hint=option
        )
    host, port = match[1].strip("[]"), int(match[2])
    if port > 65_535:
        raise typer.BadParameter(
            f"port {port} is out of range: 0 (a free one) to 65535", param_hint=option
        )
    return host, port


def require_free(text: str, option: str = _OPTION) -> None:
    """Require that ``host:port`` is a free address of this machine.

    Raises:
        CommandError: The address is in use, or belongs to another machine.
        typer.BadParameter: ``text`` is not an address, or the host is unknown.
    """
    host, port = parse_address(text, option)
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise typer.BadParameter(f"{host!r} is not a known host", param_hint=option) from error
    family, kind, protocol, _, address = addresses[0]
    with socket.socket(family, kind, protocol) as probe:
        # As the server does: lingering connections of an earlier server do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise _refusal(text, host, port, option, error) from error


def _refusal(text: str, host: str, port: int, option: str, error: OSError) -> CommandError:
    if error.errno == errno.EADDRINUSE:
        message = (
            f"{text} is in use, perhaps by another `tailrace up`: stop that, or give another "
            f"address with {option}"
        )
    elif error.errno == errno.EADDRNOTAVAIL:
        message = (
            f"{host} is not an address of this machine: give one of its addresses with {option}"
        )
    elif error.errno == errno.EACCES:
        message = f"this user cannot listen on port {port}: give one of at least 1024 with {option}"
    else:
        message = f"cannot listen on {text}: {error.strerror}"
    return CommandError(message, exit_codes.CONFLICT)
