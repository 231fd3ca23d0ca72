"""Checks of every request before it is read: the name of the server, and the key."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from starlette.responses import JSONResponse

from training.serving.api.errors import ApiError

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

CLIENT = "tailrace_client"
"""Key of the scope with the name under which a client's requests are scheduled."""

_OPEN_PATHS = ("/health",)
"""Paths that need no key."""

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")


class Guard:
    """ASGI middleware that refuses requests for other hosts, and requests without a key.

    A page in a browser can send requests to loopback under a name that its owner resolves to
    127.0.0.1 (DNS rebinding); its requests have that name as ``Host``.
    """

    def __init__(
        self, application: Application, keys: Iterable[str], hosts: Iterable[str] | None
    ) -> None:
        """Protect an application.

        Args:
            application: The application.
            keys: Valid keys; none: requests need no key.
            hosts: Allowed hosts without ports, as in a URL; None: all.
        """
        self._application = application
        self._keys = [key.encode() for key in keys]
        self._hosts = None if hosts is None else frozenset(map(str.lower, hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            try:
                self._check_host(headers)
                key = self._key_number(headers, scope["path"])
            except ApiError as error:
                response = JSONResponse(error.body, error.status, headers=error.headers)
                await response(scope, receive, send)
                return
            scope[CLIENT] = f"{key}/{(scope.get('client') or ('',))[0]}"
        await self._application(scope, receive, send)

    def _check_host(self, headers: Mapping[bytes, bytes]) -> None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if self._hosts is not None and name not in self._hosts:
            raise ApiError(
                403,
                f"this server is not called {name!r}: use one of {', '.join(sorted(self._hosts))}, "
                "or allow the name with --allow-host",
                code="host_not_allowed",
            )

    def _key_number(self, headers: Mapping[bytes, bytes], path: str) -> int:
        """Return the number of the request's key; 0 without keys."""
        if not self._keys or path in _OPEN_PATHS:
            return 0
        scheme, _, secret = headers.get(b"authorization", b"").partition(b" ")
        is_bearer = scheme.lower() == b"bearer"
        # Every key is compared, so that the time does not tell which one is close.
        matches = [hmac.compare_digest(secret.strip(), key) for key in self._keys]
        if not (is_bearer and any(matches)):
            raise ApiError(
                401,
                "the API key is missing or wrong: send it as `Authorization: Bearer KEY`",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return matches.index(True)


def is_loopback(host: str) -> bool:
    """Return True for a host that only this machine can reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def allowed_hosts(host: str, further: Iterable[str]) -> list[str] | None:
    """Return the hosts under which a server may be called; None for all.

    A server that others can reach may have any name, unless some are given.
    """
    names = list(further)
    if not is_loopback(host):
        return names or None
    return [*_LOCAL_HOSTS, f"[{host}]" if ":" in host else host, *names]
