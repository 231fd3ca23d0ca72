"""Visitors: the token of a login, kept in an encrypted cookie, and the calls made with it."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tailrace.access import Access
from tailrace.private_file import read_private
from tailrace.worker_token import HEADER, SCHEME, Metadata

LOGIN_SECONDS = 12 * 3600
"""Lifetime of a login."""

_TOKEN: ContextVar[str] = ContextVar("token", default="")

_LOGIN = "tailrace-login"
_FORMS = "tailrace-forms"


class VisitorAccess(Access):
    """Access whose calls carry the token of the request in progress, if its visitor logged in."""

    def metadata(self) -> Metadata:
        """Return the metadata of the next call."""
        token = _TOKEN.get()
        return ((HEADER, f"{SCHEME}{token}"),) if token else ()


def visitor_access(access: Access) -> VisitorAccess:
    """Return an access with the TLS files of another one; its token belongs to no visitor."""
    return VisitorAccess(
        tls=access.tls, credentials=access.credentials, token=_TOKEN.get, insecure=access.insecure
    )


class Cookies:
    """Cookies of the console: the login, and the secret that ties forms to a browser.

    Args:
        keys: Fernet keys; the first one encrypts, all decrypt.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        # Derived from the last key, which outlives the arrival of a newer one.
        self._form_key = hashlib.sha256(b"tailrace console forms" + keys[-1]).digest()

    def token(self, request: HTTPConnection) -> str:
        """Return the token of the request's login; empty without a valid one."""
        try:
            cookie = request.cookies.get(_name(_LOGIN, request), "")
            return self._fernet.decrypt(cookie.encode(), ttl=LOGIN_SECONDS).decode()
        except (InvalidToken, ValueError):
            return ""

    def log_in(self, request: HTTPConnection, response: Response, token: str) -> None:
        """Store a token with the browser."""
        cookie = self._fernet.encrypt(token.encode()).decode()
        _set(response, request, _LOGIN, cookie, LOGIN_SECONDS)

    def log_out(self, request: HTTPConnection, response: Response) -> None:
        """Delete the login's cookie."""
        _set(response, request, _LOGIN, "", 0)

    def form_token(self, request: HTTPConnection) -> tuple[str, str]:
        """Return the token for the forms of a page, and the secret to store with the browser.

        The secret is empty if the browser has one already.
        """
        stored_secret = request.cookies.get(_name(_FORMS, request), "")
        secret = stored_secret or secrets.token_urlsafe(24)
        return self._form_digest(secret), "" if stored_secret else secret

    def keep_form_secret(self, request: HTTPConnection, response: Response, secret: str) -> None:
        """Store the secret of :meth:`form_token` with the browser."""
        _set(response, request, _FORMS, secret, None)

    def is_form_token(self, request: HTTPConnection, token: str) -> bool:
        """Return True if a page made for this browser had the token in its forms."""
        secret = request.cookies.get(_name(_FORMS, request), "")
        return bool(secret) and hmac.compare_digest(
            token.encode(), self._form_digest(secret).encode()
        )

    def _form_digest(self, secret: str) -> str:
        return hmac.new(self._form_key, secret.encode(), hashlib.sha256).hexdigest()


class VisitorMiddleware:
    """ASGI middleware that makes a request's calls in the name of its visitor."""

    def __init__(self, application: ASGIApp, cookies: Cookies) -> None:
        self._application = application
        self._cookies = cookies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] == "http":
            _TOKEN.set(self._cookies.token(HTTPConnection(scope)))
        await self._application(scope, receive, send)


def is_logged_in() -> bool:
    """Return True if the visitor of the request in progress has logged in."""
    return bool(_TOKEN.get())


def read_keys(path: Path | None) -> list[bytes]:
    """Return the keys of a file, which is created if it is missing; a random one without a file.

    Raises:
        OSError: The file cannot be read or created.
        ValueError: It is open to others, or holds something else.
    """
    if path is None:
        return [Fernet.generate_key()]
    try:
        # Only one of several consoles that start together creates it.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        keys = read_private(path, "the key file of the console").split()
        for key in keys:
            Fernet(key)
        if not keys:
            raise ValueError(f"{path} holds no key") from None
        return keys
    with os.fdopen(descriptor, "wb") as file:
        key = Fernet.generate_key()
        file.write(key + b"\n")
    return [key]


def _name(name: str, request: HTTPConnection) -> str:
    """Return the name of a cookie; browsers refuse the prefix on plain HTTP."""
    return f"__Host-{name}" if request.url.scheme == "https" else name


def _set(
    response: Response, request: HTTPConnection, name: str, value: str, seconds: int | None
) -> None:
    response.set_cookie(
        _name(name, request),
        value,
        max_age=seconds,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
