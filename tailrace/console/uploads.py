"""Uploads: forms whose last field is a file, which is passed on while it arrives.

Neither memory nor disk holds more than a chunk of the file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tailrace.console.changes import FORM_FIELD, FORM_HEADER, stale_form

MAX_FIELD_BYTES = 16 * 1024
"""Maximum size of a field in front of the file."""

_MAX_FIELDS = 32
_MAX_DRAINED_BYTES = 256 * 1024 * 1024
"""Bytes of a refused file that are still read: a browser shows no answer before it has sent it."""


@dataclass
class Upload:
    """A form with a file."""

    fields: dict[str, str]
    """Fields in front of the file."""
    filename: str
    """Name of the file on the visitor's machine; empty if none was chosen."""
    chunks: AsyncIterator[bytes]
    """Content of the file."""


Handler = Callable[[Request, Upload], Awaitable[Response]]


def upload(path: str, handler: Handler) -> Route:
    """Return the route of an upload: it checks the token of the form and passes form and file."""

    async def endpoint(request: Request) -> Response:
        parts = _Parts(request)
        received = await parts.read_fields()
        token = request.headers.get(FORM_HEADER) or received.fields.pop(FORM_FIELD, "")
        if not request.app.state.cookies.is_form_token(request, token):
            raise stale_form()
        try:
            return await handler(request, received)
        finally:
            await parts.drain()

    return Route(path, endpoint, methods=["POST"], name=getattr(handler, "__name__", path))


@dataclass
class _Part:
    """A part of the form, as far as it has arrived."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    filename: str | None = None
    """None for a part that is not a file."""
    content: bytearray = field(default_factory=bytearray)
    is_complete: bool = False


class _Parts:
    """Parser of a form that arrives in chunks."""

    def __init__(self, request: Request) -> None:
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise HTTPException(400, "The form must be sent as multipart/form-data.")
        self._body = request.stream()
        self._parts: list[_Part] = []
        self._header_name = bytearray()
        self._header_value = bytearray()
        callbacks: Any = {
            "on_part_begin": lambda: self._parts.append(_Part()),
            "on_header_field": lambda chunk, start, end: self._header_name.extend(chunk[start:end]),
            "on_header_value": lambda chunk, start, end: self._header_value.extend(
                chunk[start:end]
            ),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": lambda chunk, start, end: self._parts[-1].content.extend(
                chunk[start:end]
            ),
            "on_part_end": self._end_part,
        }
        self._parser = MultipartParser(boundary, callbacks)
        self._has_more = True

    async def read_fields(self) -> Upload:
        """Return the form up to its file.

        Raises:
            HTTPException: It has no file, or is not a form.
        """
        fields: dict[str, str] = {}
        while True:
            while self._parts and self._parts[0].is_complete and self._parts[0].filename is None:
                part = self._parts.pop(0)
                fields[part.name] = part.content.decode("utf-8", "replace")
            if self._parts and self._parts[0].filename is not None:
                return Upload(fields, self._parts[0].filename, self._file_chunks(self._parts[0]))
            sizes = [len(part.content) for part in self._parts]
            if len(fields) > _MAX_FIELDS or max(sizes, default=0) > MAX_FIELD_BYTES:
                raise HTTPException(413)
            if not await self._read():
                raise HTTPException(400, "The form has no file.")

    async def _file_chunks(self, part: _Part) -> AsyncIterator[bytes]:
        while True:
            if part.content:
                chunk = bytes(part.content)
                part.content.clear()
                yield chunk
            elif part.is_complete:
                return
            elif not await self._read():
                raise ClientDisconnect

    async def drain(self) -> None:
        """Read the rest of the body, so that the browser reads the answer."""
        size = 0
        while self._has_more and size < _MAX_DRAINED_BYTES:
            chunk = await anext(self._body, None)
            self._has_more = chunk is not None
            size += len(chunk or b"")

    async def _read(self) -> bool:
        """Parse the next chunk of the body; return False at its end."""
        chunk = await anext(self._body, None)
        if chunk is None:
            self._has_more = False
            return False
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise HTTPException(400, "The form is damaged.") from error
        return True

    def _end_header(self) -> None:
        name = bytes(self._header_name).lower()
        self._parts[-1].headers[name] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _end_headers(self) -> None:
        part = self._parts[-1]
        _, options = parse_options_header(part.headers.get(b"content-disposition", b""))
        part.name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename")
        part.filename = None if filename is None else filename.decode("utf-8", "replace")

    def _end_part(self) -> None:
        self._parts[-1].is_complete = True
