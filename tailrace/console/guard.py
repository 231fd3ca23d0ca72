"""Checks of every request before a page sees it, and the headers of every response."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""Content security policy of every page."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of every response."""
_SAFE_METHODS = ("GET", "HEAD")
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Guard:
    """ASGI middleware that refuses requests under other names, and changes from other origins.

    A page in a browser can send requests to loopback under a name that its owner resolves to
    127.0.0.1 (DNS rebinding); its requests have that name as ``Host``.

    Args:
        application: The application to protect.
        names: Allowed names of the server, without ports.
    """

    def __init__(self, application: ASGIApp, names: Collection[str]) -> None:
        self._application = application
        self._names = frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        handler = refusal or self._application
        await handler(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> PlainTextResponse | None:
        host = headers.get("host", "").lower()
        if _without_port(host) not in self._names:
            return PlainTextResponse(
                f"This console is not called {_without_port(host)[:200]!r}. Its administrator can "
                "allow the name with TAILRACE_CONSOLE_HOSTS.\n",
                421,
            )
        if method in _SAFE_METHODS:
            return None
        origin = headers.get("origin", "").lower()
        # Browsers send Origin with every change; other clients need not send any of the two.
        is_same = origin.partition("://")[2] == host if origin else True
        if not is_same or headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return PlainTextResponse("This change comes from another site.\n", 403)
        return None


def allowed_names(listen: str, further: Collection[str]) -> list[str]:
    """Return the names under which a console that listens on ``host:port`` may be called."""
    host = listen.rpartition(":")[0]
    local = _LOCAL_NAMES if is_local(host) else ()
    return [host, *local, *further]


def is_local(host: str) -> bool:
    """Return True for a host that only this machine can reach."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _without_port(host: str) -> str:
    return host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
