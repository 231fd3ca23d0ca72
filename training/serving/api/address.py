"""Address of the server, bound before the model is loaded."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from training.errors import ConfigError
from training.serving.api.guard import is_loopback


@dataclass(frozen=True)
class Address:
    """Address and access of the server."""

    host: str
    port: int
    """Port; 0: chosen by the system."""
    keys: Sequence[str] = ()
    hosts: Sequence[str] = ()
    """Further hosts under which clients may call it."""

    def require_safe(self) -> None:
        """Require a key for a server that other machines can reach.

        Raises:
            ConfigError: There is none.
        """
        if not self.keys and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host} lets other machines use this server without a key: set an "
                "API key, or serve on 127.0.0.1"
            )


def bind(address: Address) -> socket.socket:
    """Return a socket bound to an address, which does not listen yet.

    Raises:
        OSError: The address is not one of this machine's, or the port is taken.
    """
    family, kind, protocol, _, place = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(place)
    except OSError as error:
        bound.close()
        hint = "; another --port may be free" if error.errno == errno.EADDRINUSE else ""
        raise OSError(
            f"cannot listen on {address.host}:{address.port}: {error.strerror}{hint}"
        ) from error
    return bound
