"""Requests to an OpenID provider: https, no redirects, bounded in time and size."""

from __future__ import annotations

import contextlib
import functools
import http.client
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from tailrace.access import is_loopback
from tailrace.formats.outside_json import read_object

_CHUNK_BYTES = 16 * 1024

_FORM = "application/x-www-form-urlencoded"


class WebError(Exception):
    """Failure to get a JSON object from a provider; the message names the URL and the problem."""


@dataclass(frozen=True)
class Reply:
    """Response of a provider."""

    status: int
    """HTTP status."""
    body: Mapping[str, object]
    """JSON object of the body."""


@dataclass(frozen=True)
class Web:
    """Bounds of requests."""

    loopback_http: bool = False
    """True to admit http, without TLS, on this machine's loopback addresses."""
    seconds: float = 10.0
    """Time for the response's header, and then for its body."""
    max_bytes: int = 256 * 1024
    """Maximum size of a body."""

    def get(self, url: str) -> Reply:
        """Return the JSON object at a URL.

        Raises:
            WebError: The URL is not https, or no JSON object came within the bounds.
        """
        self.check(url)
        reply = self._send(urllib.request.Request(url))  # noqa: S310 - the scheme is checked
        if reply.status != http.HTTPStatus.OK:
            raise WebError(f"{_shown(url)} answered with status {reply.status}")
        return reply

    def post(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a form and return the JSON object of the response, whatever its status.

        Raises:
            WebError: The URL is not https, or no JSON object came within the bounds.
        """
        self.check(url)
        content = urllib.parse.urlencode(form).encode()
        own = {"Content-Type": _FORM, **(headers or {})}
        return self._send(urllib.request.Request(url, content, own))  # noqa: S310

    def check(self, url: str) -> None:
        """Raise ``WebError`` unless a URL may be requested."""
        try:
            parts = urllib.parse.urlsplit(url)
            host, port = parts.hostname or "", parts.port or 443
        except ValueError as error:
            raise WebError(f"{_shown(url)} is not a URL: {error}") from error
        if not host or not url.isascii() or not url.isprintable() or " " in url:
            raise WebError(f"{_shown(url)} is not a URL with a host")
        if parts.username is not None:
            raise WebError(f"{parts.scheme}://{host} must not be given with a user or password")
        if parts.scheme == "https":
            return
        if parts.scheme != "http" or not is_loopback(f"{host}:{port}"):
            raise WebError(f"{_shown(url)} must be an https URL")
        if not self.loopback_http:
            raise WebError(
                f"{_shown(url)} must be an https URL; plain http on this machine needs "
                "`allow_loopback_http` in the control plane's file, and --insecure for a login"
            )

    def _send(self, request: urllib.request.Request) -> Reply:
        url = request.full_url
        request.add_header("Accept", "application/json")
        try:
            with self._opened(request) as response:
                if response.status in range(300, 400):
                    raise WebError(f"{_shown(url)} answered with a redirect, which is not followed")
                return Reply(response.status, read_object(self._body(response, url)))
        except ValueError as error:
            raise WebError(f"{_shown(url)} {error}") from error
        except (OSError, http.client.HTTPException) as error:
            raise WebError(f"{_shown(url)}: {_reason(error)}") from error

    @contextlib.contextmanager
    def _opened(self, request: urllib.request.Request) -> Iterator[Any]:
        alarm = _Alarm()
        handlers: list[Any] = [_NoRedirect, _Handler(alarm.connections)]
        if is_loopback(request.host) or is_loopback(f"{request.host}:"):
            handlers.append(urllib.request.ProxyHandler({}))
        opener = urllib.request.build_opener(*handlers)
        timer = threading.Timer(self.seconds, alarm.ring)
        timer.daemon = True
        timer.start()
        failure: Exception | None = None
        try:
            response: Any = opener.open(request, timeout=self.seconds)
        except urllib.error.HTTPError as error:
            response = error
        except (OSError, http.client.HTTPException) as error:
            failure = error
        finally:
            timer.cancel()
        # A header that is cut looks like one that has ended.
        if alarm.rang or isinstance(_cause(failure), TimeoutError):
            url = _shown(request.full_url)
            raise WebError(f"{url} did not answer within {self.seconds:g} seconds") from failure
        if failure is not None:
            raise failure
        with response:
            yield response

    def _body(self, response: IO[bytes], url: str) -> bytes:
        deadline = time.monotonic() + self.seconds
        chunks: list[bytes] = []
        size = 0
        while chunk := response.read1(_CHUNK_BYTES):  # type: ignore[attr-defined]
            size += len(chunk)
            if size > self.max_bytes:
                raise WebError(f"{_shown(url)} is larger than {self.max_bytes} bytes")
            if time.monotonic() > deadline:
                raise WebError(f"{_shown(url)} was not received within {self.seconds:g} seconds")
            chunks.append(chunk)
        return b"".join(chunks)


class _Alarm:
    """End of the time for a response's header.

    The timeout of a socket starts again with each byte, so that a header could take forever.
    """

    def __init__(self) -> None:
        self.connections: list[http.client.HTTPConnection] = []
        """Connections to cut."""
        self.rang = False
        """True once the time is over."""

    def ring(self) -> None:
        """Cut the connections."""
        self.rang = True
        for connection in self.connections:
            if connection.sock is not None:
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Handler that passes redirects on as errors."""

    def redirect_request(self, *args: Any) -> None:
        return None


class _Handler(urllib.request.HTTPSHandler, urllib.request.HTTPHandler):
    """Opener of connections, which it collects."""

    def __init__(self, connections: list[http.client.HTTPConnection]) -> None:
        super().__init__()
        self._connections = connections

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(self._connect, http.client.HTTPConnection), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        kind = functools.partial(http.client.HTTPSConnection, context=ssl.create_default_context())
        return self.do_open(functools.partial(self._connect, kind), request)

    def _connect(self, kind: Any, host: str, **options: Any) -> Any:
        connection = kind(host, **options)
        self._connections.append(connection)
        return connection


def _shown(url: str) -> str:
    """Return a URL for messages, without its query."""
    return repr(url.partition("?")[0][:200])


def _cause(error: Exception | None) -> Exception | None:
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        return error.reason
    return error


def _reason(error: Exception) -> str:
    cause = _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {cause.verify_message}"
    if isinstance(cause, http.client.RemoteDisconnected):
        return "the connection ended before an answer"
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
